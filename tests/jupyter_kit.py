"""A real Jupyter server with the extension, as a browser talks to it: token, XSRF cookie, events over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import httpx
from frontends_kit import ROOT, environment
from jupyter_server.auth import Authorizer
from sandbox_kit import wait_until
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "a-token-for-tests"
START_S = 60.0
WAIT_S = 60.0
CLIENT = "one browser"


class OnlyReaders(Authorizer):  # type: ignore[misc]  # jupyter_server carries no types for mypy
    """An authorizer under which everybody may read and nobody may act on what is gpuplug's."""

    def is_authorized(self, _handler: object, _user: object, action: str, resource: str) -> bool:
        """Tell whether it may be done."""
        return resource != "gpuplug" or action == "read"


@dataclass
class JupyterServer:
    """One server process. `root` is what its file browser shows."""

    process: subprocess.Popen[bytes]
    url: str
    root: Path
    http: httpx.Client = field(repr=False)

    def get(self, route: str) -> Any:  # noqa: ANN401 - JSON
        """Return the answer to a GET of a logged-in browser."""
        answer = self.http.get(f"{self.url}gpuplug/{route}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, route: str, body: object) -> tuple[int, dict[str, Any]]:
        """Return status and answer of a POST of a logged-in browser."""
        answer = self.http.post(f"{self.url}gpuplug/{route}", json=body)
        return answer.status_code, cast("dict[str, Any]", answer.json())

    def look(self, *parts: str) -> None:
        """Look at the panel, as a browser does again and again."""
        status, _ = self.post("looking", {"client": CLIENT, "parts": list(parts or ("pods", "prices")), "gpus": []})
        assert status == 200

    def state(self) -> dict[str, Any]:
        """Look, and return the state."""
        self.look()
        return cast("dict[str, Any]", self.get("state"))

    def pods(self) -> list[dict[str, Any]]:
        """Look, and return the pods."""
        return cast("list[dict[str, Any]]", self.state()["pods"]["items"])

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that the server is to find out."""
        wait_until(condition, WAIT_S)

    def finish(self, operation: str) -> dict[str, Any]:
        """Wait for the end of an operation and return it."""

        def row() -> dict[str, Any]:
            rows = self.state()["operations"]["items"]
            return next(each for each in rows if each["id"] == operation)

        self.until(lambda: row()["state"] != "running")
        return row()

    def notebook(self, path: str) -> str:
        """Open a notebook with a kernel of this server, as a browser does, and return the kernel's id."""
        body = {"path": path, "name": path.rpartition("/")[2], "type": "notebook", "kernel": {"name": "python3"}}
        answer = self.http.post(f"{self.url}api/sessions", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["kernel"]["id"])

    def rename(self, path: str, new: str) -> None:
        """Tell the session of a notebook that its file has another name, as a browser does after a rename."""
        session = next(each for each in self.http.get(f"{self.url}api/sessions").json() if each["path"] == path)
        body = {"path": new, "name": new.rpartition("/")[2], "type": "notebook"}
        answer = self.http.patch(f"{self.url}api/sessions/{session['id']}", json=body)
        assert answer.status_code == 200, answer.text

    def execute(self, kernel: str, *cells: str) -> list[dict[str, Any]]:
        """Run cells one after the other to their ends and return what the kernel said."""
        return asyncio.run(self._execute(kernel, cells, _has_ended))

    def begin(self, kernel: str, *cells: str) -> None:
        """Run cells one after the other, each until it prints something."""
        asyncio.run(self._execute(kernel, cells, _has_printed))

    async def _execute(
        self, kernel: str, cells: tuple[str, ...], over: Callable[[list[dict[str, Any]], str], bool]
    ) -> list[dict[str, Any]]:
        address = self.url.replace("http", "ws", 1) + f"api/kernels/{kernel}/channels"
        socket = await websocket_connect(HTTPRequest(address, headers={"Authorization": f"token {TOKEN}"}))
        said: list[dict[str, Any]] = []
        try:
            for number, code in enumerate(cells):
                await socket.write_message(json.dumps(_execute_request(f"cell-{number}", code)))
                while not over(said, f"cell-{number}"):
                    message = await asyncio.wait_for(socket.read_message(), WAIT_S)
                    assert message is not None
                    said.append(json.loads(message))
        finally:
            socket.close()
            while await socket.read_message() is not None:
                pass
        return said

    def events(self, until: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
        """Listen to the events bus, look meanwhile, and return the emissions up to the one that `until` is true for."""
        return asyncio.run(self._listen(until))

    async def _listen(self, until: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
        address = self.url.replace("http", "ws", 1) + "api/events/subscribe"
        socket = await websocket_connect(HTTPRequest(address, headers={"Authorization": f"token {TOKEN}"}))
        found: list[dict[str, Any]] = []
        try:
            while True:
                await asyncio.to_thread(self.look)
                message = await asyncio.wait_for(socket.read_message(), WAIT_S)
                assert message is not None
                emission = json.loads(message)
                if "gpuplug" in emission["schema_id"]:
                    found.append(emission)
                    if until(emission):
                        return found
        finally:
            socket.close()
            while await socket.read_message() is not None:
                pass

    def stop(self) -> str:
        """End the server as a person does and return what it logged."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(WAIT_S) is not None
        return log_of(self.root)


def _execute_request(number: str, code: str) -> dict[str, Any]:
    header = {"msg_id": number, "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    return {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}


def _has_printed(said: list[dict[str, Any]], number: str) -> bool:
    """Tell whether a cell has printed something."""
    return any(each["msg_type"] == "stream" and each["parent_header"].get("msg_id") == number for each in said)


def _has_ended(said: list[dict[str, Any]], number: str) -> bool:
    """Tell whether a cell was replied to and all it said is here: these come on two channels, in any order."""
    own = [message for message in said if message["parent_header"].get("msg_id") == number]
    idle = any(each["msg_type"] == "status" and each["content"]["execution_state"] == "idle" for each in own)
    return idle and any(each["msg_type"] == "execute_reply" for each in own)


def log_of(root: Path) -> str:
    """Return what the server of this folder has logged."""
    return (root.parent / "server.log").read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def jupyter(
    home: Path, base_url: str = "/", authorizer: str = "", extension: str = "", **more: str
) -> Iterator[JupyterServer]:
    """Start a server below `home`.

    `authorizer` names a class that decides who may do what, `extension` one more module; `more` are variables.
    """
    root = home / "notebooks"
    root.mkdir(parents=True, exist_ok=True)
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environ = environment(home, **folders, JUPYTER_NO_CONFIG="1", **more)
    command = [
        sys.executable,
        "-m",
        "jupyter_server",
        "--no-browser",
        "--allow-root",
        "--port=0",
        f"--ServerApp.base_url={base_url}",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={root}",
        f"--ServerApp.jpserver_extensions={dict.fromkeys(['gpuplug', *filter(None, [extension])], True)}",
        "--ServerApp.allow_unauthenticated_access=False",
    ]
    if authorizer:
        command.append(f"--ServerApp.authorizer_class={authorizer}")
    if authorizer or extension:
        environ["PYTHONPATH"] += f":{ROOT / 'tests'}"
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _running(home, process), START_S)
        found = _running(home, process)
        assert found, log_of(root)
        with httpx.Client(headers={"Authorization": f"token {TOKEN}"}, timeout=WAIT_S) as http:
            yield JupyterServer(process, f"http://127.0.0.1:{found['port']}{found['base_url']}", root, http)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(WAIT_S)


def _running(home: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return what the server tells of itself once it listens."""
    path = home / "runtime" / f"jpserver-{process.pid}.json"
    try:
        found = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        httpx.get(f"http://127.0.0.1:{found['port']}{found['base_url']}api", timeout=1.0)
    except (OSError, ValueError, httpx.HTTPError):
        return {}
    return found
