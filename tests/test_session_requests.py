from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from session_kit import FAST, WAIT_S, FakeAgent, Links, collect, opened, wait_until

from gpuplug import agent as real_agent
from gpuplug.agent import wire
from gpuplug.errors import AgentError, LinkError, UsageError
from gpuplug.session import CellRequest, Session, Timing
from gpuplug.session.bulk import WINDOW
from gpuplug.session.handshake import NOISE_BYTES
from gpuplug.streams.memory import MemoryConnection
from gpuplug.testing import FakeClock
from gpuplug.testing.streams import in_thread, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.streams import ByteStream


def _requests(count: int) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    for number in range(count):
        yield "hash", {"number": number}, b"%d" % number


def _over(program: Callable[[str, ByteStream], None], timing: Timing = FAST) -> Session:
    return Session(
        lambda: MemoryConnection(program),
        "nb",
        clock=FakeClock(),
        on_link=lambda _: None,
        timing=timing,
    )


def _saying(data: bytes) -> Callable[[str, ByteStream], None]:
    def program(_: str, far: ByteStream) -> None:
        far.write(data)
        read_all(far)

    return program


def test_a_request_gets_its_answer_and_a_refusal_is_one() -> None:
    agent = FakeAgent(reply=lambda _, payload: ({"ok": False, "error": "gone"}, payload[::-1]))
    with opened(agent) as (session, _):
        reply = session.request("get", {"pieces": []}, b"abc")
    assert (reply.header["ok"], reply.header["error"], reply.payload) == (False, "gone", b"cba")
    assert agent.requests[0] == {"op": "get", "pieces": [], "id": 1}


def test_answers_come_in_order_with_a_bounded_number_under_way() -> None:
    under_way = []
    made = 0

    def counted() -> Iterator[tuple[str, dict[str, Any], bytes]]:
        nonlocal made
        for request in _requests(100):
            made += 1
            yield request

    with opened(FakeAgent()) as (session, _):
        for number, reply in enumerate(session.pipeline(counted(), WAIT_S)):
            assert reply.payload == b"%d" % number
            under_way.append(made - number)
    assert max(under_way) == WINDOW + 1 == 17


def test_a_pipeline_that_is_left_harms_no_later_request() -> None:
    with opened(FakeAgent()) as (session, _):
        with contextlib.closing(session.pipeline(_requests(40), WAIT_S)) as replies:
            next(replies)
        assert session.request("hash", {}, b"mine").payload == b"mine"


def test_requests_survive_a_cut_at_every_byte() -> None:
    for at in range(180, 480):
        with opened(FakeAgent(), budgets=[at]) as (session, _):
            replies = session.pipeline(_requests(4), WAIT_S)
            assert [reply.payload for reply in replies] == [b"%d" % n for n in range(4)], at


def test_threads_may_ask_at_the_same_time() -> None:
    with opened(FakeAgent()) as (session, _):
        asked = [
            in_thread(lambda n=n: session.request("hash", {}, b"%d" % n).payload)  # type: ignore[misc]
            for n in range(8)
        ]
        assert [future.result(WAIT_S) for future in asked] == [b"%d" % n for n in range(8)]


def test_a_request_that_is_never_answered_ends_in_time() -> None:
    def reply(header: wire.Header, payload: bytes) -> tuple[wire.Header, bytes] | None:
        return None if header["op"] == "hash" else ({"ok": True}, payload)

    with opened(FakeAgent(reply=reply)) as (session, _):
        with pytest.raises(LinkError, match="no answer to 'hash'"):
            session.request("hash", timeout=0.05)
        assert session.request("probe", {}, b"later").payload == b"later"


def test_a_request_over_the_limit_is_refused_here() -> None:
    with opened(FakeAgent()) as (session, _), pytest.raises(UsageError, match="too large"):
        session.request("put", {}, bytes(wire.MAX_PAYLOAD + 1))


def test_an_answer_to_nothing_is_an_error_and_not_an_answer() -> None:
    agent = FakeAgent(reply=lambda header, _: ({"ok": True, "id": header["id"] + 7}, b""))
    with opened(agent) as (session, _), pytest.raises(AgentError, match="never made"):
        session.request("hash")


