"""The kernel's end of its three pipes to the daemon: events out, acks and requests in."""

import os
import signal
import threading
from typing import NamedTuple, NoReturn, Optional

from . import wire
from .interrupts import Interrupts

_READ = 1 << 16


class Pipes(NamedTuple):
    """Numbers of the three descriptors."""

    events: int
    requests: int
    acks: int


def give_up() -> NoReturn:
    """End this process and what it has started, because the daemon is gone."""
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


class Channel:
    """Sends events, each whole, and takes requests. Events may come from any thread, requests are taken by one."""

    def __init__(self, pipes: Pipes, interrupts: Interrupts) -> None:
        for fd in pipes:
            os.set_inheritable(fd, False)  # noqa: FBT003 - it takes no keywords
        self._pipes = pipes
        self._interrupts = interrupts
        self._sending = threading.RLock()
        self._taking = threading.Lock()
        self._decoder = wire.Decoder()
        self._pid = os.getpid()
        self._parent = os.getppid()
        self._questions = 0

    @property
    def forked(self) -> bool:
        """Whether this process is a copy that user code made: it has no say in these pipes."""
        return os.getpid() != self._pid

    @property
    def abandoned(self) -> bool:
        """Whether the daemon is gone."""
        return os.getppid() != self._parent

    def send(self, header: wire.Header, payload: bytes = b"") -> None:
        """Send an event and go on.

        Raises:
            WireError: it is too large.
        """
        frame = wire.pack(header, payload)
        if self.forked:
            return
        with self._interrupts.shield(), self._sending:
            self._write(frame)

    def deliver(self, header: wire.Header, payload: bytes = b"") -> None:
        """Send an event and wait until it and all output before it are in the journal.

        Raises:
            WireError: it is too large.
        """
        frame = wire.pack(header, payload)
        if self.forked:
            return
        with self._interrupts.shield(), self._sending:
            self._write(frame)
            if not os.read(self._pipes.acks, 1):
                give_up()

    def _write(self, frame: bytes) -> None:
        rest = memoryview(frame)
        try:
            while rest:
                rest = rest[os.write(self._pipes.events, rest) :]
        except OSError:
            os.write(2, b"the cell has closed the pipes of its kernel\n")
            os._exit(1)

    def ask(self, prompt: str, *, password: bool) -> str:
        """Return the line that the user types.

        Raises:
            EOFError: the user has ended the input, or nobody can be asked.
        """
        if self.forked:
            raise EOFError
        with self._taking:
            self._questions += 1
            header = {"kind": "input_request", "prompt": prompt, "password": password, "question": self._questions}
            self.send(header)
            while True:
                answer = self._take()
                # One that came too late for an earlier question is passed over.
                if answer is None or answer[0].get("question") == self._questions:
                    break
        text = answer[0]["text"] if answer else None
        if text is None:
            raise EOFError
        return str(text)

    def request(self) -> Optional[wire.Frame]:
        """Wait for the next cell; None when the daemon is gone."""
        with self._taking:
            while True:
                frame = self._take()
                if frame is None or frame[0].get("op") == "run":
                    return frame

    def _take(self) -> Optional[wire.Frame]:
        data = b""
        while True:
            with self._interrupts.shield():
                for frame in self._decoder.feed(data):
                    return frame
            data = os.read(self._pipes.requests, _READ)
            if not data:
                return None
