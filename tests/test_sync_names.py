"""Names that a hostile host may send: nothing is written outside, and nothing that would run here later."""

from __future__ import annotations

import json
import unicodedata
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_kit import World, files, tree

from gpuplug.sync import HomeRules, RemoteFile
from gpuplug.sync.names import refusal, would_run

if TYPE_CHECKING:
    from pathlib import Path

EVIL = b"evil"

REFUSED = [
    "",
    ".",
    "..",
    "../x",
    "../../../etc/cron.d/x",
    "/etc/passwd",
    "//etc/passwd",
    "a/../../x",
    "a/..",
    "a/./x",
    "./x",
    "a//x",
    "a/",
    "~/../x/",
    "a\0b",
    "a\nb",
    "a\rb",
    "a\tb",
    "a\x1b[2Jb",
    "a\x7fb",
    "a\x85b",
    "a\x9b31mb",
    "invoice\u202efdp.exe",
    "a\u2066b",
    "a\u200fb",
    "a\u061cb",
    "a\u200bb",
    "a\u2028b",
    "\ufeffa",
    "\udcff",
    "a/\ud800",
    "..\\x",
    "a\\b",
    "C:x",
    "c:\\windows\\x",
    "data.csv:stream",
    "a*b",
    "a?b",
    'a"b',
    "a<b",
    "a|b",
    "con",
    "CON",
    "Con.txt",
    "aux.csv",
    "nul",
    "prn.log",
    "com1",
    "COM9.txt",
    "lpt1",
    "com¹.csv",
    "conin$",
    "trailing.",
    "trailing ",
    " leading",
    "out/dot./x",
    ".git/hooks/post-checkout",
    ".git/config",
    ".GIT/config",
    ".Git",
    "sub/.git/config",
    "out/.git/config",
    ".g\u200cit/config",
    "\uff0egit/config",
    "git~1/config",
    "\xad",
    "a/\xad/b",
    "\uff0e\uff0e/x",
    "\u2025/x",
    "a\uff0fb",
    "trailing\uff0e",
    "trailing\u3000",
    ".ssh/authorized_keys",
    ".SSH/config",
    "out/.ssh/id",
    ".ipynb_checkpoints/a-checkpoint.ipynb",
    ".jupyter/jupyter_server_config.py",
    ".ipython/profile_default/startup/0.py",
    ".vscode/settings.json",
    ".config/autostart/x.desktop",
    ".local/bin/ls",
    ".aws/credentials",
    ".env",
    ".envrc",
    ".venv/bin/python",
    "__pycache__/a.cpython-311.pyc",
    "out/__pycache__/a.pyc",
    ".x.gp-part",
    "x" * 201,
    "日" * 67,
    "/".join("d" * 33),
    "d/" * 600 + "x",
]

LATER = [
    "a.py",
    "A.PY",
    "pkg/__init__.py",
    "conftest.py",
    "sitecustomize.py",
    "a.pyc",
    "a.pyd",
    "torch.so",
    "libx.so.1.2",
    "x.dll",
    "x.dylib",
    "evil.pth",
    "a.ipynb",
    "run.sh",
    "Makefile",
    "makefile",
    "GNUmakefile",
    "sub/Makefile",
    "setup.cfg",
    "pyproject.toml",
    "tox.ini",
    "pytest.ini",
    ".gitignore",
    ".bashrc",
    ".profile",
    ".gpuplug.toml",
    ".hidden/data.csv",
    "x.exe",
    "x.bat",
    "x.js",
    "Dockerfile",
    "package.json",
    "x.desktop",
    "numpy.\uff50\uff59",
]

HARMLESS = [
    "model.pt",
    "loss curve.png",
    "run-2024.csv",
    "data.json",
    "日本.txt",
    "a.tar.gz",
    "README",
    "notes.md",
    "config/x",
    "console.log",
    "x.so2",
]


