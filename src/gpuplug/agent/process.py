"""The daemon's end of one kernel process: it holds the read ends, so what was written outlives the writer."""

import array
import contextlib
import fcntl
import functools
import os
import signal
import subprocess
import sys
import termios
import time
from typing import Callable, Dict, List, Optional, Tuple

from . import saving, wire
from .interrupts import NUDGE
from .loop import Loop

_PIPE_BYTES = 1 << 20
_READ = 1 << 16
_STREAMS = ("stdout", "stderr")
_NUDGES_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_SAVED_LOOK_S = 0.2
_SAVED_S = 1.0  # IPython takes an interrupt that comes just after `!program` has ended as meant for the program

OnOutput = Callable[[str, bytes], None]
OnEvent = Callable[[wire.Header, bytes], None]


class KernelProcess:
    """One Python process that runs cells.

    Args:
        command: program and arguments; the numbers of three descriptors are appended: events, requests, acks.
        environment: its variables.
        work: its working folder.
        loop: what watches the pipes.
        on_output: called with the stream's name and bytes, never empty.
        on_event: called with each event; everything that was written before it has been passed on then.
    """

    def __init__(
        self,
        command: List[str],
        environment: Dict[str, str],
        work: str,
        loop: Loop,
        on_output: OnOutput,
        on_event: OnEvent,
    ) -> None:
        self._loop = loop
        self._on_output = on_output
        self._on_event = on_event
        self._decoder = wire.Decoder()
        self._waiting = bytearray()
        self._outputs = {name: _pipe() for name in _STREAMS}
        self._events, self._requests, self._acks = _pipe(), _pipe(), _pipe()
        theirs = (self._events[1], self._requests[0], self._acks[0])
        try:
            self._child = subprocess.Popen(
                [*command, *map(str, theirs)],
                stdin=subprocess.DEVNULL,
                stdout=self._outputs["stdout"][1],
                stderr=self._outputs["stderr"][1],
                pass_fds=theirs,
                cwd=work,
                env=environment,
                start_new_session=True,
            )
        except OSError:
            for fd in self._mine():
                os.close(fd)
            raise
        finally:
            for fd in (*theirs, *(ends[1] for ends in self._outputs.values())):
                os.close(fd)
        self._watch()

    def _mine(self) -> Tuple[int, ...]:
        return (*(ends[0] for ends in self._outputs.values()), self._events[0], self._requests[1], self._acks[1])

    def _watch(self) -> None:
        for fd in self._mine():
            os.set_blocking(fd, False)
        for name, (fd, _) in self._outputs.items():
            self._loop.watch(fd, read=functools.partial(self._read_output, name, fd, _READ))
        self._loop.watch(self._events[0], read=self._read_events)

    @property
    def pid(self) -> int:
        """Its process id, which is its group's and session's too."""
        return self._child.pid

    def send(self, header: wire.Header, payload: bytes = b"") -> None:
        """Send one request; never blocks."""
        self._waiting += wire.pack(header, payload)
        self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # a dead reader is seen when it is collected
            while self._waiting:
                del self._waiting[: os.write(self._requests[1], self._waiting)]
        self._loop.watch(self._requests[1], write=self._flush if self._waiting else None)

    def ack(self) -> None:
        """Let the kernel go on after an event that it waits for."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._acks[1], b"\0")

    def drain(self) -> None:
        """Pass on what is in the output pipes now, and not what comes meanwhile: an endless writer must not hold us."""
        for name, (fd, _) in self._outputs.items():
            left = _bytes_in(fd)
            while left > 0:
                left -= self._read_output(name, fd, min(left, _READ)) or left

    def _read_output(self, name: str, fd: int, limit: int) -> int:
        try:
            data = os.read(fd, limit)
        except BlockingIOError:
            return 0
        if data:
            self._on_output(name, data)
        else:
            self._loop.watch(fd)
        return len(data)

    def _read_events(self) -> bool:
        try:
            data = os.read(self._events[0], _READ)
        except BlockingIOError:
            return False
        if not data:
            self._loop.watch(self._events[0])
        try:
            for header, payload in self._decoder.feed(data):
                self._on_event(header, payload)
        except wire.WireError:
            # The cell wrote into a descriptor that is not its own: nothing after it can be understood.
            self._loop.watch(self._events[0])
            self.kill()
            return False
        return bool(data)

    def interrupt(self) -> None:
        """Send SIGINT to the kernel and what it started, and see to it that the kernel notices."""
        self._signal(signal.SIGINT)
        for seconds in _NUDGES_S:
            self._loop.later(seconds, self._nudge)

    def save(self, seconds: float, still: Callable[[], bool]) -> List[saving.Program]:
        """Let the cell's programs save, those that listen for SIGTERM; interrupt it when they have ended, or in `seconds`.

        Nothing is interrupted once `still` tells that the cell has ended by itself. Returns which programs were asked.
        """
        asked = saving.ask_to_save(self.pid)
        self._await_saved(asked, time.monotonic() + seconds, still)
        return asked

    def _await_saved(self, asked: List[saving.Program], until: float, still: Callable[[], bool]) -> None:
        if not still():
            return
        left = [program for program in asked if saving.lives(program)]
        if asked and not left:
            until = min(until, time.monotonic() + _SAVED_S)
        if asked and time.monotonic() < until:
            self._loop.later(_SAVED_LOOK_S, functools.partial(self._await_saved, asked, until, still))
        else:
            self.interrupt()

    def _nudge(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._child.send_signal(NUDGE)  # to nobody if it has ended

    def kill(self) -> None:
        """Send SIGKILL to the kernel and what it started."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def ended(self) -> Optional[int]:
        """Return None while it lives, else its exit code, or minus the signal; all its output has been passed on then."""
        if self._child.poll() is None:
            return None
        # What it started would hold on to the GPU's memory, and to the pipes.
        self.kill()
        while self._read_events():
            pass
        self.drain()
        for fd in self._mine():
            self._loop.watch(fd)
            os.close(fd)
        return int(self._child.returncode)

    def stop(self) -> None:
        """Kill it and wait."""
        self.kill()
        self._child.wait()


def _pipe() -> Tuple[int, int]:
    ends = os.pipe()
    if sys.platform == "linux":
        set_size = getattr(fcntl, "F_SETPIPE_SZ", 1031)  # named since Python 3.10
        with contextlib.suppress(OSError):  # this user's pipes hold too much already: only slower
            fcntl.fcntl(ends[1], set_size, _PIPE_BYTES)
    return ends


def _bytes_in(fd: int) -> int:
    found = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, found)
    return found[0]
