"""Results home: old or new entire, nothing of the user's overwritten, nothing written that was not announced."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_kit import World, age, files, no_file_over, remote_changes, tree, write

from gpuplug.agent.files import snapshot
from gpuplug.errors import AgentError, GpuplugError, LinkError
from gpuplug.sync import HomeRules, RemoteFile, remote_files

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_new_files_come_home_entire(world: World) -> None:
    big = os.urandom(2 * MIB + 17)
    made = [world.there("out/model.pt", big), world.there("loss.csv", b"0.5"), world.there("plots/empty.png", b"")]
    assert world.bring(*made) == ({"out/model.pt": "", "loss.csv": "", "plots/empty.png": ""}, {}, {})
    assert files(world.root) == {
        "out/model.pt": ("file", big),
        "loss.csv": ("file", b"0.5"),
        "plots/empty.png": ("file", b""),
    }


def test_the_mode_honours_the_users_mask(world: World) -> None:
    before = os.umask(0o027)
    try:
        world.bring(world.there("out/tool", b"x", executable=True), world.there("a.csv", b"x"))
    finally:
        os.umask(before)
    assert (world.root / "out" / "tool").stat().st_mode & 0o777 == 0o750
    assert (world.root / "a.csv").stat().st_mode & 0o777 == 0o640


def test_an_equal_file_is_not_fetched(world: World) -> None:
    world.here("a.csv", b"same")
    assert world.bring(world.there("a.csv", b"same")) == ({}, {}, {})
    assert world.session.asked["get"] == 0


def test_a_file_that_only_the_cell_changed_is_replaced(world: World) -> None:
    world.ship(world.here("data.csv", b"old"))
    assert world.bring(world.there("data.csv", b"new"))[0] == {"data.csv": ""}
    assert world.bring(world.there("data.csv", b"newer"))[0] == {"data.csv": ""}
    assert files(world.root) == {"data.csv": ("file", b"newer")}


def test_a_replaced_file_comes_with_a_new_inode_so_that_open_readers_keep_the_old(world: World) -> None:
    world.ship(world.here("data.csv", b"old"))
    with (world.root / "data.csv").open("rb") as reader:
        world.bring(world.there("data.csv", b"new"))
        assert reader.read() == b"old"


def test_what_the_user_changed_since_shipping_is_kept(world: World) -> None:
    world.ship(world.here("data.csv", b"old"))
    world.here("data.csv", b"mine")
    brought, _, _ = world.bring(world.there("data.csv", b"theirs"))
    assert brought == {"data.csv.remote": "yours was changed since it was shipped and is kept"}
    assert files(world.root) == {"data.csv": ("file", b"mine"), "data.csv.remote": ("file", b"theirs")}


def test_a_file_that_was_never_shipped_is_kept(world: World) -> None:
    world.here("data.csv", b"mine")
    brought, _, _ = world.bring(world.there("data.csv", b"theirs"))
    assert brought == {"data.csv.remote": "your own file of that name was never shipped and is kept"}
    assert files(world.root)["data.csv"] == ("file", b"mine")


def test_an_edit_within_one_tick_of_the_clock_is_kept(world: World) -> None:
    shipped = world.here("data.csv", b"old")
    age(shipped.source, -100)
    world.ship(shipped)
    stamp = shipped.source.stat().st_mtime_ns
    shipped.source.write_bytes(b"own")
    os.utime(shipped.source, ns=(stamp, stamp))
    world.bring(world.there("data.csv", b"new"))
    assert files(world.root)["data.csv"] == ("file", b"own")


def test_the_name_beside_is_numbered_when_it_is_the_users_own(world: World) -> None:
    world.here("a.csv", b"mine")
    world.here("a.csv.remote", b"mine too")
    assert list(world.bring(world.there("a.csv", b"one"))[0]) == ["a.csv.remote.2"]
    assert list(world.bring(world.there("a.csv", b"two"))[0]) == ["a.csv.remote.2"], "ours may be replaced"
    world.here("a.csv.remote.2", b"mine now")
    assert list(world.bring(world.there("a.csv", b"three"))[0]) == ["a.csv.remote.3"]
    assert world.bring(world.there("a.csv", b"three"))[0] == {}
    assert files(world.root)["a.csv.remote"] == ("file", b"mine too")


def test_two_remote_files_never_share_one_local_name(world: World) -> None:
    made = [world.there("a.py", b"code"), world.there("a.py.remote", b"data"), world.there("b.csv", b"1")]
    world.bring(*made)
    world.here("b.csv", b"mine")
    world.bring(world.there("a.py", b"code 2"), world.there("a.py.remote", b"data 2"))
    contents = sorted(content for kind, content in files(world.root).values() if kind == "file")
    assert contents == sorted([b"code 2", b"data 2", b"mine"])


def test_what_the_user_writes_while_it_comes_is_kept(world: World) -> None:
    world.ship(world.here("log", b"old"))
    made = [world.there("log", b"theirs"), world.there("new", b"theirs")]

    def edit(op: str, _header: dict[str, Any]) -> None:
        if op == "get":
            world.here("log", b"mine")
            world.here("new", b"mine")

    world.session.before = edit
    assert set(world.bring(*made)[0]) == {"log.remote", "new.remote"}
    assert files(world.root)["log"] == ("file", b"mine")
    assert files(world.root)["new"] == ("file", b"mine")


def test_over_the_guard_stays_on_the_instance_and_out_folders_come_first(world: World) -> None:
    made = [world.there("huge.bin", b"h" * 900), world.there("out/a", b"a" * 500), world.there("b", b"b" * 400)]
    brought, kept, _ = world.bring(*made, guard=1000)
    assert set(brought) == {"out/a", "b"}
    assert kept == {"huge.bin": "over the size guard of 1000 bytes"}


def test_a_file_that_is_gone_again_is_listed(world: World) -> None:
    made = world.there("tmp", b"x")
    (world.work / "tmp").unlink()
    assert world.bring(made) == ({}, {"tmp": "it is gone or no regular file any more"}, {})


def test_a_linked_folder_of_the_users_is_not_followed(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (world.root / "out").symlink_to(outside)
    brought, _, refused = world.bring(world.there("out/a", b"x"), world.there("out/deep/b", b"x"))
    assert brought == {}
    assert set(refused) == {"out/a", "out/deep/b"}
    assert list(outside.iterdir()) == []


def test_a_link_or_folder_of_that_name_stays_and_the_file_lands_beside(world: World, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", b"untouched")
    (world.root / "a").symlink_to(outside)
    (world.root / "b").mkdir()
    assert set(world.bring(world.there("a", b"x"), world.there("b", b"x"))[0]) == {"a.remote", "b.remote"}
    assert outside.read_bytes() == b"untouched"
    assert (world.root / "a").is_symlink()


def test_a_file_where_a_folder_is_needed_is_refused(world: World) -> None:
    world.here("data", b"mine")
    brought, _, refused = world.bring(world.there("data/a", b"x"), world.there("b", b"x"))
    assert set(brought) == {"b"}
    assert set(refused) == {"data/a"}


def test_a_folder_that_turns_into_a_link_while_it_comes_is_not_followed(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    made = world.there("d/a", b"x")
    world.session.before = lambda op, _header: (world.root / "d").symlink_to(outside) if op == "get" else None
    assert set(world.bring(made)[2]) == {"d/a"}
    assert list(outside.iterdir()) == []


def test_a_cut_leaves_no_part_and_the_next_time_brings_the_rest(world: World) -> None:
    made = [world.there("a", b"x" * MIB), world.there("big", os.urandom(4 * MIB)), world.there("z", b"z" * MIB)]
    world.session.cut_after = 5
    with pytest.raises(LinkError):
        world.bring(*made)
    assert all(not path.startswith(".") for path in files(world.root))
    assert "big" not in files(world.root)
    world.restart()
    world.bring(*made)
    assert files(world.root) == files(world.work)
    assert world.session.got_bytes < 5 * MIB + 10_000, "what was home is not fetched again"


def test_an_interrupt_leaves_no_part(world: World) -> None:
    made = world.there("big", os.urandom(4 * MIB))

    def press(_op: str, header: dict[str, Any]) -> None:
        if header.get("pieces", [["", 0]])[0][1] == 3 * MIB:
            raise KeyboardInterrupt

    world.session.before = press
    with pytest.raises(KeyboardInterrupt):
        world.bring(made)
    assert tree(world.root) == {}


def test_a_full_disk_is_said_and_the_old_file_stays(world: World) -> None:
    world.ship(world.here("model", b"old"))
    made = [world.there("model", os.urandom(3 * MIB)), world.there("small", b"x")]
    with no_file_over(2 * MIB), pytest.raises(GpuplugError, match="the disk of this computer is full: no room for the"):
        world.bring(*made)
    assert files(world.root)["model"] == ("file", b"old")
    assert set(tree(world.root)) <= {"model", "small"}


def test_a_file_that_is_written_to_while_it_comes_is_fetched_again(world: World) -> None:
    made = world.there("log", b"1" * 3 * MIB)
    times = [2]

    def append(op: str, header: dict[str, Any]) -> None:
        if op == "get" and header["pieces"][0][1] == MIB and times[0]:
            times[0] -= 1
            (world.work / "log").write_bytes(b"BA"[times[0] : times[0] + 1] * 3 * MIB)

    world.session.before = append
    assert set(world.bring(made)[0]) == {"log"}
    assert files(world.root)["log"] == ("file", b"B" * 3 * MIB)


def test_a_file_that_never_rests_or_has_grown_is_kept(world: World) -> None:
    made = [world.there("log", b"1" * 3 * MIB), world.there("grown", b"1")]
    (world.work / "grown").write_bytes(b"12")

    def rewrite(op: str, header: dict[str, Any]) -> None:
        if op == "get" and header["pieces"][0][1] == MIB:
            (world.work / "log").write_bytes(os.urandom(1) * 3 * MIB)

    world.session.before = rewrite
    brought, kept, _ = world.bring(*made)
    assert brought == {}
    assert kept == {"log": "it kept changing", "grown": "it kept changing"}
    assert tree(world.root) == {}


def test_it_tells_how_far_it_is(world: World) -> None:
    world.bring(world.there("a", b"x" * 10), world.there("b", b"x" * 3 * MIB))
    last = world.seen[-1]
    assert (last.done_bytes, last.total_bytes, last.files) == (3 * MIB + 10, 3 * MIB + 10, 2)


def test_results_of_one_cell_are_input_of_the_next_without_being_sent(world: World) -> None:
    world.bring(world.there("out/model.pt", b"weights"))
    source = world.root / "out" / "model.pt"
    age(source)
    again = type(world.here("other", b""))("out/model.pt", source, 7, executable=False)
    world.ship(again)
    assert world.session.put_bytes == 0


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[1]", b'[["a", 1, 2]]', b'[["a", -1, 2, true]]', b"[[1, 1, 2, true]]", b'[["a", 1.5, 2, true]]'],
)
def test_a_files_event_that_makes_no_sense_is_an_agent_error(payload: bytes) -> None:
    with pytest.raises(AgentError):
        remote_files(payload)


def test_a_files_event_is_read() -> None:
    assert remote_files(b'[["a", 1, 2, true]]') == (RemoteFile("a", 1, 2, executable=True),)


NAME = st.text("abcABCé日 -_.~1", min_size=1, max_size=6)
TREE = st.dictionaries(
    st.lists(NAME, min_size=1, max_size=3).map("/".join),
    st.binary(max_size=200) | st.integers(MIB - 1, 2 * MIB + 1).map(lambda size: b"\x01" * size),
    max_size=6,
)


def plant(folder: Path, wanted: dict[str, bytes]) -> None:
    """Write what the file system takes; a name may be a file in one path and a folder in another."""
    for path, content in wanted.items():
        try:
            write(folder / path, content)
        except OSError:
            continue


@settings(max_examples=60, deadline=None)
@given(TREE, TREE, TREE)
def test_whatever_both_sides_did_the_users_bytes_stay_and_the_remote_ones_arrive(
    tmp_path_factory: pytest.TempPathFactory, common: dict[str, bytes], mine: dict[str, bytes], theirs: dict[str, bytes]
) -> None:
    world = World(tmp_path_factory.mktemp("home"))
    plant(world.root, common)
    world.ship(*[world.here(path, content) for path, (_, content) in files(world.root).items() if ".." not in path])
    shipped = files(world.root)
    before = snapshot(str(world.work))
    plant(world.root, mine)
    plant(world.work, theirs)
    mine_now = {path: entry for path, entry in files(world.root).items() if shipped.get(path) != entry}
    made = remote_changes(world.work, before)
    brought, kept, refused = world.bring(*made)
    now = files(world.root)
    assert {path: now[path] for path in mine_now} == mine_now
    assert not kept
    for remote in made:
        if remote.path not in refused:
            content = (world.work / remote.path).read_bytes()
            names = [remote.path, *(path for path in now if path.startswith(remote.path + ".remote"))]
            assert any(now.get(name, ("", b""))[1] == content for name in names)
    assert set(now) == set(shipped) | set(mine_now) | set(brought)


def test_rules_may_name_other_out_folders(world: World) -> None:
    home = world.sync.bring_home([world.there("run/a.py", b"x")], HomeRules(out=("run/",)), world.seen.append)
    assert [each.path for each in home.brought] == ["run/a.py"]