def test_the_heartbeat_fills_health() -> None:
    agent = FakeAgent(reply=lambda header, _: ({"ok": True, "busy": 2, "op": header["op"]}, b""))
    timing = Timing(heartbeat_s=0.01)
    with opened(agent, timing) as (session, _):
        wait_until(lambda: session.health)
        assert session.health["busy"] == 2
        assert {header["op"] for header in agent.requests} == {"ping"}


def test_each_answer_to_a_heartbeat_is_handed_on() -> None:
    agent = FakeAgent(reply=lambda header, _: ({"ok": True, "busy": 2, "op": header["op"]}, b""))
    seen: list[int] = []
    with opened(agent, Timing(heartbeat_s=0.01)) as (session, _):
        session.on_beat = lambda health: seen.append(health["busy"])
        wait_until(lambda: len(seen) > 1)
    assert set(seen) == {2}


def test_a_link_on_which_nothing_moves_is_given_up_and_made_anew() -> None:
    agent = FakeAgent()
    links = Links(agent)

    def never(_: wire.Header, __: bytes) -> None:
        links.clock.advance(20)

    agent.reply = never
    session = links.session(Timing(heartbeat_s=0.01, silence_s=0.02, pause_s=0.001))
    session.open(WAIT_S)
    wait_until(lambda: len(links.said) >= 2)
    assert links.said[:2] == ["connection lost, reconnecting", "connected again"]
    session.submit(CellRequest("c1", ""))
    collect(session, "c1")
    session.close()


def test_a_busy_link_that_answers_late_is_kept() -> None:
    with opened(FakeAgent(reply=lambda _, __: None), Timing(heartbeat_s=0.01, silence_s=0.02)) as (session, links):
        wait_until(lambda: len(links.agent.requests) >= 3)
        assert len(links.made) == 1
        assert session.alive


def test_an_interrupt_that_may_be_lost_is_sent_again() -> None:
    agent = FakeAgent(lambda agent, cell, _: agent.append(cell, "started", count=1))
    with opened(agent) as (session, links):
        session.submit(CellRequest("c1", ""))
        session.interrupt("c1")
        agent.wait_for(lambda: agent.ops() == ["run", "interrupt"])
        links.made[0].cut()
        agent.wait_for(lambda: len(agent.got) == 4)
        assert agent.ops()[2:] == ["run", "interrupt"]


def test_an_interrupt_that_arrived_is_not_sent_again() -> None:
    agent = FakeAgent(lambda agent, cell, _: agent.append(cell, "started", count=1))
    with opened(agent, Timing(heartbeat_s=0.01, pause_s=0.001)) as (session, links):
        session.submit(CellRequest("c1", ""))
        session.interrupt("c1")
        agent.wait_for(lambda: agent.ops() == ["run", "interrupt"])
        links.clock.advance(1)
        before = len(agent.requests)
        wait_until(lambda: len(agent.requests) >= before + 3)
        links.made[0].cut()
        agent.wait_for(lambda: len(agent.got) == 3)
        session.interrupt("c2")
        agent.wait_for(lambda: len(agent.got) == 4)
        assert [(header["op"], header["cell"]) for header in agent.got[2:]] == [
            ("run", "c1"),
            ("interrupt", "c2"),
        ]


def test_an_answer_names_its_question_and_is_sent_again_until_it_arrived() -> None:
    agent = FakeAgent(lambda agent, cell, _: agent.append(cell, "input_request", prompt="?"))
    with opened(agent) as (session, links):
        session.submit(CellRequest("c1", ""))
        assert session.next_event(WAIT_S) is not None
        session.answer("c1", "yes")
        agent.wait_for(lambda: len(agent.got) == 2)
        links.made[0].cut()
        agent.wait_for(lambda: len(agent.got) == 4)
        assert agent.got[3] == {"op": "input", "cell": "c1", "text": "yes", "seq": 1}


def test_the_end_of_input_can_be_an_answer() -> None:
    agent = FakeAgent(lambda agent, cell, _: agent.append(cell, "input_request", prompt="?"))
    with opened(agent) as (session, _):
        session.submit(CellRequest("c1", ""))
        session.next_event(WAIT_S)
        session.answer("c1", None)
        agent.wait_for(lambda: len(agent.got) == 2)
        assert agent.got[1] == {"op": "input", "cell": "c1", "eof": True, "seq": 1}


