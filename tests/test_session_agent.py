"""The session and the real agent: over a child process, and over SSH with links that break."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from session_kit import collect, take_until, wait_until
from streams_kit import HOST, Relay, Sshd, needs_sshd, sshd

from gpuplug.session import CellRequest, Session, Timing
from gpuplug.streams.process import ProcessConnection
from gpuplug.streams.ssh import connect
from gpuplug.types import Endpoint, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpuplug.streams import Connection

OPEN_S = 30.0
LINES = 20_000
FLOOD = f"for i in range({LINES}): print(i, flush=True)"
EXPECTED = b"".join(b"%d\n" % number for number in range(LINES))


def _output(events: list[Any]) -> bytes:
    return b"".join(event.payload for event in events if event.kind == "stream")


@contextlib.contextmanager
def _session(make: Callable[[], Connection]) -> Iterator[tuple[Session, list[Connection], list[str]]]:
    made: list[Connection] = []
    said: list[str] = []

    def one() -> Connection:
        made.append(make())
        return made[-1]

    timing = Timing(heartbeat_s=0.3, silence_s=1.5, pause_s=0.01, longest_pause_s=0.05)
    session = Session(one, "nb", clock=SystemClock(), on_link=said.append, timing=timing)
    session.open(OPEN_S)
    try:
        yield session, made, said
    finally:
        session.close()


@contextlib.contextmanager
def _agent_home(folder: Path) -> Iterator[Path]:
    """Yield a home for an agent; ends its daemon afterwards."""
    yield folder
    for file in (folder / ".gpuplug").glob("daemon-*.pid"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it is just ending
            os.kill(int(file.read_text()), signal.SIGTERM)
        wait_until(lambda path=file: not path.exists())  # type: ignore[misc]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with _agent_home(tmp_path) as folder:
        yield folder


@pytest.fixture
def local(home: Path) -> Callable[[], ProcessConnection]:
    env = {**os.environ, "HOME": str(home), "GPUPLUG_STATE": str(home / ".gpuplug")}
    return lambda: ProcessConnection(env=env, cwd=str(home))


def test_a_cell_runs_on_an_agent_that_was_sent_first_and_cached_then(
    local: Callable[[], ProcessConnection], home: Path
) -> None:
    with _session(local) as (session, _, _):
        session.submit(CellRequest("c1", "x = 20\nprint(x + 1)"))
        events = collect(session, "c1")
        assert _output(events) == b"21\n"
        assert session.request("ping").header["ok"]
    assert len(list((home / ".gpuplug" / "agent").glob("*.pyz"))) == 1
    with _session(local) as (session, _, _):
        session.submit(CellRequest("c2", "print(x + 2)"))
        assert _output([e for e in collect(session, "c2") if e.cell == "c2"]) == b"22\n"


def test_a_relay_that_is_killed_again_and_again_loses_and_doubles_nothing(
    local: Callable[[], ProcessConnection],
) -> None:
    with _session(local) as (session, made, said):
        session.submit(CellRequest("c1", FLOOD + "\nopen('runs', 'a').write('x')"))
        seen: list[Any] = []
        cuts = 0
        while not seen or seen[-1].kind != "done":
            event = session.next_event(OPEN_S)
            assert event is not None
            seen.append(event)
            if len(_output(seen[-1:])) and cuts < 6 and len(seen) > 3 * cuts:
                cuts += 1
                last = made[-1]
                assert isinstance(last, ProcessConnection)
                for stream in last.streams:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(stream.pid, signal.SIGKILL)
        assert _output(seen) == EXPECTED
        assert "connection lost, reconnecting" in said
        session.submit(CellRequest("c2", "print(open('runs').read())"))
        assert _output(collect(session, "c2")) == b"x\n"


def test_an_interrupt_and_an_answer_reach_the_cell(local: Callable[[], ProcessConnection]) -> None:
    with _session(local) as (session, _, _):
        session.submit(CellRequest("c1", "print(input('name? '))"))
        take_until(session, "input_request")
        session.answer("c1", "Ada")
        assert _output(collect(session, "c1")) == b"Ada\n"
        # Many short sleeps: Python may miss a signal that comes just before one.
        sleeping = "import time\nprint('on', flush=True)\nfor _ in range(600): time.sleep(0.1)"
        session.submit(CellRequest("c2", sleeping))
        take_until(session, "stream")
        session.interrupt("c2")
        assert collect(session, "c2")[-1].header["status"] == "interrupted"


class Reach:
    """Makes SSH connections, each through a relay of its own; `budgets` are the bytes after which the first ones are cut."""

    def __init__(self, server: Sshd) -> None:
        self._server = server
        self.relays: list[Relay] = []
        self.budgets: list[int] = []

    def __call__(self) -> Connection:
        cut_after = self.budgets.pop(0) if self.budgets else None
        self.relays.append(Relay(self._server.port, cut_after=cut_after))
        endpoint = Endpoint(HOST, self.relays[-1].port, user=self._server.endpoint.user)
        return connect(endpoint, self._server.identity)


class TestOverSsh:
    pytestmark = needs_sshd

    @pytest.fixture
    def reach(self, tmp_path: Path) -> Iterator[Reach]:
        with sshd(tmp_path) as server, _agent_home(tmp_path):
            made = Reach(server)
            yield made
            for relay in made.relays:
                relay.close()

    def test_a_cell_runs(self, reach: Reach) -> None:
        with _session(reach) as (session, _, _):
            session.submit(CellRequest("c1", "print('over ssh')"))
            assert _output(collect(session, "c1")) == b"over ssh\n"
            assert session.request("ping").header["ok"]

    def test_a_network_that_breaks_in_the_middle_of_output_loses_and_doubles_nothing(self, reach: Reach) -> None:
        reach.budgets = [30_000, 35_001, 40_003]
        with _session(reach) as (session, made, _):
            session.submit(CellRequest("c1", FLOOD))
            assert _output(collect(session, "c1")) == EXPECTED
            assert len(made) == 4

    def test_a_link_that_swallows_everything_is_noticed_and_replaced(self, reach: Reach) -> None:
        with _session(reach) as (session, made, said):
            session.submit(CellRequest("c1", "print(input())"))
            take_until(session, "input_request")
            reach.relays[0].stalled.set()
            session.answer("c1", "swallowed or not")
            assert _output(collect(session, "c1")) == b"swallowed or not\n"
            assert len(made) > 1
            assert said[0] == "connection lost, reconnecting"
