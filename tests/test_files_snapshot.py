"""Which files a cell made or changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sync_kit import write

from gpuplug.agent import snapshot as module
from gpuplug.agent.files import FileStore, changed, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_it_lists_regular_files_with_size_time_inode_and_executable_bit(tmp_path: Path) -> None:
    path = write(tmp_path / "d" / "run", b"12345", executable=True)
    status = path.stat()
    assert snapshot(str(tmp_path)) == {"d/run": (5, status.st_mtime_ns, status.st_ino, True)}


def test_links_pipes_caches_and_environments_are_left_out(tmp_path: Path) -> None:
    for folder in ("__pycache__", ".git", ".ipynb_checkpoints", "node_modules", ".mypy_cache", ".cache"):
        write(tmp_path / "deep" / folder / "x", b"1")
    write(tmp_path / "my-env" / "pyvenv.cfg", b"home = /usr")
    write(tmp_path / "my-env" / "lib" / "x", b"1")
    write(tmp_path / "tagged" / "CACHEDIR.TAG", b"Signature")
    write(tmp_path / ".0123.gp-part", b"1")
    write(tmp_path / "kept", b"1")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "folder-link").symlink_to("deep")
    os.mkfifo(tmp_path / "pipe")
    assert list(snapshot(str(tmp_path))) == ["kept"]


def test_new_and_changed_files_are_told_and_gone_ones_are_not(tmp_path: Path) -> None:
    for name in ("same", "grown", "replaced", "gone"):
        write(tmp_path / name, b"before")
    before = snapshot(str(tmp_path))
    with (tmp_path / "grown").open("ab") as file:
        file.write(b"!")
    stamp = (tmp_path / "replaced").stat().st_mtime_ns
    write(tmp_path / "other", b"BEFORE").replace(tmp_path / "replaced")
    os.utime(tmp_path / "replaced", ns=(stamp, stamp))
    (tmp_path / "gone").unlink()
    write(tmp_path / "new", b"", executable=True)
    found = changed(before, snapshot(str(tmp_path)))
    assert [(row[0], row[1], row[3]) for row in found] == [
        ("grown", 7, False),
        ("new", 0, True),
        ("replaced", 6, False),
    ]


def test_a_file_that_was_just_committed_and_written_to_in_the_same_instant_is_told(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "work"), str(tmp_path / "state"))
    name = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    store.handle("put", {"pieces": [[name, 0, 0, 0]]}, b"")
    store.handle("commit", {}, b'[["a", 0, false, "%s"]]' % name.encode())
    before = snapshot(str(tmp_path / "work"))
    os.utime(tmp_path / "work" / "a")
    assert [row[0] for row in changed(before, snapshot(str(tmp_path / "work")))] == ["a"]


def test_the_walk_ends_at_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        write(tmp_path / f"d{number % 3}" / f"{number:02}", b"")
    monkeypatch.setattr(module, "MAX_ENTRIES", 12)
    first = snapshot(str(tmp_path))
    assert len(first) == 9, "three folders and nine files"
    assert first == snapshot(str(tmp_path))


def test_names_that_are_no_text_do_not_stop_it(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff")).write_bytes(b"1")
    assert len(snapshot(str(tmp_path))) == 1


def test_a_missing_folder_is_empty(tmp_path: Path) -> None:
    assert snapshot(str(tmp_path / "none")) == {}
