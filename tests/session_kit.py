"""A small scripted agent that speaks docs/protocol.md over memory streams, and links that break where they are told to."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpuplug.agent import wire
from gpuplug.errors import LinkError
from gpuplug.session import Session, Timing
from gpuplug.streams.memory import MemoryConnection
from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.streams import ByteStream, Connection

FAST = Timing(heartbeat_s=600, silence_s=5, pause_s=0.001, longest_pause_s=0.005, give_up_s=60, handshake_s=5)
WAIT_S = 10.0


def event(seq: int, cell: str, kind: str, payload: bytes = b"", **more: object) -> bytes:
    """Return one frame of a journal."""
    return wire.pack({"seq": seq, "cell": cell, "kind": kind, **more}, payload)


@dataclass
class FakeAgent:
    """One kernel: runs each cell by calling `script(agent, cell, source)`, once; `got` lists control frames in order.

    `reply` answers a request of the bulk stream; None leaves it without an answer.
    """

    script: Callable[[FakeAgent, str, str], None] = lambda agent, cell, _: agent.finish(cell)
    reply: Callable[[wire.Header, bytes], tuple[wire.Header, bytes] | None] = lambda header, payload: (
        {"ok": True, "op": header["op"]},
        payload,
    )
    greeting: bytes = b"GPUPLUG 1 have\n"
    welcome: dict[str, Any] = field(default_factory=dict)
    got: list[wire.Header] = field(default_factory=list)
    requests: list[wire.Header] = field(default_factory=list)
    bundles: list[bytes] = field(default_factory=list)
    journal: bytearray = field(default_factory=bytearray)
    kept_from: int = 0
    seq: int = 0
    ran: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def append(self, cell: str, kind: str, payload: bytes = b"", **more: object) -> None:
        """Write one event."""
        with self.changed:
            self.seq += 1
            self.journal += event(self.seq, cell, kind, payload, **more)
            self.changed.notify_all()

    def finish(self, cell: str) -> None:
        """Write the events of a cell that does nothing."""
        self.append(cell, "started", count=len(self.ran))
        self.append(cell, "done", status="ok")

    def serve(self, _: str, far: ByteStream) -> None:
        """Speak over one stream: the program of a `MemoryConnection`."""
        decoder = wire.Decoder()
        far.write(self.greeting)
        rest = self._take_bundle(far) if b" need\n" in self.greeting else b""
        frames = _frames(far, decoder, rest)
        hello, _payload = next(frames, ({}, b""))
        if not hello:
            return  # the client left before it said anything
        if hello["role"] == "bulk":
            far.write(wire.pack({"op": "welcome", "version": "1"}))
            self._answer(far, frames)
            return
        offset = max(hello["offset"], self.kept_from)
        facts = {
            "version": "1",
            "journal": "j",
            "offset": offset,
            "python": "3.11.2",
            "work": "/root/x",
        }
        far.write(wire.pack({"op": "welcome", **facts, **self.welcome}))
        over = threading.Event()
        pump = threading.Thread(target=self._pump, args=(far, offset, over), daemon=True)
        pump.start()
        try:
            self._control(frames)
        finally:
            over.set()
            with self.changed:
                self.changed.notify_all()
            pump.join()

    def _take_bundle(self, far: ByteStream) -> bytes:
        data = b""
        while b"\n" not in data:
            data += _some(far)
        length, _, data = data.partition(b"\n")
        while len(data) < int(length):
            data += _some(far)
        self.bundles.append(data[: int(length)])
        return data[int(length) :]

    def _answer(self, far: ByteStream, frames: Iterator[wire.Frame]) -> None:
        for header, payload in frames:
            self.requests.append(header)
            if (reply := self.reply(header, payload)) is not None:
                far.write(wire.pack({"id": header["id"], **reply[0]}, reply[1]))

    def _control(self, frames: Iterator[wire.Frame]) -> None:
        for header, payload in frames:
            with self.changed:
                self.got.append(header)
                fresh = header["op"] == "run" and header["cell"] not in self.ran
                if fresh:
                    self.ran.append(header["cell"])
                self.changed.notify_all()
            if fresh:
                self.script(self, header["cell"], payload.decode())

    def _pump(self, far: ByteStream, offset: int, over: threading.Event) -> None:
        with contextlib.suppress(LinkError):
            while True:
                with self.changed:
                    while len(self.journal) == offset and not over.is_set():
                        self.changed.wait(WAIT_S)
                    if over.is_set():
                        return
                    data = bytes(self.journal[offset : offset + (1 << 16)])
                far.write(data)
                offset += len(data)

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds, which what the agent gets or writes may bring about."""
        with self.changed:
            assert self.changed.wait_for(condition, WAIT_S)

    def ops(self) -> list[str]:
        """The names of the control frames so far."""
        with self.changed:
            return [header["op"] for header in self.got]


