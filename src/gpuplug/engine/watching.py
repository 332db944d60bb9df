"""The look that a kernel takes each minute while anything bills: beside the cells, and without a word."""

from __future__ import annotations

import contextlib
import secrets
import threading
from typing import TYPE_CHECKING

from gpuplug.engine.reconciling import Reaper
from gpuplug.errors import GpuplugError
from gpuplug.types import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpuplug.types import Clock

ROUND_S = 60.0
_SOON = 1 / 3  # of a round: while the fate of a create or the proof of an end is open
_JOIN_S = 1.0


class _OverError(Exception):
    """The watch was ended in the midst of a wait."""


class _Clock(SystemClock):
    """This computer's clock, whose sleep ends with the watch."""

    def __init__(self, over: threading.Event) -> None:
        self._over = over

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`.

        Raises:
            _OverError: the watch was ended meanwhile.
        """
        if self._over.wait(seconds):
            raise _OverError


class Watch:
    """At most one thread that reconciles the ledger in `home` while anything bills, and ends when nothing does.

    Of several processes on one ledger one looks each minute. `make` builds what looks, with a clock whose sleep the end
    of the watch interrupts; `round_s` is the pause between two looks.
    """

    def __init__(self, home: Path, make: Callable[[Path, Clock], Reaper] = Reaper, *, round_s: float = ROUND_S) -> None:
        self._home = home
        self._make = make
        self._round_s = round_s
        self._holder = secrets.token_hex(8)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        """Start the thread unless it is there. Does not block; may be repeated."""
        with self._lock:
            if self.running or self._over.is_set():
                return
            self._thread = threading.Thread(target=self._run, name="gpuplug-watch", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """End the thread; instances stay. A call to a provider that is under way is not waited for. May be repeated."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        reaper = self._make(self._home, _Clock(self._over))
        try:
            with contextlib.suppress(_OverError):
                while (pause_s := self._round(reaper)) is not None:
                    if self._over.wait(pause_s):
                        return
        finally:
            reaper.close()

    def _round(self, reaper: Reaper) -> float | None:
        """Look once; return after how many seconds to look again, or None when nothing bills any more."""
        try:
            if not reaper.reconciler.anything():
                return None
            pause_s = self._round_s * (_SOON if reaper.reconciler.open_questions() else 1)
            reaper.take_turn(self._holder, pause_s)
        except GpuplugError:
            return self._round_s  # whoever needs the ledger will be told what is wrong; it may be well in a minute
        return pause_s