def test_ack_names_what_was_taken() -> None:
    agent = FakeAgent()
    with opened(agent) as (session, _):
        session.submit(CellRequest("c1", ""))
        collect(session, "c1")
        session.ack()
        agent.wait_for(lambda: len(agent.got) == 2)
        assert agent.got[1] == {"op": "ack", "offset": len(agent.journal)}


def test_noise_of_shell_profiles_is_skipped() -> None:
    noise = b"Welcome!\nGPUPLUG 2 have\n" + b"x" * (NOISE_BYTES - 1000) + b"no newline "
    with opened(FakeAgent(greeting=noise + b"GPUPLUG 1 have\n")) as (session, _):
        assert session.request("ping").header["ok"]


def test_a_lacking_bundle_is_sent_whole() -> None:
    agent = FakeAgent(greeting=b"GPUPLUG 1 need\n")
    with opened(agent) as (session, _):
        session.submit(CellRequest("c1", ""))
        collect(session, "c1")
    assert agent.bundles[0] == real_agent.bundle()


def test_the_loader_is_asked_for_the_digest_of_the_bundle() -> None:
    commands = []

    def program(command: str, far: ByteStream) -> None:
        commands.append(command)
        FakeAgent().serve(command, far)

    session = _over(program)
    session.open(WAIT_S)
    session.close()
    assert hashlib.sha256(real_agent.bundle()).hexdigest() in commands[0]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"GPUPLUG 1 error no Python 3.8\x1b[2J\n", r"no Python 3\.8\\x1b\[2J$"),
        (b"y" * (NOISE_BYTES + 1), "no agent answered"),
        (b"GPUPLUG 1 have\n" + b"\xff" * 64, "over the limit"),
        (b"GPUPLUG 1 have\n" + bytes([0, 0, 0, 2, 0, 0, 0, 0]) + b"no", "no JSON"),
        (b"GPUPLUG 1 have\n" + wire.pack({"op": "hello"}), "did not say welcome"),
        (b"GPUPLUG 1 have\n" + wire.pack({"op": "welcome", "offset": "x"}), "did not say welcome"),
        (b"GPUPLUG 1 have\n" + wire.pack({"op": "refused", "message": "bad id"}), "refused: bad id"),
        (b"GPUPLUG 1 have\nGPUPLUG 1 error wrong digest\n", "wrong digest"),
        (b"GPUPLUG 1 have\nGPUPLUG 1 need\n", "asked twice"),
    ],
)
def test_what_is_no_agent_is_told_apart(said: bytes, error: str) -> None:
    with pytest.raises(AgentError, match=error):
        _over(_saying(said)).open(WAIT_S)


def test_a_stream_that_ends_before_the_agent_answers_is_a_lost_link() -> None:
    with pytest.raises(LinkError, match="ended"):
        _over(lambda _, far: far.write(b"bye\n")).open(WAIT_S)


def test_an_agent_that_says_nothing_is_given_up_in_time() -> None:
    with pytest.raises(LinkError, match="did not answer within"):
        _over(_saying(b"GPUPLUG 1 have\n"), Timing(handshake_s=0.05)).open(WAIT_S)


def test_open_ends_in_time() -> None:
    with pytest.raises(LinkError, match="no agent within"):
        _over(_saying(b"GPUPLUG 1 have\n")).open(0.05)


@pytest.mark.parametrize(
    "bad",
    [
        wire.pack({"seq": 2, "cell": "c", "kind": "stream"}),
        wire.pack({"seq": 1, "cell": "c"}),
        wire.pack({"seq": "1", "cell": "c", "kind": "stream"}),
        wire.pack({"seq": 1, "cell": "c", "kind": "stream"}) * 2,
        b"\xff" * 16,
    ],
)
def test_a_journal_that_makes_no_sense_ends_the_session(bad: bytes) -> None:
    agent = FakeAgent()
    agent.journal += bad
    with opened(agent) as (session, _), pytest.raises(AgentError):
        collect(session, "never")
