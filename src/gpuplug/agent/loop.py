"""One thread, one selector: file descriptors, timers, and results that other threads hand over."""

import collections
import contextlib
import os
import selectors
import signal
import sys
import time
import traceback
from types import FrameType
from typing import Callable, Deque, Dict, List, Optional, Tuple

Callback = Callable[[], object]


class Loop:
    """Calls back when a descriptor is ready or time has come. Only `post` may be called from another thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._callbacks: Dict[int, Tuple[Optional[Callback], Optional[Callback]]] = {}
        self._posted: Deque[Callback] = collections.deque()
        self._timers: List[Tuple[float, Optional[float], Callback]] = []
        self._stopped = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.watch(self._wake_read, read=self._woken)
        self.after_each: Callback = lambda: None

    def watch(self, fd: int, read: Optional[Callback] = None, write: Optional[Callback] = None) -> None:
        """Call `read` while `fd` can be read and `write` while it can be written; neither ends the watch."""
        if self._callbacks.get(fd) == (read, write):
            return
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        known = self._callbacks.pop(fd, None) is not None
        if events:
            self._callbacks[fd] = read, write
            (self._selector.modify if known else self._selector.register)(fd, events)
        elif known:
            self._selector.unregister(fd)

    def every(self, seconds: float, callback: Callback) -> None:
        """Call `callback` again and again."""
        self._timers.append((time.monotonic() + seconds, seconds, callback))

    def later(self, seconds: float, callback: Callback) -> None:
        """Call `callback` once."""
        self._timers.append((time.monotonic() + seconds, None, callback))

    def post(self, callback: Callback) -> None:
        """Have the loop's thread call `callback` soon."""
        self._posted.append(callback)
        with contextlib.suppress(BlockingIOError):  # then it is awake anyway
            os.write(self._wake_write, b"\0")

    def on_signal(self, number: int, callback: Callback) -> None:
        """Call `callback` in the loop after signal `number`."""

        def arrived(_number: int, _frame: Optional[FrameType]) -> None:
            self.post(callback)

        signal.signal(number, arrived)

    def stop(self) -> None:
        """Return from `run` after the present turn."""
        self._stopped = True

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopped:
            for key, events in self._selector.select(self._patience()):
                self._ready(key.fd, events)
            self._serve_timers()
            _guarded(self.after_each)

    def _ready(self, fd: int, events: int) -> None:
        for index, event in enumerate((selectors.EVENT_READ, selectors.EVENT_WRITE)):
            # Looked up each time: a callback before may have ended the watch.
            callback = self._callbacks.get(fd, (None, None))[index]
            if events & event and callback:
                _guarded(callback)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while self._posted:
            _guarded(self._posted.popleft())

    def _patience(self) -> Optional[float]:
        if self._posted:
            return 0
        return max(0.0, min(due for due, _, _ in self._timers) - time.monotonic()) if self._timers else None

    def _serve_timers(self) -> None:
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for _, seconds, callback in due:
            if seconds is not None:
                self._timers.append((now + seconds, seconds, callback))
            _guarded(callback)


def _guarded(callback: Callback) -> None:
    try:
        callback()
    except Exception:  # noqa: BLE001 - one client's trouble must not end the cells of the others; the log keeps it
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
