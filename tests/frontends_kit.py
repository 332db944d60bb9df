"""A real kernel with a real client, as a notebook page drives it: every message of a cell in order, questions answered."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
CELL_S = 60.0
_POLL_MS = 1000
_SUBSHELL_S = 10.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    """Return the text without its colours."""
    return _COLOUR.sub("", text)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return this process's environment without any key, with all folders of the user below `home`."""
    ours = ("VAST_API_KEY", "RUNPOD_API_KEY", "GPUPLUG", "JPY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    own = {"HOME": str(home), "GPUPLUG_HOME": str(home / "gp"), "IPYTHONDIR": str(home / "ipython")}
    return {**kept, **own, "PYTHONPATH": str(ROOT / "src"), **more}


def command(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `gpuplug ARGUMENTS` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gpuplug.frontends.cli", *arguments],
        env=environment(home, **more),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=CELL_S,
        check=False,
    )


@dataclass(frozen=True)
class Message:
    """One message of the kernel about a cell, and when it came (seconds after the cell was sent)."""

    kind: str
    content: dict[str, Any]
    at: float

    @property
    def text(self) -> str:
        """What it shows as plain text."""
        data = self.content.get("data", {})
        return str(self.content.get("text") or data.get("text/plain") or "")


@dataclass
class Shown:
    """What one cell showed."""

    messages: list[Message] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Message]:
        """Return the messages of some kinds."""
        return [message for message in self.messages if message.kind in kinds]

    def stream(self, name: str) -> str:
        """Return all text of stdout or stderr."""
        return "".join(message.text for message in self.of("stream") if message.content["name"] == name)

    @property
    def out(self) -> str:
        """All text of stdout."""
        return self.stream("stdout")

    @property
    def result(self) -> str:
        """The plain text of `Out[n]`."""
        (message,) = self.of("execute_result")
        return message.text

    @property
    def error(self) -> str:
        """The traceback as it is shown, without colours; empty when there is none."""
        return plain("\n".join(line for message in self.of("error") for line in message.content["traceback"]))

    @property
    def page(self) -> list[str]:
        """The texts of the displays as they stand at the end: updated in place, emptied by a clear."""
        found: dict[str, str] = {}
        for message in self.of("display_data", "update_display_data", "clear_output"):
            if message.kind == "clear_output":
                found.clear()
                continue
            found[message.content["transient"].get("display_id", f"at {message.at}")] = message.text
        return list(found.values())

    def at(self, text: str) -> float:
        """Return when `text` was first seen in a stream."""
        return next(message.at for message in self.of("stream") if text in message.text)