def lying(world: World, path: str) -> RemoteFile:
    """Have the agent offer `path` with the content EVIL, whatever its own rules say."""

    def twist(op: str, header: dict[str, Any], honest: tuple[dict[str, Any], bytes]) -> tuple[dict[str, Any], bytes]:
        if op == "hash":
            return {}, json.dumps([sha256(EVIL).hexdigest()]).encode()
        if op == "get":
            return {"lengths": [len(EVIL)] * len(header["pieces"])}, EVIL * len(header["pieces"])
        return honest

    world.session.twist = twist
    return RemoteFile(path, len(EVIL), 0, executable=False)


def test_there_are_enough_of_them() -> None:
    assert len({*REFUSED}) >= 60


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: ascii(path)[:40])
def test_an_evil_name_is_refused_and_nothing_is_written(tmp_path: Path, path: str) -> None:
    world = World(tmp_path / "a" / "b" / "world")
    before = tree(tmp_path)
    brought, kept, refused = world.bring(lying(world, path))
    assert (brought, kept, set(refused)) == ({}, {}, {path})
    assert all(refused.values())
    assert tree(tmp_path) == before
    assert not world.session.asked


@pytest.mark.parametrize("path", LATER, ids=ascii)
def test_what_would_run_here_lands_beside_under_a_harmless_name(tmp_path: Path, path: str) -> None:
    world = World(tmp_path)
    brought, _, _ = world.bring(lying(world, path))
    assert list(brought) == [f"{path}.remote"]
    assert "it would run on this computer" in brought[f"{path}.remote"]
    assert files(world.root) == {f"{path}.remote": ("file", EVIL)}
    assert would_run(path, executable=False)


def test_code_that_the_user_shipped_is_not_replaced(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ship(world.here("train.py", b"mine"))
    brought, _, _ = world.bring(world.there("train.py", b"theirs"))
    assert list(brought) == ["train.py.remote"]
    assert files(world.root) == {"train.py": ("file", b"mine"), "train.py.remote": ("file", b"theirs")}


def test_an_executable_without_suffix_would_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    brought, _, _ = world.bring(world.there("ls", EVIL, executable=True), world.there("a.csv", b"1", executable=True))
    assert set(brought) == {"ls.remote", "a.csv"}


@pytest.mark.parametrize("path", HARMLESS)
def test_an_ordinary_name_comes_home(tmp_path: Path, path: str) -> None:
    world = World(tmp_path)
    assert world.bring(world.there(path, b"x"))[0] == {path: ""}


@pytest.mark.parametrize("path", ["out/a.py", "outputs/run.sh", "checkpoints/x/a.ipynb"])
def test_in_the_out_folders_code_keeps_its_name(tmp_path: Path, path: str) -> None:
    world = World(tmp_path)
    assert world.bring(world.there(path, b"x"))[0] == {path: ""}


def test_a_folder_that_only_begins_like_an_out_folder_is_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert list(world.bring(world.there("outside/a.py", b"x"))[0]) == ["outside/a.py.remote"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("Model.pt", "model.pt"), ("é.csv", unicodedata.normalize("NFD", "é.csv")), ("ß", "ss"), ("D/a", "d/a")],
)
def test_two_names_that_are_one_on_some_computers_never_both_come(tmp_path: Path, first: str, second: str) -> None:
    world = World(tmp_path)
    brought, _, refused = world.bring(world.there(first, b"1"), world.there(second, b"2"))
    assert (set(brought), set(refused)) == ({first}, {second})


def test_one_path_named_twice_is_fetched_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    made = world.there("a", b"1")
    assert world.bring(made, made)[0] == {"a": ""}


def test_a_negative_size_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert set(world.bring(RemoteFile("a", -1, 0, executable=False))[2]) == {"a"}


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=30) | st.lists(st.sampled_from(["..", ".", "", "a", ".git", "x\0", "~"]), max_size=5).map("/".join)
)
def test_whatever_the_name_nothing_is_written_outside(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    top = tmp_path_factory.mktemp("names")
    world = World(top / "world")
    home = world.sync.bring_home([lying(world, path)], HomeRules(), world.seen.append)
    outside = {each for each in tree(top) if not each.startswith(("world/home/", "world/state", "world/instance"))}
    assert outside == {"world", "world/home"}
    assert bool(home.brought) != bool(refusal(path))
    for each in home.brought:
        assert files(world.root) == {each.path: ("file", EVIL)}
