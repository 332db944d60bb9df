"""One connected client: the journal from an offset on, or requests and answers. A slow one costs no memory."""

import collections
import contextlib
import socket
from typing import TYPE_CHECKING, Deque, Optional, Tuple

from . import AGENT_VERSION, wire
from .runner import Runner, is_id

if TYPE_CHECKING:
    from .bulk import Bulk
    from .daemon import Daemon

_READ = 1 << 16
_SEND = 1 << 16
_TURN = 16
_MANY_REQUESTS = 64
_MANY_BYTES = 4 << 20


class Client:
    """Reads frames from `connection`, and sends it what is due to its role."""

    def __init__(self, connection: socket.socket, daemon: "Daemon") -> None:
        self._socket = connection
        self._daemon = daemon
        self._decoder = wire.Decoder()
        self._out = bytearray()
        self._requests: Deque[wire.Frame] = collections.deque()
        self._working = False
        self._ended = False
        self._closed = False
        self._blocked = False
        self._runner: Optional[Runner] = None
        self._bulk: Optional["Bulk"] = None
        self.journal_offset: Optional[int] = None
        connection.settimeout(0)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MANY_BYTES)
        self._watch()

    def _watch(self) -> None:
        if self._closed:
            return
        reading = not self._ended and len(self._requests) < _MANY_REQUESTS
        self._daemon.loop.watch(
            self._socket.fileno(), self._read if reading else None, self.pump if self._blocked else None
        )

    def follows(self, runner: Runner) -> bool:
        """Tell whether this client is sent the journal of `runner`."""
        return self._runner is runner and self.journal_offset is not None

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._ended = True
            self.pump()
            return
        try:
            for header, payload in self._decoder.feed(data):
                self._take(header, payload)
        except wire.WireError:
            self.close()
            return
        self.pump()

    def _take(self, header: wire.Header, payload: bytes) -> None:
        if self._runner is None:
            self._attach(header)
        elif self._bulk is not None:
            self._requests.append((header, payload))
            self._serve()
        else:
            self._command(self._runner, header, payload)

    def _attach(self, header: wire.Header) -> None:
        kernel, role, offset = header.get("kernel"), header.get("role"), header.get("offset", 0)
        if header.get("op") != "attach" or role not in ("control", "bulk") or not is_id(kernel):
            self._refuse(f"no attach: {header!r:.200}")
            return
        try:
            runner = self._daemon.runner(str(kernel))
            if role == "control":
                runner.warm()
            else:
                self._bulk = self._daemon.bulk(runner)
        except OSError as error:
            self._refuse(str(error))
            return
        if not isinstance(offset, int) or not 0 <= offset <= runner.journal.end:
            self._refuse(f"offset {offset!r:.40} is beyond the journal's end, {runner.journal.end}")
            return
        self._runner = runner
        begin = max(offset, runner.journal.base)
        if role == "control":
            self.journal_offset = begin
        self._send(
            {
                "op": "welcome",
                "version": AGENT_VERSION,
                "journal": runner.journal.id,
                "offset": begin,
                "python": self._daemon.python.version,
                "work": runner.work,
            }
        )

    def _refuse(self, message: str) -> None:
        self._send({"op": "refused", "message": message})
        self._ended = True

    def _send(self, header: wire.Header, payload: bytes = b"") -> None:
        self._out += wire.pack(header, payload)

    def _command(self, runner: Runner, header: wire.Header, payload: bytes) -> None:
        op = header.get("op")
        if op == "run":
            runner.run(header, payload)
        elif op == "interrupt":
            runner.interrupt(header.get("cell"), header.get("save_s"))
        elif op == "input":
            runner.answer(header)
        elif op == "ack" and isinstance(header.get("offset"), int):
            self._daemon.forget(runner, header["offset"])

    def _serve(self) -> None:
        """Answer the next requests, in order; what takes long is done by the worker."""
        while self._bulk is not None and self._requests and not self._working and len(self._out) < _MANY_BYTES:
            header, payload = self._requests.popleft()
            if header.get("op") in self._bulk.slow:
                self._working = True
                self._daemon.work(self._bulk, header, payload, self._worked)
            else:
                self._send(*self._bulk.handle(header, payload))

    def _worked(self, answer: Tuple[wire.Header, bytes]) -> None:
        self._working = False
        if not self._closed:
            self._send(*answer)
            self.pump()

    def nudge(self) -> None:
        """Send what is new; nothing happens as long as the client has not taken what is older."""
        if not self._blocked:
            self.pump()

    def pump(self) -> None:
        """Send what is due as far as it goes without waiting."""
        if self._closed:
            return
        try:
            self._blocked = not self._push()
        except OSError:
            self.close()
            return
        self._serve()
        self._blocked = self._blocked or bool(self._out)
        if self._ended and not self._blocked and not self._working and not self._requests:
            self.close()
        self._watch()

    def _push(self) -> bool:
        """Return whether everything is sent; after some turns the others come first."""
        for _ in range(_TURN):
            if self._out:
                sent = self._some(self._out)
                del self._out[:sent]
            else:
                due = self._due()
                if not due:
                    return True
                sent = self._some(due)
                self.journal_offset = (self.journal_offset or 0) + sent
            if not sent:
                return False
        return False

    def _due(self) -> bytes:
        if self._runner is None or self.journal_offset is None or self.journal_offset >= self._runner.journal.end:
            return b""
        return self._runner.journal.read(self.journal_offset, _SEND)

    def _some(self, data: "bytes | bytearray") -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Let the client go. May be repeated."""
        if not self._closed:
            self._closed = True
            self._daemon.loop.watch(self._socket.fileno())
            self._socket.close()
            self._daemon.gone(self)
