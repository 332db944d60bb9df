"""A scripted HTTP server on loopback that remembers what it was asked, for adapters and for the switch."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from gpuplug.providers import Access
from gpuplug.providers._http import HttpClient
from gpuplug.testing import FakeClock
from gpuplug.types import Clock, Secret

if TYPE_CHECKING:
    import ssl

WAIT_S = 15.0
KEY = "canary-account-key-0123456789"


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON of any shape
        return json.loads(self.body)


@dataclass
class Answer:
    """What to send back; `raw` replaces the whole reply, `hang_up` sends nothing at all."""

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    raw: Callable[[BaseHTTPRequestHandler], None] | None = None

    def data(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


Script = Callable[[Seen], Answer]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's names and types
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that goes away is part of many a test
            super().handle_error(request, client_address)


class Api:
    """Answers each `"METHOD /path"` from its list; the last answer of a list is repeated."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self._script: dict[str, list[Answer | Script]] = {}
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._scheme = "http"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def on(self, route: str, *answers: Answer | Script) -> None:
        with self._changed:
            self._script[route] = list(answers)

    def calls(self, method: str, path: str = "") -> list[Seen]:
        with self._changed:
            return [one for one in self.seen if one.method == method and one.path.startswith(path)]

    def wait(self, method: str, path: str = "", *, count: int = 1) -> list[Seen]:
        """Block until `count` such requests came; fail after `WAIT_S`."""
        end = time.monotonic() + WAIT_S
        with self._changed:
            while len(found := [o for o in self.seen if o.method == method and o.path.startswith(path)]) < count:
                left = end - time.monotonic()
                assert left > 0, f"no {count} x {method} {path}: {[(o.method, o.path) for o in self.seen]}"
                self._changed.wait(left)
            return found

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, seen: Seen) -> Answer:
        with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()
            answers = self._script.get(f"{seen.method} {seen.path.partition('?')[0]}", [])
            if not answers:
                return Answer({"success": False, "error": "not_found"}, 404)
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer if isinstance(answer, Answer) else answer(seen)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = api._answer(Seen(self.command, self.path, headers, body))
                if answer.raw is not None:
                    answer.raw(self)
                if answer.hang_up or answer.raw is not None:
                    self.close_connection = True
                    return
                data = answer.data()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - names that http.server asks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        return Handler


def access(url: str, clock: Clock | None = None, home: str = "") -> Access:
    """Return what an adapter is handed; the clock moves only when it is slept on."""
    return Access(Secret(KEY), "the environment variable VAST_API_KEY", url, home, clock or FakeClock())


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Api]:
    api = Api(tls)
    try:
        yield api
    finally:
        api.close()


@contextlib.contextmanager
def calling(url: str, clock: FakeClock | None = None, **more: float) -> Iterator[HttpClient]:
    """Open the shared HTTP client on `url`."""
    client = HttpClient(url, Secret(KEY), clock or FakeClock(), **more)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        client.close()
