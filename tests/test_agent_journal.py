"""The journal alone: what is appended can be read, after a torn write, after forgetting, and when the disk is full."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuplug.agent import journal as module
from gpuplug.agent import wire
from gpuplug.agent.journal import Journal
from gpuplug.agent.output import STREAM_CAP, Output

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOADS = st.lists(st.binary(max_size=60), min_size=1, max_size=6)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_BYTES", 100)


def frames(journal: Journal, offset: int = 0) -> list[wire.Frame]:
    return list(wire.Decoder().feed(journal.read(offset, 1 << 20)))


@given(PAYLOADS, st.data())
@settings(deadline=None)
def test_a_torn_last_event_is_cut_off_and_the_numbers_go_on(payloads: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(folder)
        ends = []
        for payload in payloads:
            journal.append({"cell": "c", "kind": "stream"}, payload)
            ends.append(journal.end)
        cut = data.draw(st.integers(0, journal.end))
        journal.close()
        (file,) = Path(folder).iterdir()
        os.truncate(file, cut)
        again = Journal(folder)
        whole = [end for end in ends if end <= cut]
        assert (again.id, again.end) == (journal.id, whole[-1] if whole else 0)
        assert again.append({"cell": "d", "kind": "done"}) == len(whole) + 1
        assert [frame[1] for frame in frames(again)] == [*payloads[: len(whole)], b""]
        again.close()


def test_cells_that_never_ended_are_told_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    for cell, kind in (("a", "started"), ("a", "done"), ("b", "started"), ("b", "stream")):
        journal.append({"cell": cell, "kind": kind})
    journal.close()
    again = Journal(str(tmp_path))
    assert (again.done, again.unfinished) == ({"a"}, ["b"])
    again.close()


@pytest.mark.usefixtures("small")
def test_forgetting_keeps_offsets_numbers_and_the_rest(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    ends = []
    for number in range(10):
        journal.append({"cell": "c", "kind": "stream", "n": number}, b"x" * 20)
        ends.append(journal.end)
    journal.forget(ends[4] + 1)
    assert journal.base == 0, "no event begins there"
    journal.forget(ends[4])
    assert (journal.base, journal.end) == (ends[4], ends[9])
    assert [header["n"] for header, _ in frames(journal, ends[4])] == [5, 6, 7, 8, 9]
    journal.close()
    again = Journal(str(tmp_path))
    assert (again.id, again.base, again.end) == (journal.id, ends[4], ends[9])
    again.forget(again.end)
    assert again.base == again.end
    again.close()
    last = Journal(str(tmp_path))
    assert last.append({"cell": "c", "kind": "done"}) == 11
    assert len(list(tmp_path.iterdir())) == 1
    last.close()


@pytest.mark.usefixtures("small")
def test_a_broken_change_of_files_leaves_the_old_one(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.append({"cell": "c", "kind": "stream"}, b"x" * 200)
    journal.close()
    (tmp_path / "part").write_bytes(b"half")
    again = Journal(str(tmp_path))
    assert (again.end, len(list(tmp_path.iterdir()))) == (journal.end, 1)
    again.close()


def test_a_small_journal_forgets_nothing(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.append({"cell": "c", "kind": "stream"}, b"x")
    journal.forget(journal.end)
    assert journal.base == 0
    journal.close()


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Journal, list[bool]]]:
    """A journal whose disk is full while the list holds an entry: a write gets a few bytes through, then fails."""
    journal, switch = Journal(str(tmp_path)), list[bool]()
    write = os.write

    def limited(fd: int, data: memoryview) -> int:
        if not switch:
            return write(fd, data)
        if len(data) > 10:
            return write(fd, data[:10])
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "write", limited)
    yield journal, switch
    journal.close()


def test_a_full_disk_costs_output_and_never_an_end(full: tuple[Journal, list[bool]]) -> None:
    journal, switch = full
    output = Output(journal)
    output.begin("c", 1)
    output.stream("stdout", b"before")
    switch.append(True)
    output.stream("stdout", b"lost!")
    output.event({"kind": "display"}, b"picture")
    output.end([({"kind": "done"}, b"")])
    switch.clear()
    output.settle()
    kinds = [(header["kind"], header.get("name"), header.get("bytes")) for header, _ in frames(journal)]
    assert kinds == [
        ("started", None, None),
        ("stream", "stdout", None),
        ("truncated", "stdout", 5),
        ("truncated", "display", 7),
        ("done", None, None),
    ]
    assert [header["seq"] for header, _ in frames(journal)] == [1, 2, 3, 4, 5]


def test_the_cap_begins_anew_with_each_cell(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    output = Output(journal)
    for cell in ("a", "b"):
        output.begin(cell, 1)
        for _ in range(21):
            output.stream("stdout", bytes(1 << 20))
        output.end([({"kind": "done"}, b"")])
    found = list(wire.Decoder().feed(journal.read(0, journal.end)))
    for cell in ("a", "b"):
        mine = [(header, payload) for header, payload in found if header["cell"] == cell]
        assert sum(len(payload) for header, payload in mine if header["kind"] == "stream") == STREAM_CAP
        assert [header["bytes"] for header, _ in mine if header["kind"] == "truncated"] == [1 << 20]
    journal.close()


def test_what_comes_between_cells_is_held_up_to_a_limit(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    output = Output(journal)
    for _ in range(3):
        output.stream("stderr", bytes(1 << 19))
    assert journal.end == 0
    assert output.event({"kind": "display"}, b"nobody's") == 0
    output.begin("c", 1)
    output.end([({"kind": "done"}, b"")])
    found = [(header["kind"], len(payload)) for header, payload in wire.Decoder().feed(journal.read(0, journal.end))]
    assert found == [("started", 0), ("stream", 1 << 19), ("stream", 1 << 19), ("truncated", 0), ("done", 0)]
    journal.close()