class Kernel:
    """One kernel process and its client."""

    def __init__(self, home: Path, folder: Path, **more: str) -> None:
        folder.mkdir(exist_ok=True)
        self._manager = KernelManager(
            kernel_name="python3",
            transport="ipc",
            ip=str(home / f"ipc-{folder.name}"),
            connection_file=str(home / f"kernel-{folder.name}.json"),
        )
        self._begun = ""
        self._killed = False
        self._manager.start_kernel(cwd=str(folder), env=environment(home, **more))
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=CELL_S)
        self._channels = {
            "stdin": self._client.stdin_channel,
            "iopub": self._client.iopub_channel,
            "shell": self._client.shell_channel,
        }
        self._poller = zmq.Poller()
        for channel in self._channels.values():
            self._poller.register(channel.socket, zmq.POLLIN)

    def run(
        self, code: str, *, answers: Sequence[str] | None = None, watch: Callable[[Message], None] | None = None
    ) -> Shown:
        """Run one cell to its end.

        Args:
            code: the cell.
            answers: what is typed at each question; None when the front end allows no questions.
            watch: is told each message as it comes.
        """
        shown = Shown()
        waiting = list(answers or ())
        began = time.monotonic()
        sent = self._client.execute(code, allow_stdin=answers is not None, store_history=True)
        idle = False
        while not (idle and shown.reply):
            assert time.monotonic() - began < CELL_S, f"{code!r} did not end; it showed {shown.messages}"
            for channel, raw in self._arrived():
                if raw["parent_header"].get("msg_id") != sent:
                    continue
                if channel == "shell":
                    shown.reply = raw["content"]
                    continue
                message = Message(raw["msg_type"], raw["content"], time.monotonic() - began)
                shown.messages.append(message)
                idle = idle or message.content.get("execution_state") == "idle"
                if watch:
                    watch(message)
                if message.kind == "input_request" and waiting:
                    self._client.input(waiting.pop(0))
        return shown

    def tab(self, code: str) -> list[str]:
        """Return how `code`, with the cursor at its end, reads after Tab, for each of the completions offered."""
        sent = self._client.complete(code)
        end = time.monotonic() + CELL_S
        while time.monotonic() < end:
            for channel, raw in self._arrived():
                if channel == "shell" and raw["parent_header"].get("msg_id") == sent:
                    found = raw["content"]
                    return [code[: found["cursor_start"]] + match for match in found["matches"]]
        raise AssertionError("the kernel completed nothing")

    def _arrived(self) -> Iterator[tuple[str, dict[str, Any]]]:
        ready = dict(self._poller.poll(_POLL_MS))
        for name, channel in self._channels.items():
            if channel.socket in ready:
                # The channels' own way to read is a coroutine in older clients.
                yield name, getattr(self._client, f"get_{name}_msg")(timeout=1)

    def begin(self, code: str) -> None:
        """Send one cell, and return when it has printed `busy`; `settle` waits for its end."""
        self._begun = self._client.execute(code, store_history=True)
        self._until(lambda raw: raw["msg_type"] == "stream" and "busy" in raw["content"]["text"])

    def said(self, text: str) -> None:
        """Wait until the cell that `begin` sent prints `text`."""
        self._until(lambda raw: raw["msg_type"] == "stream" and text in raw["content"]["text"])

    def settle(self) -> None:
        """Wait for the end of the cell that `begin` sent."""
        self._until(lambda raw: raw["content"].get("execution_state") == "idle")

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        end = time.monotonic() + CELL_S
        while time.monotonic() < end:
            for _, raw in self._arrived():
                if raw["parent_header"].get("msg_id") == self._begun and wanted(raw):
                    return
        raise AssertionError("the cell did not come so far")

    def subshell(self) -> str:
        """Make a second shell, as JupyterLab does for widgets; "" where the kernel has none."""
        message = self._client.session.msg("create_subshell_request", {})
        self._client.control_channel.send(message)
        try:
            reply = self._client.get_control_msg(timeout=_SUBSHELL_S)
        except queue.Empty:
            return ""
        return str(reply["content"].get("subshell_id", ""))

    def send(self, comm: str, content: dict[str, Any], subshell: str = "") -> None:
        """Send a message of a widget's page, to the main shell or to another."""
        data = {"method": "custom", "content": content}
        message = self._client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        if subshell:
            message["header"]["subshell_id"] = subshell
        self._client.shell_channel.send(message)

    def hear(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the data of the first message to a widget that is wanted."""
        end = time.monotonic() + CELL_S
        while time.monotonic() < end:
            for channel, raw in self._arrived():
                if channel == "iopub" and raw["msg_type"] == "comm_msg" and wanted(raw["content"]["data"]):
                    found: dict[str, Any] = raw["content"]["data"]
                    return found
        raise AssertionError("no such message to a widget")

    @property
    def pid(self) -> int:
        """The number of the kernel's process."""
        return int(self._manager.provisioner.pid)

    def interrupt(self) -> None:
        """Do what the interrupt button does."""
        self._manager.interrupt_kernel()

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        self._manager.shutdown_kernel(now=True)
        self._killed = True

    def start_anew(self) -> None:
        """Have the process crash, and another take its place under the same id, as a server does."""
        os.kill(self._manager.provisioner.pid, signal.SIGKILL)
        self._manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=CELL_S)

    def close(self) -> None:
        """Destroy what the notebook rented and end the kernel."""
        if not self._killed:
            self.run("get_ipython().run_line_magic('load_ext', 'gpuplug')\nget_ipython().run_line_magic('gpu', 'down')")
        self._client.stop_channels()
        self._client.context.destroy()
        self._manager.shutdown_kernel(now=True)


@contextlib.contextmanager
def kernel(home: Path, name: str = "notebook", **more: str) -> Iterator[Kernel]:
    """Start a kernel in `home/name` with the extension loaded; what it rented is destroyed at the end."""
    made = Kernel(home, home / name, **more)
    try:
        made.run("%load_ext gpuplug")
        yield made
    finally:
        made.close()


def once(kernel: Kernel, *texts: str) -> Callable[[Message], None]:
    """Return a watcher that interrupts when each of `texts` is first seen, one after the other."""
    waiting = list(texts)

    def watch(message: Message) -> None:
        if waiting and waiting[0] in message.text:
            waiting.pop(0)
            kernel.interrupt()

    return watch
