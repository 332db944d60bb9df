"""sys.stdout and sys.stderr of a kernel: block-buffered as to a file, flushed 50 times a second while a cell runs, sooner at its begin."""

import contextlib
import io
import os
import signal
import sys
import threading
import time
from typing import Optional

from .channel import Channel, give_up

_BUFFER = 1 << 16
_FIRST_S = 0.003  # what a cell prints first is waited for
_RUNNING_S = 0.02
_IDLE_S = 0.25


class _Raw(io.FileIO):
    """Writes to a descriptor; when the streams alternate, the daemon is told in between, so that their order stays.

    The write itself is C: an interrupt between a write in Python and its being counted would have it written twice.
    """

    last: "Optional[_Raw]" = None

    def __init__(self, fd: int, channel: Channel) -> None:
        super().__init__(fd, "w", closefd=False)
        self._channel = channel
        self.write = self._take_turn  # type: ignore[method-assign]

    def _take_turn(self, _data: object) -> int:
        """Write nothing; the buffer before this one calls again then."""
        if not self._channel.forked:
            if _Raw.last is not None:
                self._channel.deliver({"kind": "mark"})
                _Raw.last.write = _Raw.last._take_turn  # type: ignore[method-assign]  # noqa: SLF001 - one of us
            _Raw.last = self
        self.write = super().write  # type: ignore[method-assign]
        return 0


class _Text(io.TextIOWrapper):
    """A stream that a cell cannot close."""

    def close(self) -> None:
        self.flush()


class _Errors(_Text):
    """Standard error: whole lines go out at once, after what was printed before them."""

    def write(self, text: str) -> int:
        sys.stdout.flush()
        written = super().write(text)
        if "\n" in text:
            super().flush()
        return written


class Capture:
    """Puts the two streams in place."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._flushing = threading.Lock()
        self._running = threading.Event()
        self._pause_s = _FIRST_S
        out, err = (io.BufferedWriter(_Raw(fd, channel), _BUFFER) for fd in (1, 2))
        self._out = _Text(out, encoding="utf-8", errors="backslashreplace", newline="\n")
        self._err = _Errors(err, encoding="utf-8", errors="backslashreplace", newline="\n")
        sys.stdout = sys.__stdout__ = self._out  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._err  # type: ignore[misc]
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._flushing.release,
            after_in_child=self._after_fork_in_child,
        )
        self._start_flusher()

    def _start_flusher(self) -> None:
        # Signals are for the main thread: one that a flusher took would be handled late.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        threading.Thread(target=self._flush_for_ever, name="gpuplug-flush", daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def flush(self) -> None:
        """Hand everything that was printed to the pipes."""
        # In this order: what waits in stderr is older, because writing there flushes stdout.
        self._err.flush()
        self._out.flush()

    def begin(self) -> None:
        """A cell runs: what it prints is wanted soon."""
        self._pause_s = _FIRST_S
        self._running.set()

    def end(self) -> None:
        """The cell has ended, and so has whatever it put in place of the streams."""
        self._running.clear()
        sys.stdout, sys.stderr = self._out, self._err

    def _flush_for_ever(self) -> None:
        while True:
            self._running.wait(_IDLE_S)
            if self._running.is_set():
                time.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, _RUNNING_S)
            if self._channel.abandoned:
                give_up()
            with self._flushing, contextlib.suppress(ValueError, OSError):  # the cell has closed them
                self.flush()

    def _before_fork(self) -> None:
        # A child that is copied in the middle of a flush would wait for ever; one that inherits a full buffer prints it again.
        self._flushing.acquire()
        self.flush()

    def _after_fork_in_child(self) -> None:
        self._flushing.release()
        self._out.reconfigure(line_buffering=True)  # nothing flushes there
