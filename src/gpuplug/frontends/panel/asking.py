"""A thread that asks one thing when it is told to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_JOIN_S = 2.0


class Asker:
    """Calls `work` in a thread of its own, once for all nudges that come while it is busy.

    A thread for each question, so that the ledger's connections are not made anew each time. `work` raises nothing.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._name = name
        self._wanted = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self.busy = False

    def nudge(self) -> None:
        """Have the thread ask; never blocks. Nothing happens after `close`."""
        if self._closed:
            return
        self.busy = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"gpuplug-{self._name}", daemon=True)
            self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        """End the thread; a question that is under way is left behind after two seconds. May be repeated."""
        self._closed = True
        self._wanted.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closed:
                return
            self._work()
            self.busy = self._wanted.is_set()
