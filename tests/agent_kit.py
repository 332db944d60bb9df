"""The real agent in a folder of its own: `with installed(tmp_path) as agent: with agent.control() as c: c.cell("1+1")`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuplug import agent
from gpuplug.agent import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

WAIT_S = 30.0
_NUMBERS = count(1)


class Closed(Exception):  # noqa: N818 - an end is no error
    """The other side has ended the stream."""


@dataclass
class Event:
    """One event of the journal."""

    header: dict[str, Any]
    payload: bytes

    @property
    def kind(self) -> str:
        return str(self.header["kind"])

    @property
    def cell(self) -> str:
        return str(self.header["cell"])


@dataclass
class Ran:
    """All events of one cell, `done` the last."""

    events: list[Event]

    @property
    def done(self) -> dict[str, Any]:
        return self.events[-1].header

    @property
    def status(self) -> str:
        return str(self.done["status"])

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def only(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    def data(self, name: str = "stdout") -> bytes:
        return b"".join(event.payload for event in self.only("stream") if event.header["name"] == name)

    def text(self, name: str = "stdout") -> str:
        return self.data(name).decode()

    def forms(self, kind: str = "display") -> list[dict[str, bytes]]:
        """Return the forms of each display or result, by MIME type."""
        return [_forms(event) for event in self.only(kind)]


def _forms(event: Event) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    start = 0
    for mime, length in event.header["mimes"]:
        found[mime] = event.payload[start : start + length]
        start += length
    assert start == len(event.payload)
    return found


class Link:
    """One stream to the agent over the pipes of `sh -c <loader command>`; every wait has a deadline."""

    def __init__(self, child: subprocess.Popen[bytes], bundle: bytes) -> None:
        self.child = child
        self.decoder = wire.Decoder()
        self.raw = bytearray()
        self.welcome: dict[str, Any] = {}
        self._bundle = bundle
        self._undecoded = b""
        self._frames: list[wire.Frame] = []
        self.stuck = False  # a wait was in vain

    def load(self) -> str:
        """Do the loader's part; return the word it said."""
        word = self.loader_line().split()[2]
        if word == "need":
            self.write(b"%d\n" % len(self._bundle) + self._bundle)
        return word

    def loader_line(self) -> str:
        """Return the loader's line, whatever comes before it."""
        seen = b""
        while b"GPUPLUG 1 " not in seen or not seen.endswith(b"\n"):
            seen += self.read(1)
        return seen[seen.index(b"GPUPLUG 1 ") :].decode().strip()

    def write(self, data: bytes) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def read(self, limit: int, wait_s: float = WAIT_S) -> bytes:
        """Return 1 to `limit` bytes."""
        assert self.child.stdout is not None
        fd = self.child.stdout.fileno()
        if not select.select([fd], [], [], wait_s)[0]:
            self.stuck = True
            raise TimeoutError(f"nothing within {wait_s} s")
        data = os.read(fd, limit)
        if not data:
            raise Closed
        return data

    def more(self, wait_s: float = WAIT_S) -> bytes:
        """Return the next bytes after the welcome, and add them to `raw`."""
        data = self.read(1 << 18, wait_s)
        self.raw += data
        return data

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        self.write(wire.pack(header, payload))

    def receive(self, wait_s: float = WAIT_S) -> wire.Frame:
        """Return the next frame."""
        while not self._frames:
            data = self._undecoded or self.more(wait_s)
            self._undecoded = b""
            self._frames += self.decoder.feed(data)
        return self._frames.pop(0)

    def attach(self, **header: object) -> dict[str, Any]:
        """Load the agent, attach, and return the first answer; the journal's bytes are in `raw` from then on."""
        self.load()
        self.send({"op": "attach", **header})
        first, seen = wire.Decoder(), bytearray()
        while not self.welcome:
            seen += self.read(1 << 18)
            for self.welcome, _ in first.feed(bytes(seen[first.consumed + first.pending :])):
                break
        # What follows may begin in the midst of a frame: it is decoded when it is asked for.
        self.raw = seen[first.consumed :]
        self._undecoded = bytes(self.raw)
        return self.welcome

    def close(self) -> None:
        self.child.kill()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Control(Link):
    """The stream of cells and events."""

    def event(self, wait_s: float = WAIT_S) -> Event:
        return Event(*self.receive(wait_s))

    def start(self, source: str, **header: object) -> str:
        """Queue a cell and return its id."""
        cell = str(header.pop("cell", f"c{next(_NUMBERS)}"))
        self.send({"op": "run", "cell": cell, "shell": False, **header}, source.encode())
        return cell

    def until(self, wanted: Callable[[Event], bool], wait_s: float = WAIT_S) -> list[Event]:
        """Return the events up to the first that is wanted."""
        found: list[Event] = []
        while not found or not wanted(found[-1]):
            found.append(self.event(wait_s))
        return found

    def finish(self, cell: str, wait_s: float = WAIT_S) -> Ran:
        """Return the events of `cell` to its end; those of others are passed over."""
        events = self.until(lambda event: event.cell == cell and event.kind == "done", wait_s)
        return Ran([event for event in events if event.cell == cell])

    def cell(self, source: str, **header: object) -> Ran:
        """Run a cell to its end."""
        return self.finish(self.start(source, **header))

    def script(self, source: str) -> str:
        """Queue a cell for bash and return its id."""
        return self.start(source, shell=True)  # noqa: S604 - a field of the request

    def interrupt(self, cell: str) -> None:
        self.send({"op": "interrupt", "cell": cell})


