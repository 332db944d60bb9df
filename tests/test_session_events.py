from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from session_kit import FAST, WAIT_S, FakeAgent, Links, collect, event, opened, shape

from gpuplug.errors import AgentError, HostKeyError, LinkError, NotReadyError, UsageError
from gpuplug.session import CellRequest, Event, Timing
from gpuplug.session.events import EventQueue
from gpuplug.testing.streams import in_thread

if TYPE_CHECKING:
    from gpuplug.session import Session


def _talk(agent: FakeAgent, cell: str, _: str) -> None:
    agent.append(cell, "started", count=1)
    agent.append(cell, "stream", "é\n".encode()[:1], name="stdout")
    agent.append(cell, "stream", "é\n".encode()[1:], name="stdout")
    agent.append(cell, "display", b"\x00\xff\n", mimes=[["image/png", 3]])
    agent.append(cell, "done", status="ok")


def _threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("gpuplug-")}


def test_a_cell_gives_its_events_in_order() -> None:
    with opened(FakeAgent(_talk)) as (session, _):
        session.submit(CellRequest("c1", "print()"))
        kinds = [e.kind for e in collect(session, "c1")]
    assert kinds == ["started", "stream", "stream", "display", "done"]


def test_the_request_reaches_the_agent_whole() -> None:
    agent = FakeAgent()
    request = CellRequest("c1", "x = 'é'", True, ("a",), ("b",), (("np", "numpy"),), ("lib",))  # noqa: FBT003
    with opened(agent) as (session, _):
        session.submit(request)
        collect(session, "c1")
    assert agent.got[0] == {
        "op": "run",
        "cell": "c1",
        "shell": True,
        "inputs": ["a"],
        "outputs": ["b"],
        "modules": [["np", "numpy"]],
        "folders": ["lib"],
        "budget_s": None,
        "unfetched": None,
    }


def test_open_says_who_the_agent_is() -> None:
    links = Links(FakeAgent())
    session = links.session()
    welcome = session.open(WAIT_S)
    assert (welcome.version, welcome.python, welcome.work) == ("1", "3.11.2", "/root/x")
    assert session.alive
    session.close()
    assert not session.alive


def _length_of_one_run() -> tuple[int, str]:
    agent = FakeAgent(_talk)
    with opened(agent) as (session, _):
        session.submit(CellRequest("c1", ""))
        events = collect(session, "c1")
    return len(agent.journal) + 200, shape(events)


def test_a_cut_at_every_byte_loses_and_doubles_nothing() -> None:
    length, expected = _length_of_one_run()
    for at in range(15, length):
        agent = FakeAgent(_talk)
        links = Links(agent, budgets=[at])
        session = links.session()
        try:
            session.open(WAIT_S)
        except LinkError:
            continue  # cut before the welcome: the first attempt belongs to the caller
        session.submit(CellRequest("c1", ""))
        assert shape(collect(session, "c1")) == expected, at
        assert agent.ran == ["c1"], at
        session.close()


def test_many_cuts_in_one_long_output_lose_and_double_nothing() -> None:
    def flood(agent: FakeAgent, cell: str, _: str) -> None:
        for number in range(3000):
            agent.append(cell, "stream", b"%d\n" % number, name="stdout")
        agent.append(cell, "done", status="ok")

    with opened(FakeAgent(flood), budgets=[400 + 977 * n for n in range(30)]) as (session, links):
        session.submit(CellRequest("c1", ""))
        events = collect(session, "c1")
        assert len(links.made) > 10
    assert b"".join(e.payload for e in events) == b"".join(b"%d\n" % n for n in range(3000))


def test_a_loss_is_said_and_its_end_too() -> None:
    with opened(FakeAgent()) as (session, links):
        links.made[0].cut()
        session.submit(CellRequest("c1", ""))
        collect(session, "c1")
        assert links.said == ["connection lost, reconnecting", "connected again"]


def test_a_cell_that_was_submitted_while_the_link_was_down_runs() -> None:
    agent = FakeAgent()
    with opened(agent, errors=[NotReadyError("no")] * 3) as (session, links):
        links.made[0].cut()
        session.submit(CellRequest("c1", ""))
        collect(session, "c1")
        assert agent.ran == ["c1"]
        assert links.errors == []


def test_the_offset_is_that_of_the_last_event_taken() -> None:
    agent = FakeAgent(_talk)
    with opened(agent) as (session, _):
        assert session.offset == 0
        session.submit(CellRequest("c1", ""))
        taken = session.next_event(WAIT_S)
        assert taken is not None
        assert session.offset == len(event(1, "c1", "started", count=1))
        collect(session, "c1")
        assert session.offset == len(agent.journal)


def test_a_later_session_goes_on_where_the_earlier_one_ended() -> None:
    agent = FakeAgent(_talk)
    with opened(agent) as (session, _):
        session.submit(CellRequest("c1", ""))
        first = [session.next_event(WAIT_S), session.next_event(WAIT_S)]
        offset = session.offset
        agent.wait_for(lambda: agent.seq == 5)
    later = Links(agent).session()
    later.open(WAIT_S, offset=offset, journal="j")
    assert [e.kind for e in collect(later, "c1")] == ["stream", "display", "done"]
    assert first[0] is not None
    later.close()


def test_what_the_agent_no_longer_keeps_is_said() -> None:
    agent = FakeAgent(_talk)
    agent.script(agent, "old", "")
    agent.kept_from = len(event(1, "old", "started", count=1))
    with opened(agent) as (session, _):
        taken = session.next_event(WAIT_S)
        assert taken is not None
        assert (taken.kind, taken.header["bytes"]) == ("truncated", agent.kept_from)
        assert [e.kind for e in collect(session, "old")] == ["stream", "stream", "display", "done"]