def _some(far: ByteStream) -> bytes:
    if not (data := far.read(1 << 16)):
        msg = "the client left"
        raise LinkError(msg)
    return data


def _frames(far: ByteStream, decoder: wire.Decoder, rest: bytes) -> Iterator[wire.Frame]:
    yield from decoder.feed(rest)
    while data := far.read(1 << 16):
        yield from decoder.feed(data)


class CutStream:
    """Hands out `budget` bytes to its reader, then the connection breaks."""

    def __init__(self, inner: ByteStream, owner: CutConnection) -> None:
        self._inner = inner
        self._owner = owner

    def read(self, limit: int) -> bytes:
        room = self._owner.room()
        if not room:
            self._owner.inner.cut()
        data = self._inner.read(min(limit, room) or 1)
        self._owner.spend(len(data))
        return data

    def write(self, data: bytes | memoryview) -> None:
        self._inner.write(data)

    def close_write(self) -> None:
        self._inner.close_write()

    def close(self) -> None:
        self._inner.close()


class CutConnection:
    """A connection to an agent that breaks when its readers have had `budget` bytes; None is never."""

    def __init__(self, agent: FakeAgent, budget: int | None = None) -> None:
        self.inner = MemoryConnection(agent.serve)
        self._budget = budget
        self._lock = threading.Lock()

    def room(self) -> int:
        """How many bytes may still be read."""
        with self._lock:
            return 1 << 20 if self._budget is None else self._budget

    def spend(self, count: int) -> None:
        """Count bytes that were read."""
        with self._lock:
            if self._budget is not None:
                self._budget -= count

    def run(self, command: str) -> ByteStream:
        return CutStream(self.inner.run(command), self)

    def cut(self) -> None:
        """Break it now."""
        self.inner.cut()

    def close(self) -> None:
        self.inner.close()


@dataclass
class Links:
    """Makes the connections of a session: one per budget, then unbreakable ones. `said` is what `on_link` was told."""

    agent: FakeAgent
    budgets: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    made: list[CutConnection] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)

    def connect(self) -> Connection:
        """Return the next connection, or raise the next of `errors` when there was a connection before."""
        if self.made and self.errors:
            raise self.errors.pop(0)
        self.made.append(CutConnection(self.agent, self.budgets.pop(0) if self.budgets else None))
        return self.made[-1]

    def session(self, timing: Timing = FAST) -> Session:
        """Return a session over these links that is not open yet."""
        return Session(
            self.connect,
            "nb",
            clock=self.clock,
            on_link=self.said.append,
            timing=timing,
            jitter=lambda: 0.0,
        )


@contextlib.contextmanager
def opened(agent: FakeAgent, timing: Timing = FAST, **more: Any) -> Iterator[tuple[Session, Links]]:  # noqa: ANN401 - handed on
    """Open a session with `agent`; close it afterwards and check that it leaves no thread."""
    links = Links(agent, **more)
    session = links.session(timing)
    session.open(WAIT_S)
    try:
        yield session, links
    finally:
        session.close()
        for connection in links.made:
            connection.close()


def wait_until(condition: Callable[[], object]) -> None:
    """Look at `condition` until it holds; fail after `WAIT_S`."""
    end = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.002)


def shape(events: list[Any]) -> str:
    """Return what makes a list of events comparable."""
    return json.dumps([[e.cell, e.kind, e.payload.decode("latin-1")] for e in events])


def take_until(session: Session, kind: str) -> None:
    """Take events until one of `kind` came."""
    while (event := session.next_event(WAIT_S)) is not None:
        if event.kind == kind:
            return
    msg = f"no {kind!r} for {WAIT_S} s"
    raise AssertionError(msg)


def collect(session: Session, cell: str) -> list[Any]:
    """Take events until `cell` is done."""
    events: list[Any] = []
    while not events or (events[-1].cell, events[-1].kind) != (cell, "done"):
        taken = session.next_event(WAIT_S)
        assert taken is not None, f"nothing for {WAIT_S} s after {events[-1:]}"
        events.append(taken)
    return events
