"""Files to the instance: each is there entire before anything runs, and nothing is sent twice."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_kit import World, age, files, no_file_over, tree

from gpuplug.errors import AgentError, LinkError, MissingFileError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_files_arrive_with_content_place_and_executable_bit(world: World) -> None:
    big = os.urandom(2 * MIB + 17)
    world.ship(world.here("a.csv", b"1,2"), world.here("d/run", b"#!", executable=True), world.here("d/big", big))
    assert files(world.work) == {"a.csv": ("file", b"1,2"), "d/run": ("x", b"#!"), "d/big": ("file", big)}


def test_it_tells_how_much_was_sent_and_how_far_it_is(world: World) -> None:
    chosen = [world.here("a", b"x" * 100), world.here("b", os.urandom(3 * MIB)), world.here("c", b"x" * 100)]
    shipped = world.sync.ship(chosen, world.seen.append)
    assert (shipped.files, shipped.sent_files, shipped.sent_bytes) == (3, 2, 3 * MIB + 100)
    assert shipped.seconds > 0
    assert [each.done_bytes for each in world.seen] == sorted(each.done_bytes for each in world.seen)
    assert (world.seen[-1].done_bytes, world.seen[-1].total_bytes, world.seen[-1].files) == (3 * MIB + 100,) * 2 + (2,)
    assert world.seen[-1].rate_bytes_s > 0


def test_a_second_time_costs_one_request_and_no_byte(world: World) -> None:
    chosen = [world.here(f"d/{number}", os.urandom(50)) for number in range(30)]
    world.ship(*chosen)
    world.restart()
    shipped = world.sync.ship(chosen, world.seen.append)
    assert shipped.sent_bytes == 0
    assert dict(world.session.asked) == {"commit": 1}


def test_only_what_changed_is_sent(world: World) -> None:
    world.ship(world.here("a", b"a" * 1000), world.here("b", b"b" * 1000))
    world.session.put_bytes = 0
    world.ship(world.here("a", b"A" * 1000), world.here("b", b"b" * 1000))
    assert world.session.put_bytes == 1000


def test_what_the_instance_lost_is_sent_again(world: World) -> None:
    chosen = world.here("a", b"data")
    world.ship(chosen)
    (world.work / "a").write_bytes(b"DATA")
    world.ship(chosen)
    assert files(world.work)["a"] == ("file", b"data")


def test_many_small_files_share_requests(world: World) -> None:
    world.ship(*[world.here(f"{number}", os.urandom(1000)) for number in range(1500)])
    assert world.session.asked["put"] == 2


def test_no_file_means_no_request(world: World) -> None:
    world.ship()
    assert not world.session.asked


@pytest.mark.parametrize("cut", range(2, 9))
def test_after_a_cut_at_most_one_piece_of_a_file_is_sent_again(world: World, cut: int) -> None:
    content = os.urandom(5 * MIB + 100)
    chosen = [world.here("big", content), world.here("small", b"s")]
    world.session.cut_after = cut
    with pytest.raises(LinkError):
        world.ship(*chosen)
    first = world.session.put_bytes
    assert files(world.work) == {}
    world.restart()
    world.ship(*chosen)
    assert first + world.session.put_bytes <= len(content) + 1 + MIB
    assert files(world.work) == {"big": ("file", content), "small": ("file", b"s")}


def test_a_cut_of_the_answer_to_commit_does_no_harm(world: World) -> None:
    chosen = world.here("a", b"data")

    def cut(op: str, _header: dict[str, Any], answer: tuple[dict[str, Any], bytes]) -> tuple[dict[str, Any], bytes]:
        if op == "commit":
            msg = "the link is down"
            raise LinkError(msg)
        return answer

    world.session.twist = cut
    with pytest.raises(LinkError):
        world.ship(chosen)
    world.restart()
    world.ship(chosen)
    assert world.session.put_bytes == 0
    assert files(world.work) == {"a": ("file", b"data")}


@pytest.mark.parametrize("size", [200, 3 * MIB])
def test_a_file_that_changes_while_it_is_sent_arrives_as_it_is_in_the_end(world: World, size: int) -> None:
    chosen = world.here("log", b"1" * size)

    def edit(op: str, _header: dict[str, Any]) -> None:
        if op == "manifest" and world.session.asked["manifest"] == 0:
            chosen.source.write_bytes(b"2" * size)

    world.session.before = edit
    world.ship(chosen)
    assert files(world.work)["log"] == ("file", b"2" * size)


def test_a_file_of_long_ago_that_changes_after_it_was_read_arrives_as_it_is_in_the_end(world: World) -> None:
    chosen = world.here("log", b"1" * 200)
    age(chosen.source)

    def edit(op: str, _header: dict[str, Any]) -> None:
        if op == "manifest" and world.session.asked["manifest"] == 0:
            chosen.source.write_bytes(b"2" * 200)

    world.session.before = edit
    world.ship(chosen)
    assert files(world.work)["log"] == ("file", b"2" * 200)


@pytest.mark.parametrize("size", [200, 3 * MIB])
def test_a_file_that_never_rests_is_refused_before_anything_runs(world: World, size: int) -> None:
    chosen = world.here("log", b"0" * size)

    def edit(op: str, _header: dict[str, Any]) -> None:
        if op == "manifest":
            chosen.source.write_bytes(os.urandom(size))

    world.session.before = edit
    with pytest.raises(UsageError, match="log changed each of 4 times"):
        world.ship(chosen)
    assert files(world.work) == {}
    assert world.session.asked["commit"] == 0


def test_a_disk_that_flips_a_byte_once_is_got_over(world: World) -> None:
    world.session.before = flip_bytes(world, times=1)
    world.ship(world.here("a", b"precious data"))
    assert files(world.work)["a"] == ("file", b"precious data")


def test_a_disk_that_always_flips_bytes_stops_it_before_anything_runs(world: World) -> None:
    world.session.before = flip_bytes(world, times=99)
    with pytest.raises(AgentError, match="a arrived damaged 4 times"):
        world.ship(world.here("a", b"precious data"))
    assert files(world.work) == {}


def flip_bytes(world: World, times: int) -> Any:  # noqa: ANN401 - a hook
    left = [times]

    def flip(op: str, _header: dict[str, Any]) -> None:
        for staged in (world.top / "instance" / "state" / "partial").iterdir() if op == "commit" else ():
            if left[0]:
                left[0] -= 1
                content = bytearray(staged.read_bytes())
                content[0] ^= 1
                staged.write_bytes(content)

    return flip


def test_a_wrong_hash_in_the_cache_is_found_and_mended(world: World) -> None:
    chosen = world.here("a", b"right")
    age(chosen.source)
    world.ship(chosen)
    state = world.top / "state" / "sync.json"
    state.write_text(state.read_text().replace(sha256(b"right").hexdigest(), "0" * 64))
    (world.work / "a").unlink()
    world.restart()
    world.ship(chosen)
    assert files(world.work)["a"] == ("file", b"right")


def test_a_vanished_file_is_named(world: World) -> None:
    chosen = world.here("data.csv", b"1")
    chosen.source.unlink()
    with pytest.raises(MissingFileError, match=r"data\.csv is not there"):
        world.ship(chosen)
    assert not world.session.asked


def test_a_file_that_vanishes_between_hash_and_send_is_named(world: World) -> None:
    chosen = world.here("data.csv", b"1")
    world.session.before = lambda op, _header: chosen.source.unlink(missing_ok=op == "manifest")
    with pytest.raises(MissingFileError, match=r"data\.csv is not there"):
        world.ship(chosen)


def test_an_unreadable_file_is_named(world: World) -> None:
    chosen = world.here("secret", b"1")
    chosen.source.unlink()
    chosen.source.symlink_to("secret")
    with pytest.raises(UsageError, match="secret cannot be read: Too many levels"):
        world.ship(chosen)


def test_a_pipe_or_folder_is_refused_at_once(world: World) -> None:
    chosen = world.here("p", b"")
    chosen.source.unlink()
    os.mkfifo(chosen.source)
    with pytest.raises(UsageError, match="p is no regular file"):
        world.ship(chosen)
    chosen.source.unlink()
    chosen.source.mkdir()
    with pytest.raises(UsageError, match="p is no regular file"):
        world.ship(chosen)


def test_a_path_that_leads_out_is_refused_before_anything_is_sent(world: World) -> None:
    evil = world.here("a", b"")
    with pytest.raises(UsageError, match="is refused"):
        world.ship(type(evil)("../a", evil.source, 0, executable=False))
    assert not world.session.asked


def test_a_full_instance_is_said_with_what_to_do(world: World) -> None:
    chosen = world.here("big", os.urandom(3 * MIB))
    with no_file_over(2 * MIB), pytest.raises(AgentError, match="no room for") as caught:
        world.ship(chosen)
    assert "--disk" in caught.value.hint
    assert files(world.work) == {}


@pytest.mark.parametrize(
    "answer",
    [b"{}", b"no json", b"[7]", b"[[0]]", b"[[9, 0]]", b"[[0, 5]]", b"[[0, -1]]", b"[[true, 0]]", b'[["0", 0]]'],
)
def test_a_nonsense_answer_about_what_lacks_is_an_agent_error(world: World, answer: bytes) -> None:
    world.session.twist = lambda op, _header, honest: ({}, answer) if op == "manifest" else honest
    with pytest.raises(AgentError):
        world.ship(world.here("a", b"data"))


def test_what_the_agent_says_cannot_paint_the_screen(world: World) -> None:
    evil = {"ok": False, "error": "os", "message": "\x1b]0;owned\x07\u202e" + "x" * 9999}
    world.session.twist = lambda _op, _header, _honest: (evil, b"")
    with pytest.raises(AgentError) as caught:
        world.ship(world.here("a", b"data"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_what_is_remembered_is_private_and_survives_damage(world: World) -> None:
    chosen = world.here("a", b"data")
    age(chosen.source)
    world.ship(chosen)
    state = world.top / "state" / "sync.json"
    assert state.stat().st_mode & 0o777 == 0o600
    assert state.parent.stat().st_mode & 0o777 == 0o700
    for damage in (b"", b"[]", b'{"hashes": 1, "bases": []}', b'{"hashes": {"a": [1]}, "bases": {"a": 7}}'):
        state.write_bytes(damage)
        world.restart()
        world.ship(chosen)
    assert files(world.work)["a"] == ("file", b"data")


NAME = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..", "d") and len(name.encode()) < 200
)
PATHS = st.lists(NAME, min_size=1, max_size=4).map(lambda parts: "d/" * (len(parts) - 1) + parts[-1])
CONTENT = st.binary(max_size=300) | st.integers(MIB - 2, 2 * MIB + 2).map(lambda size: b"\x07" * size)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(PATHS, st.tuples(CONTENT, st.booleans()), max_size=8), min_size=1, max_size=3))
def test_any_tree_arrives_as_it_is_each_time(
    tmp_path_factory: pytest.TempPathFactory, trees: list[dict[str, tuple[bytes, bool]]]
) -> None:
    world = World(tmp_path_factory.mktemp("ship"))
    for wanted in trees:
        chosen = [world.here(path, content, executable=bit) for path, (content, bit) in wanted.items()]
        world.ship(*chosen)
        for path, (content, bit) in wanted.items():
            assert tree(world.work)[path] == ("x" if bit else "file", content)
        world.restart()
