"""Folders, ignore rules, secrets, symlinks and `-f`."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from references_kit import ask, left_here, plant, shipped

from gpuplug.errors import MissingFileError, TooLargeError, UsageError
from gpuplug.references import Request, find
from gpuplug.references.files import Collector, Why

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n"


def test_a_folder_walk_obeys_gitignore_in_every_folder(tmp_path: Path) -> None:
    plant(tmp_path, "d/a.csv d/b.tmp d/keep.tmp d/deep/c.tmp d/deep/keep.log d/deep/x.log d/cache/1.bin d/other/2.log")
    plant(
        tmp_path,
        {".gitignore": "*.tmp\ncache/\n*.log\n# c\n\n!", "d/.gitignore": "!keep.tmp", "d/deep/.gitignore": "!keep.log"},
    )
    assert shipped(tmp_path, "os.listdir('d')") == [
        "d/.gitignore",
        "d/a.csv",
        "d/deep/.gitignore",
        "d/deep/keep.log",
        "d/keep.tmp",
    ]
    assert left_here(tmp_path, "os.listdir('d')") == dict.fromkeys(
        ["d/b.tmp", "d/cache/", "d/deep/c.tmp", "d/deep/x.log", "d/other/2.log"], ".gitignore"
    )


def test_a_glob_obeys_gitignore(tmp_path: Path) -> None:
    plant(tmp_path, "d/a.csv d/b.csv")
    plant(tmp_path, {".gitignore": "b.csv"})
    assert shipped(tmp_path, "glob.glob('d/*.csv')") == ["d/a.csv"]
    assert left_here(tmp_path, "glob.glob('d/*.csv')") == {"d/b.csv": ".gitignore"}


def test_a_file_named_exactly_is_sent_though_git_ignores_it(tmp_path: Path) -> None:
    plant(tmp_path, {"data/a.csv": "", ".gitignore": "data/\n*.csv", "net.py": "", "x/.gitignore": "*"})
    assert shipped(tmp_path, "open('data/a.csv'); import net") == ["data/a.csv", "net.py"]


@pytest.mark.parametrize("rule", ["data", "data/", "/data", "/data/*", "data/**", "*"])
def test_a_folder_named_exactly_is_sent_though_git_ignores_it_as_a_whole(tmp_path: Path, rule: str) -> None:
    plant(tmp_path, {"data/a.csv": "", "data/deep/b.csv": "", "data/deep/c.tmp": "", ".gitignore": f"{rule}\n*.tmp"})
    assert shipped(tmp_path, "ImageFolder('data')") == ["data/a.csv", "data/deep/b.csv"]
    assert shipped(tmp_path, "glob.glob('data/*.csv')") == ["data/a.csv"]
    assert shipped(tmp_path, "os.listdir('data/deep')") == ["data/deep/b.csv"]


def test_gpuplugignore_holds_even_for_what_is_named_exactly(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {"data/a.csv": "", "b.csv": "", "c/d.csv": "", ".gpuplugignore": "data/\nb.csv", "c/.gpuplugignore": "d.*"},
    )
    cell = "open('data/a.csv'); open('b.csv'); open('c/d.csv'); os.listdir('data')"
    assert shipped(tmp_path, cell) == []
    assert set(left_here(tmp_path, cell).values()) == {".gpuplugignore"}
    assert shipped(tmp_path, cell, "b.csv", "data", "c/d.csv") == ["b.csv", "c/d.csv", "data/a.csv"]


RULES = [
    "a",
    "b",
    "*.x",
    "/a",
    "b/",
    "a/b",
    "**/b",
    "a/**",
    "!a",
    "!b",
    "!*.x",
    "*",
    "/*",
    "!c/",
    "c",
    "/c/*",
    "!/c/a",
    "a*",
    "?",
    "[ab]",
]
RULES += ["\\#x", "#", "", "a ", "*/b", "**", "a/**/b", "!a/b/"]
PLACES = "a b.x c/a c/b c/b.x d/a/b d/b/a d/c/a.x d/c/b/c #x"


@pytest.mark.skipif(shutil.which("git") is None, reason="git judges the rules")
@pytest.mark.parametrize("seed", range(25))
def test_ignore_rules_mean_what_they_mean_to_git(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same rules each time
    folders = ["d/", "d/c/", "d/d/"]
    rules = {f"{folder}.gitignore": "\n".join(chance.choices(RULES, k=chance.randint(1, 4))) for folder in folders}
    plant(plant(tmp_path, " ".join(f"d/{place}" for place in PLACES.split())), rules)
    environ = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, env=environ)
    listed = subprocess.run(
        ["git", "-C", str(tmp_path), "ls-files", "-z", "-o", "--exclude-standard"],
        check=True,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert shipped(tmp_path, "os.listdir('d')") == sorted(filter(None, listed.stdout.split("\0")))


def test_what_is_never_sent_stays_here(tmp_path: Path) -> None:
    plant(
        tmp_path,
        "d/a d/.git/config d/.ipynb_checkpoints/a d/__pycache__/a.pyc d/.venv/x d/env1/pyvenv.cfg d/env1/lib/x",
    )
    plant(tmp_path, "d/conda/conda-meta/history d/conda/x d/node_modules/p/index.js d/book.ipynb")
    assert shipped(tmp_path, "os.listdir('d')") == ["d/a"]
    assert shipped(tmp_path, "open('d/.git/config'); os.listdir('d/node_modules'); glob.glob('d/.venv/*')") == []
    assert left_here(tmp_path, "os.listdir('d')") == {
        "d/.venv/": "virtual environment",
        "d/conda/": "virtual environment",
        "d/env1/": "virtual environment",
        "d/node_modules/": "installed packages",
        "d/book.ipynb": "notebook",
    }


def test_a_notebook_is_sent_when_it_is_named(tmp_path: Path) -> None:
    plant(tmp_path, "d/book.ipynb")
    assert shipped(tmp_path, "open('d/book.ipynb')") == ["d/book.ipynb"]
    assert shipped(tmp_path, "", "d/*.ipynb") == ["d/book.ipynb"]


SECRETS = [
    ".env",
    ".env.local",
    "prod.env",
    "a.pem",
    "server.key",
    "id_rsa",
    "id_rsa.bak",
    "id_ed25519",
    "id_ecdsa",
    "credentials",
    "credentials.json",
    "my_Credentials.yml",
    ".git-credentials",
    ".netrc",
    ".pypirc",
    ".npmrc",
    "kaggle.json",
    ".vast_api_key",
    ".aws/config",
    ".ssh/known_hosts",
    ".kube/config",
    "c.pfx",
    "c.p12",
    "token.txt",
    "hf_token_v2.txt",
    "service-account-1.json",
    ".config/vastai/vast_api_key",
    ".runpod/config.toml",
    "KAGGLE.JSON",
    ".docker/config.json",
    ".gnupg/x",
]


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_stay_here_unless_they_are_named_with_f(tmp_path: Path, name: str) -> None:
    plant(tmp_path, {f"d/{name}": "x", "d/data.csv": ""})
    for cell in (f"open('d/{name}')", "os.listdir('d')", f"glob.glob('d/{name}*')"):
        assert f"d/{name}" not in shipped(tmp_path, cell)
    assert left_here(tmp_path, f"open('d/{name}')") == {f"d/{name}": "secret: name it with -f to send it"}
    assert shipped(tmp_path, f"open('d/{name}')", f"d/{name}") == [f"d/{name}"]
    assert left_here(tmp_path, f"open('d/{name}')", f"d/{name}") == {}
    assert f"d/{name}" not in shipped(tmp_path, "", "d"), "naming a folder does not name the secret in it"


@pytest.mark.parametrize(
    "name", ["env.py", "tokenizer_vocab.txt", "keys.csv", "id_rsa.pub", "tokens.json", "model.env.py"]
)
def test_what_only_looks_a_little_like_a_secret_is_sent(tmp_path: Path, name: str) -> None:
    assert shipped(plant(tmp_path, name), f"open('{name}')") == [name]


@pytest.mark.parametrize(
    "head", [KEY, "\n " + KEY, "\ufeff" + KEY, "-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----"]
)
def test_a_private_key_is_known_by_its_first_bytes(tmp_path: Path, head: str) -> None:
    plant(tmp_path, {"d/notes.txt": head, "d/public.txt": "-----BEGIN PUBLIC KEY-----"})
    assert shipped(tmp_path, "os.listdir('d')") == ["d/public.txt"]
    assert shipped(tmp_path, "open('d/notes.txt')") == []
    assert shipped(tmp_path, "", "d/notes.txt") == ["d/notes.txt"]


def test_a_glob_of_f_sends_secrets_only_when_it_asks_for_that_kind(tmp_path: Path) -> None:
    plant(tmp_path, "d/a.pem d/a.csv .aws/config")
    assert shipped(tmp_path, "", "d/*") == ["d/a.csv"]
    assert shipped(tmp_path, "", "d/*.pem") == ["d/a.pem"]
    assert shipped(tmp_path, "", ".aws") == [".aws/config"]


def test_f_sends_what_ignore_rules_hide(tmp_path: Path) -> None:
    plant(tmp_path, {"d/a.csv": "", "d/b.tmp": "", ".gitignore": "d/\n*.tmp", "top.tmp": "", "d/.gitignore": "*"})
    assert shipped(tmp_path, "", "d", "*.tmp") == ["d/.gitignore", "d/a.csv", "d/b.tmp", "top.tmp"]
    assert shipped(tmp_path, "", "d/*.csv", "d/a.csv", str(tmp_path.resolve() / "top.tmp")) == ["d/a.csv", "top.tmp"]


def test_only_f_sends_the_working_folder_as_a_whole(tmp_path: Path) -> None:
    plant(tmp_path, "a.csv d/b.csv .git/config .env")
    assert shipped(tmp_path, "os.listdir('.')") == []
    assert shipped(tmp_path, "", ".") == ["a.csv", "d/b.csv"]
    assert "only with -f" in left_here(tmp_path, "glob.glob('*')")["*"]


def test_f_that_matches_nothing_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    plant(tmp_path, "data/train.csv")
    for extra in ("data/trian.csv", "daat/*.csv", "nope"):
        with pytest.raises(MissingFileError) as caught:
            ask(tmp_path, "", extra)
        assert extra in str(caught.value)
    with pytest.raises(MissingFileError, match=r"nearest is data/train\.csv"):
        ask(tmp_path, "", "data/trian.csv")


def test_f_outside_the_working_folder_is_refused(tmp_path: Path) -> None:
    root = plant(tmp_path / "book", "a.csv")
    plant(tmp_path, "b.csv")
    for extra in ("../b.csv", str(tmp_path / "b.csv")):
        with pytest.raises(UsageError, match="outside the working folder"):
            ask(root, "", extra)


def test_symlinks_inside_are_sent_as_their_content(tmp_path: Path) -> None:
    plant(tmp_path, {"real/a.csv": "12345", "d/": ""})
    (tmp_path / "d/link.csv").symlink_to("../real/a.csv")
    (tmp_path / "d/folder").symlink_to("../real")
    files = {file.path: file for file in ask(tmp_path, "os.listdir('d'); open('d/link.csv')").files}
    assert set(files) == {"d/link.csv", "d/folder/a.csv"}
    assert files["d/link.csv"].source == (tmp_path / "real/a.csv").resolve()
    assert files["d/link.csv"].size == 5


def test_symlinks_that_leave_the_working_folder_are_skipped(tmp_path: Path) -> None:
    root = plant(tmp_path / "book", "d/a.csv")
    plant(tmp_path, "out/secret.csv")
    (root / "d/file.csv").symlink_to(tmp_path / "out/secret.csv")
    (root / "d/folder").symlink_to(tmp_path / "out")
    (root / "d/gone").symlink_to("nowhere")
    (root / "d/self").symlink_to("self")
    cell = (
        "os.listdir('d'); open('d/file.csv'); os.listdir('d/folder'); open('d/folder/secret.csv'); glob.glob('d/f*/*')"
    )
    assert shipped(root, cell) == ["d/a.csv"]
    leaves = "symlink that leaves the working folder"
    assert left_here(root, cell) == {
        "d/file.csv": leaves,
        "d/folder/": leaves,
        "d/folder/secret.csv": leaves,
        "d/gone": "cannot be read",
        "d/self": "cannot be read",
    }
    assert shipped(root, "", "d/file.csv", "d/folder") == ["d/file.csv", "d/folder/secret.csv"]


def test_a_symlink_gives_a_secret_no_other_name(tmp_path: Path) -> None:
    plant(tmp_path, ".env .aws/config")
    (tmp_path / "plain.txt").symlink_to(".env")
    (tmp_path / "conf.txt").symlink_to(".aws/config")
    assert shipped(tmp_path, "open('plain.txt'); open('conf.txt')") == []


def test_symlink_circles_end(tmp_path: Path) -> None:
    plant(tmp_path, "d/a d/e/b")
    (tmp_path / "d/e/up").symlink_to("..")
    (tmp_path / "d/all").symlink_to("..")
    assert "d/e/b" in shipped(tmp_path, "os.listdir('d')")
    assert "d/e/b" in shipped(tmp_path, "glob.glob('d/**/b', recursive=True)")


def test_only_regular_files_are_sent(tmp_path: Path) -> None:
    plant(tmp_path, "d/a")
    os.mkfifo(tmp_path / "d/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tmp_path / "d")
        listener.bind("sock")
        os.chdir(here)
        assert shipped(tmp_path, "os.listdir('d'); open('d/fifo')") == ["d/a"]
        assert left_here(tmp_path, "os.listdir('d')") == dict.fromkeys(["d/fifo", "d/sock"], "no regular file")


def test_a_name_that_is_no_utf8_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (Path(os.fsdecode(os.fsencode(tmp_path / "d") + b"/\xff.csv"))).write_text("")
    assert shipped(tmp_path, "os.listdir('d')") == []
    assert list(left_here(tmp_path, "os.listdir('d')").values()) == ["its name is no UTF-8"]


def test_names_differ_by_case(tmp_path: Path) -> None:
    plant(tmp_path, {"a.csv": "", "A.csv": "", ".gitignore": "*.TXT", "d/x.txt": ""})
    assert shipped(tmp_path, "open('A.csv')") == ["A.csv"]
    assert shipped(tmp_path, "os.listdir('d'); glob.glob('d/*.TXT')") == ["d/x.txt"]


def test_each_file_is_sent_once_and_always_in_the_same_order(tmp_path: Path) -> None:
    plant(tmp_path, "d/b d/a d/c/z d/c/y e")
    cell = "open('e'); open('d/c/y'); os.listdir('d'); glob.glob('d/*'); open('./d//a')"
    paths = [file.path for file in ask(tmp_path, cell).files]
    assert paths == ["e", "d/c/y", "d/a", "d/b", "d/c/z"]


def test_a_walk_is_bounded(tmp_path: Path) -> None:
    plant(tmp_path, " ".join(f"d/{i}/x" for i in range(20)))
    collector = Collector(str(tmp_path.resolve()), limit=30)
    with pytest.raises(TooLargeError, match=r"more than 30 entries \(at d\)"):
        collector.take("d", Why("listdir", 1), folder=True)
    with pytest.raises(TooLargeError):
        Collector(str(tmp_path.resolve()), limit=30).take_glob("**/x", Why("glob", 1))


def test_a_working_folder_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    found = find("open('a'); os.listdir('b')", Request(tmp_path / "gone"))
    assert found.files == ()
