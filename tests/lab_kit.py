"""A real Jupyter server beside a live sandbox market, and what a test does with the page that it shows."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import nbformat
from sandbox_kit import ROOT, RunningMarket, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

PREBUILT = ROOT / "src" / "gpuplug" / "labextension"
SHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--font-render-hinting=none"]
START_S = 90.0
WAIT_MS = 30_000
PREFIX = "/user/ada/"


def why_not() -> str:
    """Return why no browser can be shown the panel here; empty when one can."""
    if CHROMIUM is None:
        return "there is no chromium"
    if not (PREBUILT / "package.json").is_file():
        return "the front end is not built (make front)"
    return ""


@dataclass(frozen=True)
class Lab:
    """A Jupyter server with the market it rents from; `url` ends with its base URL, which is a prefix as JupyterHub gives one."""

    url: str
    token: str
    work: Path
    market: RunningMarket
    log: Path

    def page(self, path: str) -> str:
        return f"{self.url}{path}{'&' if '?' in path else '?'}token={self.token}"

    def ask(self, method: str, route: str, **body: object) -> Any:  # noqa: ANN401 - JSON
        """Send to the Jupyter server as a program with its token does; return the answer's JSON, `None` when it has none."""
        headers = {"Authorization": f"token {self.token}"}
        reply = httpx.request(method, self.url + route, json=body or None, headers=headers, timeout=30)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def settle(self) -> None:
        """End every kernel and every instance, free ones too; return when nothing is left."""
        for each in self.ask("GET", "api/kernels"):
            self.ask("DELETE", f"api/kernels/{each['id']}")
        for each in self._standing():
            self.ask("POST", "gpuplug/actions/destroy", id=each["id"])
        wait_until(lambda: self.market.meter()["billing_now"] == 0 and not self._standing(), 60)

    def _standing(self) -> list[dict[str, Any]]:
        pods = self.ask("GET", "gpuplug/state")["pods"]["items"] or []
        return [each for each in pods if each["may"]["destroy"] is not None]

    def notebook(self, name: str, *cells: str) -> str:
        """Write a notebook; return its path in the file browser."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.work / name)
        return name


@dataclass(frozen=True)
class Address:
    """Where a Jupyter server is found, so that another can be started in its place."""

    port: int
    token: str

    @classmethod
    def free(cls) -> Address:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return cls(probe.getsockname()[1], secrets.token_hex(16))


def environment(home: Path, source: RunningMarket) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VAST", "RUNPOD", "GPUPLUG", "JUPYTER"))
    }
    data, disabled = home / "data", home / "config" / "labconfig"
    disabled.mkdir(parents=True)
    news = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (disabled / "page_config.json").write_text(json.dumps(news))
    (data / "labextensions").mkdir(parents=True)
    (data / "labextensions" / "gpuplug").symlink_to(PREBUILT)
    return {
        **kept,
        **source.env,
        "HOME": str(home),
        "GPUPLUG_HOME": str(home / "gp"),
        "GPUPLUG_BUDGET": "5/day",
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(data),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "PYTHONPATH": os.environ.get("GP_DEV_SRC", str(ROOT / "src")),
    }


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def running_lab(home: Path, source: RunningMarket, address: Address | None = None) -> Iterator[Lab]:
    """Run a Jupyter server until the end of the block."""
    home.mkdir(exist_ok=True)
    work = home / "work"
    work.mkdir()
    address = address or Address.free()
    port, token = address.port, address.token
    command = [
        *(
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--port={port}",
            "--ServerApp.port_retries=0",
        ),
        *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={work}", f"--ServerApp.base_url={PREFIX}"),
        *("--ServerApp.jpserver_extensions={'gpuplug': True}", "--ServerApp.allow_unauthenticated_access=False"),
        "--KernelManager.autorestart=False",  # a kernel that was killed stays dead
        *("--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"),
    ]
    url, log = f"http://127.0.0.1:{port}{PREFIX}", home / "jupyter.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env=environment(home, source), stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
        try:
            end = time.monotonic() + START_S
            while not answers(f"{url}api?token={token}"):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < end, log.read_text()[-3000:]
            yield Lab(url, token, work, source, log)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def settled(page: Page) -> Any:  # noqa: ANN401 - a value of the page
    """Wait until JupyterLab or Notebook 7 stands."""
    page.wait_for_function("() => window.jupyterapp && window.jupyterapp.restored")
    page.evaluate("() => window.jupyterapp.restored.then(() => true)")
    page.wait_for_selector("#jupyterlab-splash", state="detached")


def command(page: Page, name: str, **arguments: object) -> None:
    """Have JupyterLab do what its palette would, without waiting for its end."""
    page.evaluate("([name, more]) => { window.jupyterapp.commands.execute(name, more); }", [name, arguments])


def shot(page: Page, name: str) -> Path:
    """Write what the page shows now."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size > 10_000, "the picture is blank"
    return path