def test_another_journal_is_never_taken_for_the_old_one() -> None:
    agent = FakeAgent()
    with opened(agent) as (session, links):
        session.submit(CellRequest("c1", ""))
        collect(session, "c1")
        agent.welcome = {"journal": "new"}
        links.made[0].cut()
        with pytest.raises(AgentError, match="lost its journal"):
            session.next_event(WAIT_S)


def test_another_host_key_on_return_ends_the_session_at_once() -> None:
    wrong = HostKeyError("other key", seen="ssh-ed25519 X")
    with opened(FakeAgent(), errors=[wrong]) as (session, links):
        links.made[0].cut()
        with pytest.raises(HostKeyError):
            session.next_event(WAIT_S)
        with pytest.raises(HostKeyError):
            session.submit(CellRequest("c1", ""))
        with pytest.raises(HostKeyError):
            session.request("ping")
        assert len(links.made) == 1


def test_a_link_that_stays_away_is_given_up_in_time() -> None:
    agent = FakeAgent()
    with opened(agent) as (session, links):

        class Away(list[Exception]):
            def pop(self, _: object = None) -> Exception:
                links.clock.advance(7)
                return NotReadyError("refused")

        links.errors = Away([NotReadyError("")])
        links.made[0].cut()
        with pytest.raises(LinkError, match="no connection for 60 s: refused"):
            session.next_event(WAIT_S)
        assert links.clock.monotonic() == 63


def test_pauses_grow_up_to_the_longest() -> None:
    timing = Timing(pause_s=0.01, longest_pause_s=0.04, heartbeat_s=600)
    with opened(FakeAgent(), timing, errors=[NotReadyError("")] * 6) as (session, links):
        links.made[0].cut()
        began = in_thread(lambda: session.next_event(0.3))
        agent = links.agent
        session.submit(CellRequest("c1", ""))
        agent.wait_for(lambda: agent.ran)
        began.result(WAIT_S)
        assert session._link._pause_s == 0.04  # noqa: SLF001 - how long it would wait is nowhere to be seen


def test_events_before_the_end_are_still_handed_out() -> None:
    agent = FakeAgent(_talk)
    with opened(agent) as (session, links):
        session.submit(CellRequest("c1", ""))
        links.errors = [HostKeyError("other key", seen="")]
        agent.wait_for(lambda: agent.seq == 5)
        first = session.next_event(WAIT_S)
        links.made[0].cut()
        assert first is not None
        with pytest.raises(HostKeyError):
            collect(session, "never")


def test_close_wakes_who_waits_and_leaves_no_thread() -> None:
    links = Links(FakeAgent())
    session = links.session()
    session.open(WAIT_S)
    session.request("ping")
    waiting = in_thread(lambda: session.next_event(60))
    session.close()
    session.close()
    with pytest.raises(LinkError, match="closed"):
        waiting.result(WAIT_S)
    with pytest.raises(LinkError, match="closed"):
        session.submit(CellRequest("c1", ""))
    assert not _threads()


def test_closing_is_no_loss() -> None:
    with opened(FakeAgent()) as (session, links):
        session.close()
        assert links.said == []


def test_close_during_a_reconnection_leaves_no_thread() -> None:
    links = Links(FakeAgent())
    session = links.session(Timing(pause_s=30, longest_pause_s=30))
    session.open(WAIT_S)
    links.errors = [NotReadyError("")] * 5
    links.made[0].cut()
    session.close()
    assert not _threads()


def _wait_while_the_user_interrupts(session: Session) -> None:
    in_thread(lambda: os.kill(os.getpid(), signal.SIGINT))
    session.next_event(60)


def test_an_interrupt_ends_the_wait_and_loses_nothing() -> None:
    agent = FakeAgent(_talk)
    with opened(agent) as (session, _):
        with pytest.raises(KeyboardInterrupt):
            _wait_while_the_user_interrupts(session)
        session.submit(CellRequest("c1", ""))
        assert len(collect(session, "c1")) == 5


def test_nothing_within_the_timeout_is_none() -> None:
    with opened(FakeAgent()) as (session, _):
        assert session.next_event(0.0) is None


def test_a_cell_over_the_limit_is_refused_here() -> None:
    with opened(FakeAgent()) as (session, _), pytest.raises(UsageError, match="too large"):
        session.submit(CellRequest("c" * (1 << 20), ""))


def test_a_full_queue_stops_the_reader_until_events_are_taken() -> None:
    queue = EventQueue(limit=10)
    one = Event("c", "stream", {}, b"")
    queue.put(one, 11, 11)
    blocked = in_thread(lambda: queue.put(one, 1, 12))
    assert not blocked.done()
    assert queue.get(WAIT_S) is one
    blocked.result(WAIT_S)
    assert queue.offset == 11
    assert queue.get(WAIT_S) is one
    assert queue.offset == 12


def test_a_failure_frees_a_reader_that_is_stopped() -> None:
    queue = EventQueue(limit=0)
    one = Event("c", "stream", {}, b"")
    queue.put(one, 1, 1)
    blocked = in_thread(lambda: queue.put(one, 1, 2))
    queue.fail(LinkError("over"))
    blocked.result(WAIT_S)


def test_patience_is_given_in_seconds() -> None:
    assert FAST.give_up_s == 60
    assert Timing().heartbeat_s + Timing().silence_s <= 45
