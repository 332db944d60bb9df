"""A wire between an adapter and its API that a test can damage: every request passes through it and is remembered."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

_UPSTREAM_S = 30.0
_POLL_S = 0.02
_PIECE = 1 << 16
# They belong to one connection and not to the message.
_HOP = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive", "date", "server"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived; the names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    def same(self, other: Asked) -> bool:
        """Tell whether `other` asks for the same thing."""
        return (self.method, self.path, self.body) == (other.method, other.path, other.body)


@dataclass(frozen=True, slots=True)
class Told:
    """One reply. `pieces` replaces `body` by what it yields until the wire is closed."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Callable[[threading.Event], Iterable[bytes]] | None = None


Deliver = Callable[[], Told]
# What happens to one request: it may be delivered or not; None hangs up without a word.
Fault = Callable[[Asked, Deliver], "Told | None"]


def lost_before(_asked: Asked, _deliver: Deliver) -> None:
    """Lose the request: nothing is done and nothing is said."""


def lost_after(_asked: Asked, deliver: Deliver) -> None:
    """Lose the reply: it is done and nothing is said."""
    deliver()


def answers(told: Told) -> Fault:
    """Say `told`; nothing is done."""
    return lambda _asked, _deliver: told


def changed(change: Callable[[Told], Told]) -> Fault:
    """Do it, and say what `change` makes of the reply."""
    return lambda _asked, deliver: change(deliver())


@dataclass
class _Strike:
    fault: Fault
    at: int
    times: int | None
    seen: list[Asked] = field(default_factory=list)

    def due(self) -> bool:
        """Tell whether the newest request is struck."""
        index = len(self.seen) - 1 - self.at
        return index >= 0 and (self.times is None or index < self.times)


class Wire:
    """An HTTP server on this computer that hands every request to the API at `target` and its reply back.

    Without a `target` it is a trap: it answers everything with an empty JSON object. `seen` lists all requests;
    `delivered` is called after each one that was handed on. Use it as a context manager.
    """

    def __init__(self, target: str = "") -> None:
        self._target = urlsplit(target)
        self._lock = threading.Lock()
        self._strike: _Strike | None = None
        self._closing = threading.Event()
        self._endless: list[socket.socket] = []
        self.seen: list[Asked] = []
        self.delivered: Callable[[], None] = lambda: None
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"wire": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Wire:  # noqa: PYI034 - Python 3.10 has no Self
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address to use in place of the API's own."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextlib.contextmanager
    def striking(self, fault: Fault, *, at: int = 0, times: int | None = 1) -> Iterator[list[Asked]]:
        """Let `fault` strike `times` requests (None: all) from number `at` on; the list grows by each request."""
        strike = _Strike(fault, at, times)
        with self._lock:
            self._strike = strike
        try:
            yield strike.seen
        finally:
            with self._lock:
                self._strike = None

    def handle(self, asked: Asked) -> Told | None:
        """Answer one request, or None to hang up."""
        with self._lock:
            self.seen.append(asked)
            strike = self._strike
            if strike is not None:
                strike.seen.append(asked)
                if not strike.due():
                    strike = None
        with contextlib.suppress(OSError, http.client.HTTPException):  # the API itself hung up
            return self._deliver(asked) if strike is None else strike.fault(asked, lambda: self._deliver(asked))
        return None

    def close(self) -> None:
        """Stop serving and wait for what is under way."""
        self._closing.set()
        for upstream in self._endless:
            with contextlib.suppress(OSError):  # it has ended already
                upstream.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def send(self, handler: BaseHTTPRequestHandler, told: Told) -> None:
        """Send `told` to the adapter, whole or in pieces, until somebody hangs up."""
        handler.send_response(told.status)
        for name, value in told.headers.items():
            handler.send_header(name, value)
        if told.pieces is None:
            handler.send_header("Content-Length", str(len(told.body)))
        else:
            handler.close_connection = True
        with contextlib.suppress(OSError):  # the adapter has heard enough
            handler.end_headers()
            for piece in [told.body] if told.pieces is None else told.pieces(self._closing):
                handler.wfile.write(piece)
                handler.wfile.flush()

    def _deliver(self, asked: Asked) -> Told:
        if not self._target.hostname:
            return Told(200, b"{}", {"Content-Type": "application/json"})
        connection = http.client.HTTPConnection(self._target.hostname, self._target.port, timeout=_UPSTREAM_S)
        headers = {name: value for name, value in asked.headers.items() if name not in {*_HOP, "accept-encoding"}}
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            connection.request(asked.method, self._target.path.rstrip("/") + asked.path, asked.body or None, headers)
            reply = connection.getresponse()
            kept = {name.lower(): value for name, value in reply.getheaders() if _passes(name.lower())}
            if kept.get("content-type", "").startswith("text/event-stream"):
                told = Told(reply.status, b"", kept, partial(self._events, connection.sock, reply, stack.pop_all()))
            else:
                told = Told(reply.status, reply.read(), kept)
        self.delivered()
        return told

    def _events(
        self,
        upstream: socket.socket,
        reply: http.client.HTTPResponse,
        stack: contextlib.ExitStack,
        _stop: threading.Event,
    ) -> Iterator[bytes]:
        """Yield what an endless reply says as soon as it says it; closing the wire ends it."""
        with stack, contextlib.closing(reply):
            self._endless.append(upstream)
            while piece := reply.read1(_PIECE):
                yield piece


def _passes(header: str) -> bool:
    # The suite asks more often than any quota allows; what a quota does is tested with a quota.
    return header not in _HOP and "ratelimit" not in header


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of an adapter that hung up; what it made of that is tested at its own end."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    disable_nagle_algorithm = True
    wire: ClassVar[Wire]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        told = self.wire.handle(Asked(self.command, self.path, headers, body))
        if told is None:
            self.close_connection = True
        else:
            self.wire.send(self, told)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _serve  # noqa: N815 - names that http.server asks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""
