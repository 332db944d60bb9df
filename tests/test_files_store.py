"""The agent's file store: what it lacks, what it takes, what it puts in place."""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from hashlib import sha256
from pathlib import Path

import pytest
from sync_kit import age, files, no_file_over, tree, write

from gpuplug.agent.files import FileError, FileStore

MIB = 1 << 20


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def listing(wanted: dict[str, bytes], *, executable: bool = False) -> bytes:
    return json.dumps([[path, len(data), executable, digest(data)] for path, data in wanted.items()]).encode()


class Agent:
    def __init__(self, top: Path) -> None:
        self.work, self.state = top / "work", top / "state"
        self.restart()

    def restart(self) -> None:
        self.store = FileStore(str(self.work), str(self.state))

    def lacking(self, wanted: dict[str, bytes]) -> list[list[int]]:
        rows: list[list[int]] = json.loads(self.store.handle("manifest", {}, listing(wanted))[1])
        return rows

    def put(self, content: bytes, *, offset: int = 0, end: int | None = None) -> None:
        piece = content[offset:end]
        self.store.handle("put", {"pieces": [[digest(content), len(content), offset, len(piece)]]}, piece)

    def commit(self, wanted: dict[str, bytes], *, executable: bool = False) -> None:
        self.store.handle("commit", {}, listing(wanted, executable=executable))

    def ship(self, wanted: dict[str, bytes]) -> int:
        """Send what lacks; return how many contents that were."""
        lacking = self.lacking(wanted)
        for index, there in lacking:
            self.put(list(wanted.values())[index], offset=there)
        self.commit(wanted)
        return len(lacking)

    def hashes(self, *paths: str) -> list[str | None]:
        answer: list[str | None] = json.loads(self.store.handle("hash", {}, json.dumps(paths).encode())[1])
        return answer


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def refused(agent: Agent, op: str, header: dict[str, object], payload: bytes = b"") -> str:
    with pytest.raises(FileError) as caught:
        agent.store.handle(op, header, payload)
    return caught.value.code


def test_what_is_committed_lies_there_with_its_content(agent: Agent) -> None:
    wanted = {"a.txt": b"one", "data/deep/b.bin": bytes(range(256)), "empty": b""}
    assert agent.ship(wanted) == 3
    assert {path: data for path, (_, data) in files(agent.work).items()} == wanted
    assert agent.lacking(wanted) == []


def test_a_deflated_request_is_the_same_as_a_plain_one(agent: Agent) -> None:
    content = b"again and " * 1000
    pieces = [[digest(content), len(content), 0, len(content)], [digest(b"x"), 1, 0, 1]]
    agent.store.handle("put", {"pieces": pieces, "deflated": True}, zlib.compress(content + b"x"))
    agent.commit({"a": content, "b": b"x"})
    assert files(agent.work) == {"a": ("file", content), "b": ("file", b"x")}


def test_nothing_appears_in_the_working_folder_before_commit(agent: Agent) -> None:
    agent.lacking({"a": b"one"})
    agent.put(b"one")
    assert tree(agent.work) == {}


def test_the_executable_bit_follows_the_manifest_both_ways(agent: Agent) -> None:
    agent.ship({"run": b"#!/bin/sh"})
    agent.commit({"run": b"#!/bin/sh"}, executable=True)
    assert files(agent.work)["run"][0] == "x"
    agent.commit({"run": b"#!/bin/sh"})
    assert files(agent.work)["run"][0] == "file"


def test_a_content_that_lies_under_another_path_is_not_asked_for(agent: Agent) -> None:
    agent.ship({"a": b"same"})
    assert agent.lacking({"a": b"same", "copy/b": b"same"}) == []
    agent.commit({"a": b"same", "copy/b": b"same"})
    assert files(agent.work) == {"a": ("file", b"same"), "copy/b": ("file", b"same")}


def test_two_paths_may_swap_their_contents_without_sending_any(agent: Agent) -> None:
    agent.ship({"a": b"first", "b": b"second"})
    assert agent.ship({"a": b"second", "b": b"first"}) == 0
    assert files(agent.work) == {"a": ("file", b"second"), "b": ("file", b"first")}


def test_one_content_for_many_paths_is_asked_for_once(agent: Agent) -> None:
    wanted = {f"p{number}": b"shared" for number in range(5)}
    assert agent.ship(wanted) == 1
    assert len(files(agent.work)) == 5


def test_a_large_content_goes_on_where_it_ended_even_in_a_new_process(agent: Agent) -> None:
    content = os.urandom(3 * MIB + 5)
    agent.lacking({"big": content})
    agent.put(content, end=MIB)
    agent.put(content, offset=MIB, end=2 * MIB)
    agent.restart()
    assert agent.lacking({"big": content}) == [[0, 2 * MIB]]
    for offset in (2 * MIB, 3 * MIB):
        agent.put(content, offset=offset, end=offset + MIB)
    agent.commit({"big": content})
    assert (agent.work / "big").read_bytes() == content


