"""Instances that lie about what they send: an error that says so, and no file."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from sync_kit import Answered, World, files, tree

from gpuplug.errors import AgentError
from gpuplug.sync.link import exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

MIB = 1 << 20
Answer = tuple[dict[str, Any], bytes]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def short(honest: Answer) -> Answer:
    return {"lengths": [max(0, length - 1) for length in honest[0]["lengths"]]}, honest[1][: -len(honest[0]["lengths"])]


def other_bytes(honest: Answer) -> Answer:
    return honest[0], bytes(len(honest[1]))


LIES: dict[str, Callable[[Answer], Answer]] = {
    "one byte too few": short,
    "one byte too many": lambda honest: (honest[0], honest[1] + b"!"),
    "too many, announced": lambda honest: ({"lengths": [honest[0]["lengths"][0] + 1]}, honest[1] + b"!"),
    "endless": lambda honest: (honest[0], honest[1] + bytes(60 * MIB)),
    "endless, announced": lambda honest: ({"lengths": [60 * MIB]}, honest[1] + bytes(60 * MIB)),
    "other bytes": other_bytes,
    "nothing": lambda _honest: ({"lengths": [0]}, b""),
    "no lengths": lambda honest: ({}, honest[1]),
    "lengths of another kind": lambda honest: ({"lengths": "8"}, honest[1]),
    "a negative length": lambda honest: ({"lengths": [-1]}, honest[1]),
    "a length that is no number": lambda honest: ({"lengths": [True]}, honest[1]),
    "too many lengths": lambda honest: ({"lengths": [*honest[0]["lengths"], 0]}, honest[1]),
}


@pytest.mark.parametrize("size", [8, 3 * MIB])
@pytest.mark.parametrize("lie", LIES)
def test_a_host_that_sends_something_else_than_announced_is_an_error_and_leaves_no_file(
    world: World, lie: str, size: int
) -> None:
    made = world.there("a", os.urandom(size))
    world.session.twist = lambda op, header, honest: (
        LIES[lie](honest) if op == "get" and header["pieces"] != [["a", size, 1]] else honest
    )
    with pytest.raises(AgentError):
        world.bring(made)
    assert tree(world.root) == {}
    assert {path.name for path in world.top.iterdir()} == {"home", "instance"}


@pytest.mark.parametrize(
    "hashes", [b"", b"{}", b"[]", b"[null, null]", b"[7]", b'["x"]', json.dumps(["A" * 64]).encode(), b'[["a"]]']
)
def test_hashes_that_are_none_are_an_error(world: World, hashes: bytes) -> None:
    made = world.there("a", b"x")
    world.session.twist = lambda op, _header, honest: ({}, hashes) if op == "hash" else honest
    with pytest.raises(AgentError):
        world.bring(made)
    assert tree(world.root) == {}


def test_a_wrong_hash_never_lets_a_file_through(world: World) -> None:
    made = world.there("a", b"x")
    lie = json.dumps([sha256(b"y").hexdigest()]).encode()
    world.session.twist = lambda op, _header, honest: ({}, lie) if op == "hash" else honest
    with pytest.raises(AgentError, match="the instance sent other bytes of a than it announced"):
        world.bring(made)
    assert tree(world.root) == {}


def test_a_larger_size_than_there_is_is_an_error(world: World) -> None:
    made = world.there("a", b"x")
    with pytest.raises(AgentError):
        world.bring(type(made)("a", 9, 0, executable=False))
    assert tree(world.root) == {}


def test_what_came_before_the_lie_stays_home(world: World) -> None:
    made = [world.there("out/good", b"x" * 2 * MIB), world.there("bad", os.urandom(2 * MIB))]
    world.session.twist = lambda op, header, honest: (
        other_bytes(honest) if op == "get" and header["pieces"][0][0] == "bad" else honest
    )
    with pytest.raises(AgentError):
        world.bring(*made)
    assert files(world.root) == {"out/good": ("file", b"x" * 2 * MIB)}


def test_a_refusal_of_one_request_ends_it_with_the_agents_words(world: World) -> None:
    made = world.there("a", b"x")
    world.session.twist = lambda op, _header, honest: (
        ({"ok": False, "error": "os", "message": "the disk is on fire"}, b"") if op == "get" else honest
    )
    with pytest.raises(AgentError, match="the disk is on fire"):
        world.bring(made)


class Counting:
    """Answers each request with what `replies` says for it."""

    def __init__(self, replies: int) -> None:
        self.replies = replies
        self.sent = 0

    def request(self, op: str, header: dict[str, Any], payload: bytes, timeout: float) -> Answered:
        raise NotImplementedError

    def pipeline(self, requests: Iterable[tuple[str, dict[str, Any], bytes]], timeout: float) -> Iterator[Answered]:
        del timeout
        self.sent = sum(1 for _ in requests)
        yield from [Answered({"ok": True}, b"")] * self.replies


@pytest.mark.parametrize(("replies", "message"), [(2, "left 1 requests unanswered"), (4, "answered more than")])
def test_another_number_of_answers_than_requests_is_an_error(replies: int, message: str) -> None:
    with pytest.raises(AgentError, match=message):
        exchange(Counting(replies), ((("get", {}, b""), number) for number in range(3)), lambda _about, _reply: None)


def test_after_a_failure_the_other_answers_are_dropped() -> None:
    taken = []

    def take(about: int, _reply: object) -> None:
        taken.append(about)
        raise AgentError(f"answer {about}")

    with pytest.raises(AgentError, match="answer 0"):
        exchange(Counting(3), ((("get", {}, b""), number) for number in range(3)), take)
    assert taken == [0]


def test_after_a_failure_no_more_is_sent_and_every_answer_is_read(world: World) -> None:
    made = [world.there(f"{number}", os.urandom(2 * MIB)) for number in range(10)]
    read: list[int] = []

    def twist(op: str, _header: dict[str, Any], honest: Answer) -> Answer:
        if op == "get":
            read.append(1)
            return {}, b""
        return honest

    world.session.twist = twist
    with pytest.raises(AgentError):
        world.bring(*made)
    assert len(read) <= 4, "only what was under way"