class Bulk(Link):
    """The stream of requests."""

    def ask(self, op: str, payload: bytes = b"", **header: object) -> wire.Frame:
        self.send({"op": op, "id": next(_NUMBERS), **header}, payload)
        return self.receive()


@dataclass
class Agent:
    """An agent's home. `python` is the interpreter that agent and kernels run on."""

    home: Path
    python: str = sys.executable
    more: dict[str, str] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.home / ".gpuplug"

    def environ(self) -> dict[str, str]:
        """Return the variables of a login on that machine."""
        prefix = Path(self.python).parent.parent
        kept = {name: value for name, value in os.environ.items() if name in {"LANG", "LD_LIBRARY_PATH"}}
        path = f"{prefix}/bin:/usr/local/bin:/usr/bin:/bin"
        return {**kept, "PATH": path, "VIRTUAL_ENV": str(prefix), "HOME": str(self.home), **self.more}

    def open(self, kind: type[Link] = Link, *, digest: str = "", prefix: str = "") -> Any:  # noqa: ANN401 - as asked for
        """Run the loader; `prefix` is shell text before it, as a profile would be."""
        command = prefix + agent.loader_command(digest or agent.digest())
        child = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environ(),
            cwd=self.home,
            start_new_session=True,
        )
        self.links.append(kind(child, agent.bundle()))
        return self.links[-1]

    def control(self, kernel: str = "k", offset: int = 0) -> Control:
        """Return an attached control stream."""
        link: Control = self.open(Control)
        link.attach(role="control", kernel=kernel, offset=offset)
        return link

    def bulk(self, kernel: str = "k") -> Bulk:
        """Return an attached bulk stream."""
        link: Bulk = self.open(Bulk)
        link.attach(role="bulk", kernel=kernel)
        return link

    def daemon_pids(self) -> list[int]:
        found = []
        for file in self.state.glob("daemon-*.pid"):
            with contextlib.suppress(FileNotFoundError):  # its daemon is just ending
                found.append(int(file.read_text().split()[0]))
        return found

    def stop(self) -> None:
        """End the links and the daemons, and wait until they are gone."""
        for link in self.links:
            link.close()
        for pid in self.daemon_pids():
            end_process(pid)


def end_process(pid: int, number: int = signal.SIGTERM) -> None:
    """Send a signal to a process that is no child, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        wait_until(lambda: not lives(pid))


def lives(pid: int) -> bool:
    """Tell whether the process runs."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def wait_until(condition: Callable[[], object], wait_s: float = WAIT_S) -> None:
    """Return when the condition is true; fail after `wait_s`."""
    end = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        select.select([], [], [], 0.005)


@contextlib.contextmanager
def installed(home: Path, python: str = sys.executable, **more: str) -> Iterator[Agent]:
    """Give an agent's home; its daemons end with the block."""
    home.mkdir(exist_ok=True)
    found = Agent(home, python, more)
    try:
        yield found
    finally:
        found.stop()