def test_a_piece_that_came_before_is_skipped_and_one_too_far_is_refused(agent: Agent) -> None:
    content = os.urandom(MIB + 10)
    agent.put(content, end=MIB)
    agent.put(content, end=MIB)
    with pytest.raises(FileError, match="begins at 1048580") as caught:
        agent.put(content, offset=MIB + 4)
    assert caught.value.code == "gap"
    agent.put(content, offset=MIB - 5)
    agent.commit({"big": content})
    assert (agent.work / "big").read_bytes() == content


def test_wrong_bytes_are_refused_and_forgotten(agent: Agent) -> None:
    header: dict[str, object] = {"pieces": [[digest(b"right"), 5, 0, 5]]}
    assert refused(agent, "put", header, b"wrong") == "mismatch"
    assert agent.lacking({"a": b"right"}) == [[0, 0]]
    assert refused(agent, "commit", {}, listing({"a": b"right"})) == "mismatch"
    assert tree(agent.work) == {}


def test_a_byte_that_the_disk_flips_after_it_arrived_is_found_at_commit(agent: Agent) -> None:
    agent.put(b"precious")
    (agent.state / "partial" / digest(b"precious")).write_bytes(b"PRecious")
    assert refused(agent, "commit", {}, listing({"a": b"precious"})) == "mismatch"
    assert agent.lacking({"a": b"precious"}) == [[0, 0]]


def test_commit_names_the_paths_that_lack_and_changes_none(agent: Agent) -> None:
    agent.ship({"a": b"old"})
    agent.put(b"new")
    with pytest.raises(FileError) as caught:
        agent.commit({"a": b"new", "b": b"never sent"})
    assert (caught.value.code, caught.value.extra) == ("mismatch", {"paths": ["b"]})
    assert files(agent.work) == {"a": ("file", b"old")}


def test_a_file_that_a_cell_wrote_to_at_once_is_noticed(agent: Agent) -> None:
    agent.ship({"a": b"shipped"})
    with (agent.work / "a").open("r+b") as file:
        file.write(b"SHIPPED")
    assert agent.lacking({"a": b"shipped"}) == [[0, 0]]
    assert agent.hashes("a") == [digest(b"SHIPPED")]


def test_a_file_too_young_for_its_stamp_is_hashed_each_time(agent: Agent) -> None:
    path = write(agent.work / "a", b"one")
    age(path, -100)
    stamp = path.stat().st_mtime_ns
    assert agent.hashes("a") == [digest(b"one")]
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp, stamp))
    assert agent.hashes("a") == [digest(b"two")]


def test_a_warm_check_reads_no_content(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {f"d/{number}": b"%d" % number for number in range(20)}
    agent.ship(wanted)
    agent.restart()

    def no_reading(*_: object) -> bytes:
        pytest.fail("a content was read")

    monkeypatch.setattr(os, "pread", no_reading)
    assert agent.lacking(wanted) == []
    agent.commit(wanted)


def test_hash_tells_contents_and_null_for_all_else(agent: Agent) -> None:
    agent.ship({"a": b"one", "d/b": b"two"})
    (agent.work / "link").symlink_to("a")
    os.mkfifo(agent.work / "pipe")
    found = agent.hashes("a", "d/b", "d", "gone", "gone/x", "link", "pipe", "a/x")
    assert found == [digest(b"one"), digest(b"two"), None, None, None, None, None, None]


def test_get_gives_the_bytes_that_are_there(agent: Agent) -> None:
    agent.ship({"a": b"0123456789", "b": b"xyz"})
    (agent.work / "link").symlink_to("a")
    pieces = [["a", 2, 3], ["b", 0, 100], ["gone", 0, 5], ["link", 0, 5], ["a/b", 0, 1], ["a", 10, 5]]
    header, payload = agent.store.handle("get", {"pieces": pieces}, b"")
    assert header["lengths"] == [3, 3, 0, 0, 0, 0]
    assert payload == b"234xyz"


def test_list_tells_paths_and_sizes(agent: Agent) -> None:
    agent.ship({"b": b"22", "a/x": b"1"})
    assert json.loads(agent.store.handle("list", {}, b"")[1]) == [["a/x", 1], ["b", 2]]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/x",
        "../x",
        "a/../../x",
        "a/..",
        "",
        ".",
        "./a",
        "a//b",
        "a/",
        "nul\0",
        "\udcff",
        "x/" * 80 + "x",
        "y" * 5000,
    ],
)
def test_a_path_that_leads_out_is_refused_by_every_operation(agent: Agent, tmp_path: Path, path: str) -> None:
    before = tree(tmp_path)
    rows = json.dumps([[path, 0, False, digest(b"")]]).encode()
    agent.put(b"")
    assert refused(agent, "manifest", {}, rows) == "path"
    assert refused(agent, "commit", {}, rows) == "path"
    assert refused(agent, "hash", {}, json.dumps([path]).encode()) == "path"
    assert refused(agent, "get", {"pieces": [[path, 0, 1]]}) == "path"
    after = {each: entry for each, entry in tree(tmp_path).items() if not each.startswith("state/partial/")}
    assert after == before


