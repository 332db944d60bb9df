"""A clock that moves only when it is told to."""

from __future__ import annotations

import datetime as dt
import threading

_START = dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc)


class FakeClock:
    """A `gpuplug.types.Clock` for tests: `sleep` returns at once and moves the time on.

    `slept` lists every sleep in order, in seconds. Safe to use from several threads.
    """

    def __init__(self, start: dt.datetime = _START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self.slept: list[float] = []

    def now(self) -> dt.datetime:
        """Return the aware wall time in UTC."""
        return self._start + dt.timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        return self._elapsed  # one reading needs no lock

    def sleep(self, seconds: float) -> None:
        """Move on by `seconds` without waiting."""
        with self._lock:
            self._elapsed += seconds
            self.slept.append(seconds)

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`, which nobody slept."""
        with self._lock:
            self._elapsed += seconds

    def set_wall(self, now: dt.datetime) -> None:
        """Set the wall time as a user or NTP does; `monotonic` does not notice."""
        with self._lock:
            self._start = now - dt.timedelta(seconds=self._elapsed)
