"""Events between the thread that reads the journal and the one that shows them."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuplug.errors import GpuplugError
    from gpuplug.session.messages import Event

LIMIT_BYTES = 1 << 26


class EventQueue:
    """Bounded in bytes: when nobody takes events, reading stops and the instance keeps them."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._events: deque[tuple[Event, int, int]] = deque()
        self._bytes = 0
        self._failure: GpuplugError | None = None
        self.offset = 0

    def put(self, event: Event, size: int, offset: int) -> None:
        """Append `event` of `size` bytes, which ends at `offset` of the journal; blocks while the queue is full."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes <= self._limit or self._failure)
            self._events.append((event, size, offset))
            self._bytes += size
            self._changed.notify_all()

    def get(self, timeout: float) -> Event | None:
        """Return the next event, or None when there is none for `timeout` seconds.

        Raises:
            GpuplugError: what `fail` was given, when all events before it are taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._failure, timeout)
            if not self._events:
                if self._failure is not None:
                    raise self._failure
                return None
            event, size, self.offset = self._events.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return event

    @property
    def failure(self) -> GpuplugError | None:
        """What ended the journal for this session."""
        with self._changed:
            return self._failure

    def fail(self, error: GpuplugError) -> None:
        """Let every `get` raise `error` after the events that are there; the first failure counts."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()