def test_a_link_on_the_way_is_refused_and_a_link_at_the_end_is_replaced(agent: Agent, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "f", b"untouched")
    (agent.work / "d").symlink_to(outside.parent)
    (agent.work / "f").symlink_to(outside)
    assert refused(agent, "commit", {}, listing({"d/f": b"evil"})) == "path"
    agent.ship({"f": b"new"})
    assert outside.read_bytes() == b"untouched"
    assert files(agent.work)["f"] == ("file", b"new")


def test_a_folder_in_the_way_is_refused_with_its_name(agent: Agent) -> None:
    (agent.work / "model").mkdir()
    agent.put(b"x")
    with pytest.raises(FileError, match=r"model is refused: a folder has that name"):
        agent.commit({"model": b"x"})


@pytest.mark.parametrize(
    ("op", "header", "payload"),
    [
        ("delete", {}, b""),
        ("manifest", {}, b"no json"),
        ("manifest", {}, b'{"a": 1}'),
        ("manifest", {}, b'[["a", -1, false, "x"]]'),
        ("manifest", {}, b'[["a", true, false, "%s"]]' % (b"0" * 64)),
        ("manifest", {}, b'[["a", 1, false, "%s"], ["a", 1, false, "%s"]]' % (b"0" * 64, b"1" * 64)),
        ("commit", {}, b"[7]"),
        ("hash", {}, b"[7]"),
        ("put", {}, b""),
        ("put", {"pieces": [["../../x", 1, 0, 1]]}, b"x"),
        ("put", {"pieces": [["0" * 64, 1, 0, 2]]}, b"xx"),
        ("put", {"pieces": [["0" * 64, 9, 0, 2]]}, b"x"),
        ("put", {"pieces": []}, b"left over"),
        ("put", {"pieces": [["0" * 64, 1, 0, 1]], "deflated": True}, b"x"),
        ("put", {"pieces": [["0" * 64, 9, 0, 9]], "deflated": True}, zlib.compress(b"123456789")[:-4]),
        ("put", {"pieces": [["0" * 64, 9 * MIB, 0, MIB]], "deflated": True}, zlib.compress(bytes(64 * MIB))),
        ("put", {"pieces": [["0" * 64, 9 * MIB, 0, MIB + 1]]}, bytes(MIB + 1)),
        ("get", {"pieces": [["a", 0, MIB + 1]]}, b""),
        ("get", {"pieces": [["a", -1, 1]]}, b""),
        ("get", {"pieces": "a"}, b""),
    ],
)
def test_nonsense_is_a_bad_request(agent: Agent, op: str, header: dict[str, object], payload: bytes) -> None:
    assert refused(agent, op, header, payload) == "bad_request"


def test_a_full_disk_is_said_and_leaves_nothing(agent: Agent) -> None:
    content = os.urandom(2 * MIB)
    agent.put(content, end=MIB)
    with no_file_over(MIB + 1000), pytest.raises(FileError) as caught:
        agent.put(content, offset=MIB)
    assert caught.value.code == "disk_full"
    assert list((agent.state / "partial").iterdir()) == []
    assert tree(agent.work) == {}


def test_contents_that_nobody_asks_for_any_more_free_their_room(agent: Agent) -> None:
    agent.put(os.urandom(100), end=50)
    agent.lacking({"a": b"another"})
    assert list((agent.state / "partial").iterdir()) == []


def test_a_damaged_table_costs_hashing_and_nothing_else(agent: Agent) -> None:
    agent.ship({"a": b"one"})
    for damage in (b"{", b"[]", b'{"a": [1, 2, 3]}', b'{"a": [1, 2, 3, "no"]}'):
        (agent.state / "files.json").write_bytes(damage)
        agent.restart()
        assert agent.lacking({"a": b"one"}) == []


def test_state_is_readable_by_its_owner_only(agent: Agent) -> None:
    agent.ship({"a": b"one"})
    assert (agent.state / "files.json").stat().st_mode & 0o077 == 0
    assert agent.state.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system")
def test_work_and_state_may_lie_on_two_file_systems(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    agent.state = Path("/dev/shm") / f"gpuplug-test-{os.getpid()}"
    try:
        agent.restart()
        wanted = {"a": b"one", "b": b"one", "big": os.urandom(2 * MIB)}
        agent.lacking(wanted)
        for offset in (0, MIB):
            agent.put(wanted["big"], offset=offset, end=offset + MIB)
        agent.put(b"one")
        agent.commit(wanted)
        for path, content in wanted.items():
            assert (agent.work / path).read_bytes() == content
    finally:
        shutil.rmtree(agent.state)


def test_a_thousand_small_files_are_put_in_time(agent: Agent) -> None:
    wanted = {f"d{number % 20}/{number}": os.urandom(512) for number in range(1000)}
    agent.lacking(wanted)
    began = time.process_time()
    for content in wanted.values():
        agent.put(content)
    agent.commit(wanted)
    assert time.process_time() - began < 1.0, "0.1 s on a free machine"
    age(agent.work / "d0" / "0")
    assert agent.lacking(wanted) == []
