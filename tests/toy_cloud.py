"""The cloud that the toy adapter speaks to: machines in memory behind a real HTTP server."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from gpuplug.providers import Access
from gpuplug.testing import Trouble
from gpuplug.types import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpuplug.types import Clock

KEY = "canary-toy-key-0123456789"


class ToyCloud:
    """One account; it is a `gpuplug.testing.Market` too."""

    def __init__(self) -> None:
        self.machines = {
            number: {"id": number, "gpu": "T1000", "count": 1, "price": number / 10} for number in (1, 2, 3)
        }
        self.instances: dict[int, dict[str, Any]] = {}
        self.credit = True
        self._numbers = itertools.count(7000)
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
                allowed = self.headers.get("Authorization") == f"Bearer {KEY}"
                status, answer = (
                    cloud.answer(self.command, self.path.partition("?")[0], body)
                    if allowed
                    else (401, {"error": "key"})
                )
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - names that http.server asks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, object]:
        """Return status and answer of one call."""
        number = int(path.rpartition("/")[2]) if path.rpartition("/")[2].isdigit() else 0
        if path == "/offers":
            return 200, {"offers": list(self.machines.values())}
        if path == "/instances" and method == "POST":
            return self._rent(int(body["offer"]), str(body["label"]))
        if path == "/instances":
            return 200, {"instances": list(self.instances.values())}
        if number not in self.instances:
            return 404, {"error": "unknown"}
        if method == "DELETE":
            return 200, self.instances.pop(number)
        row = dict(self.instances[number])
        self.instances[number]["state"] = "running"
        return 200, row

    def access(self, clock: Clock) -> Access:
        return Access(Secret(KEY), "the variable TOY_API_KEY", f"http://127.0.0.1:{self.server.server_port}", "", clock)

    def existing(self) -> Mapping[str, str]:
        return {str(number): row["label"] for number, row in list(self.instances.items())}

    def stranger(self) -> str:
        return str(self._rent(3, "somebody")[1]["id"])

    def cause(self, trouble: Trouble, instance_id: str = "") -> None:  # noqa: ARG002 - there is no spot
        if trouble is Trouble.TAKEN:
            self.machines.clear()
        else:
            assert trouble is Trouble.NO_CREDIT
            self.credit = False

    def pass_time(self, seconds: float) -> None:
        """Nothing here takes time."""

    def _rent(self, machine: int, label: str) -> tuple[int, dict[str, Any]]:
        if not self.credit:
            return 402, {"error": "no credit"}
        if machine not in self.machines:
            return 409, {"error": "taken"}
        number = next(self._numbers)
        self.instances[number] = {**self.machines[machine], "id": number, "label": label, "state": "booting"}
        return 200, {"id": number}


@contextlib.contextmanager
def toy_cloud() -> Iterator[ToyCloud]:
    """Serve a fresh cloud, and end it."""
    cloud = ToyCloud()
    thread = threading.Thread(target=cloud.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        cloud.server.shutdown()
        thread.join()
        cloud.server.server_close()
