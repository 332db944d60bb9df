"""Files reached and written below one folder, whatever others do to it meanwhile."""

from __future__ import annotations

import errno
import os
import threading
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sync_kit import files, no_file_over, open_descriptors, tree, write

from gpuplug.agent.safepath import Folders, Part, PathError, digest_of, is_full, parts_of

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6).map("/".join) | st.text(max_size=12))
def test_what_is_accepted_is_relative_and_goes_down_only(path: str) -> None:
    try:
        parts = parts_of(path)
    except PathError:
        return
    assert "/".join(parts) == path
    assert not {"", ".", ".."} & {*parts}
    assert not path.startswith("/")
    assert "\0" not in path


def test_folders_are_made_on_request_only(tmp_path: Path) -> None:
    with Folders(str(tmp_path)) as folders:
        with pytest.raises(FileNotFoundError):
            folders.open(("a", "b"))
        folders.open(("a", "b"), make=True)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o700 == 0o700


def test_a_thousand_folders_need_few_descriptors(tmp_path: Path) -> None:
    before = open_descriptors()
    with Folders(str(tmp_path)) as folders:
        for number in range(1000):
            folders.open((f"{number}", "deep"), make=True)
        assert open_descriptors() < before + 80
    assert open_descriptors() == before


def test_nothing_is_read_through_a_link(tmp_path: Path) -> None:
    write(tmp_path / "secret" / "f", b"x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "d").symlink_to(tmp_path / "secret")
    (tmp_path / "root" / "f").symlink_to(tmp_path / "secret" / "f")
    with Folders(str(tmp_path / "root")) as folders:
        with pytest.raises(PathError, match="it is a link or a file, not a folder"):
            folders.open_file(("d", "f"))
        with pytest.raises(PathError):
            folders.status(("d", "f"))
        assert folders.open_file(("f",)) is None


def test_a_part_is_private_until_it_is_finished(tmp_path: Path) -> None:
    with Folders(str(tmp_path)) as folders, Part(folders.open(())) as part:
        part.write(b"half")
        (hidden,) = tmp_path.iterdir()
        assert hidden.name.endswith(".gp-part")
        assert hidden.stat().st_mode & 0o777 == 0o600
        part.write(memoryview(b" and half"))
        assert (part.size, part.sha256) == (13, sha256(b"half and half").hexdigest())
        part.finish("whole", 0o640, replace=False, durable=True)
    assert files(tmp_path) == {"whole": ("file", b"half and half")}
    assert (tmp_path / "whole").stat().st_mode & 0o777 == 0o640


def test_an_unfinished_part_leaves_nothing_and_no_descriptor(tmp_path: Path) -> None:
    before = open_descriptors()

    def interrupted() -> None:
        with Folders(str(tmp_path)) as folders, Part(folders.open(())) as part:
            part.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert tree(tmp_path) == {}
    assert open_descriptors() == before


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "none"])
def test_a_name_that_is_taken_is_not_replaced_unless_asked(
    tmp_path: Path, *, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "this file system has no hard links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    write(tmp_path / "taken", b"mine")
    with Folders(str(tmp_path)) as folders, Part(folders.open(())) as part:
        part.write(b"theirs")
        with pytest.raises(FileExistsError):
            part.finish("taken", 0o644, replace=False, durable=False)
        part.finish("free", 0o644, replace=False, durable=False)
    assert files(tmp_path) == {"taken": ("file", b"mine"), "free": ("file", b"theirs")}


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    write(tmp_path / "f", b"old")
    with no_file_over(1000), Folders(str(tmp_path)) as folders, Part(folders.open(())) as part:
        with pytest.raises(OSError, match="large") as caught:
            part.write(bytes(2000))
        assert is_full(caught.value)
    assert files(tmp_path) == {"f": ("file", b"old")}


def test_a_reader_sees_the_old_or_the_new_bytes_never_a_mixture(tmp_path: Path) -> None:
    contents = {bytes([number]) * 50_000 for number in range(2)}
    write(tmp_path / "f", b"\0" * 50_000)
    over = threading.Event()

    def keep_writing() -> None:
        with Folders(str(tmp_path)) as folders:
            for number in range(200):
                with Part(folders.open(())) as part:
                    part.write(bytes([number % 2]) * 50_000)
                    part.finish("f", 0o644, replace=True, durable=False)
        over.set()

    writer = threading.Thread(target=keep_writing)
    writer.start()
    seen = set()
    while not over.is_set():
        seen.add((tmp_path / "f").read_bytes())
    writer.join()
    assert seen <= contents


def test_a_folder_that_is_swapped_for_a_link_all_the_time_never_leads_out(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (root / "real").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            (root / "real").rename(root / "d")
            (root / "d").rename(root / "real")
            (root / "link").rename(root / "d")
            (root / "d").rename(root / "link")

    swapper = threading.Thread(target=swap)
    swapper.start()
    landed = refused = 0
    try:
        for number in range(600):
            try:
                with Folders(str(root)) as folders, Part(folders.open(("d",))) as part:
                    part.finish(f"{number}", 0o644, replace=False, durable=False)
                landed += 1
            except (PathError, FileNotFoundError):
                refused += 1
    finally:
        over.set()
        swapper.join()
    assert list(outside.iterdir()) == []
    assert landed + refused == 600


def test_a_digest_is_of_the_whole_file_wherever_the_descriptor_stands(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    write(tmp_path / "f", content)
    with (tmp_path / "f").open("rb") as file:
        file.seek(1_000_000)
        assert digest_of(file.fileno()) == sha256(content).hexdigest()
