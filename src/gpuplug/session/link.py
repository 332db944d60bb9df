"""The link under a session: made, watched, lost, and made anew."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gpuplug.errors import GpuplugError, LinkError
from gpuplug.session.handshake import attach

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.agent.wire import Header
    from gpuplug.session.framing import FrameReader
    from gpuplug.session.messages import Timing, Welcome
    from gpuplug.streams import Connection
    from gpuplug.types import Clock

STEADY_S = 10.0


class Link:
    """At most one connection at a time. `last_sign` is when bytes last moved on it, either way.

    Args:
        connect: makes a connection; a `HostKeyError` or any other error that is not retryable ends all attempts.
        kernel: id of the kernel at the agent.
        timing: patience.
        clock: measures it.
        jitter: returns a number from 0 to 1 that spreads the pauses of many clients.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        kernel: str,
        *,
        timing: Timing,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._connect = connect
        self._kernel = kernel
        self._timing = timing
        self._clock = clock
        self._jitter = jitter
        self._changed = threading.Condition()
        self._connection: Connection | None = None
        self._up = False
        self._closed = False
        self._pause_s = 0.0
        self._began = 0.0
        self._give_up: float | None = None
        self.last_sign = 0.0

    def sign(self) -> None:
        """Bytes have moved."""
        self.last_sign = self._clock.monotonic()

    def open(self, offset: int) -> tuple[FrameReader, Welcome]:
        """Connect and attach the control stream, once.

        Raises:
            GpuplugError: what `connect` raised, or the agent's start.
        """
        connection = self._connect()
        with self._changed:
            if not self._closed:
                self._connection = connection
        if self._closed:
            connection.close()
            raise closed()
        attached = self._attach(connection, {"role": "control", "offset": offset})
        with self._changed:
            self._up = True
            self._began = self._clock.monotonic()
            self._changed.notify_all()
        return attached

    def _attach(self, connection: Connection, role: Header) -> tuple[FrameReader, Welcome]:
        hello = {"op": "attach", "kernel": self._kernel, **role}
        return attach(connection, hello, self._timing.handshake_s, self.sign)

    def open_bulk(self) -> FrameReader:
        """Wait for a link and attach the bulk stream on it.

        Raises:
            LinkError: it was lost again meanwhile.
            AgentError: the agent refused.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._up or self._closed)
            connection = self._connection
        if connection is None or self._closed:
            raise closed()
        return self._attach(connection, {"role": "bulk"})[0]

    def reopen(self, offset: int) -> tuple[FrameReader, Welcome]:
        """Connect again until it works, pausing longer and longer.

        A link that was lost soon after it was made does not start the patience anew.

        Raises:
            LinkError: it did not work for `give_up_s`.
            GpuplugError: an error that no further attempt would mend, as `HostKeyError`.
        """
        now = self._clock.monotonic()
        if now - self._began > STEADY_S:
            self._pause_s = 0.0
            self._give_up = None
        give_up = self._give_up = self._give_up or now + self._timing.give_up_s
        while True:
            self._pause()
            try:
                return self.open(offset)
            except GpuplugError as error:
                self.drop()
                if not error.retryable or self._closed:
                    raise
                if self._clock.monotonic() >= give_up:
                    msg = f"no connection for {self._timing.give_up_s:.0f} s: {error.message}"
                    raise LinkError(msg) from error

    def _pause(self) -> None:
        with self._changed:
            spread = self._pause_s * (0.5 + 0.5 * self._jitter())
            self._changed.wait_for(lambda: self._closed, spread)
        if self._closed:
            raise closed()
        grown = max(self._timing.pause_s, 2 * self._pause_s)
        self._pause_s = min(self._timing.longest_pause_s, grown)

    def drop(self, only: Connection | None = None) -> None:
        """Close the connection, whatever it is worth; wakes everything that waits on it.

        With `only`, another connection that has taken its place meanwhile is left alone.
        """
        with self._changed:
            if only is not None and only is not self._connection:
                return
            self._up = False
            connection, self._connection = self._connection, None
            self._changed.notify_all()
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close the connection and make no other."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.drop()

    @property
    def current(self) -> Connection | None:
        """The connection on which the control stream is attached."""
        with self._changed:
            return self._connection if self._up else None

    def wait(self, seconds: float) -> bool:
        """Wait for `seconds`; return at once, with False, when the link is closed for good."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._closed, seconds)


def closed() -> LinkError:
    """Return what is raised after `close`."""
    return LinkError("the session is closed")
