"""What is said of a cell before anything is rented: what stays here, how it would go along, what a run would cost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet

from gpuplug import config
from gpuplug.errors import MissingFileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def nb(tmp_path: Path) -> Iterator[Notebook]:
    with notebook(tmp_path) as made:
        yield made


def notes(nb: Notebook, source: str, line: str = "") -> tuple[str, ...]:
    return nb.engine.plan(source, config.parse(line, config.CELL), nb.names).notes


def dry_run(nb: Notebook, source: str, line: str = "-n") -> str:
    return nb.engine.dry_run(nb.engine.plan(source, config.parse(line, config.CELL), nb.names))


def test_a_secret_that_the_cell_names_is_said_with_its_line_and_how_to_send_it(nb: Notebook) -> None:
    (nb.root / ".env").write_text("KEY=1")
    assert notes(nb, "x = 1\nopen('.env')") == (".env stays here: secret (open, line 2); -f .env sends it",)
    assert notes(nb, "x = 1\nopen('.env')", "-f .env") == ()


def test_files_that_a_rule_hides_are_said_in_one_line_for_each_place_that_names_them(nb: Notebook) -> None:
    (nb.root / "data").mkdir()
    for name in ("a.tmp", "b.tmp", "c.tmp", "d.tmp", "kept.csv"):
        (nb.root / "data" / name).write_text("x")
    (nb.root / "own file.bin").write_text("x")
    (nb.root / ".gitignore").write_text("*.tmp\n")
    (nb.root / ".gpuplugignore").write_text("*.bin\n")
    of_the_folder, of_the_file = notes(nb, "import os\nos.listdir('data')\nopen('own file.bin')")
    assert of_the_folder.startswith("data/a.tmp, data/b.tmp, data/c.tmp and 1 more stay here: ignored by .gitignore")
    assert of_the_folder.endswith(" (listdir, line 2); -f data/a.tmp sends the first of them")
    assert of_the_file.startswith("own file.bin stays here: ignored by .gpuplugignore (open, line 3); ")
    assert of_the_file.endswith("; -f 'own file.bin' sends it")


def test_what_stays_here_is_said_before_an_instance_is_looked_for(nb: Notebook) -> None:
    (nb.root / ".env").write_text("KEY=1")

    class InOrder(Quiet):
        def phase(self, name: str, detail: str = "") -> None:
            self.notes.append(f"phase {name}")
            super().phase(name, detail)

    nb.run("import os\nos.path.exists('.env')", talk=InOrder())
    assert nb.talk.notes[0].startswith(".env stays here: secret")
    assert "phase offer" in nb.talk.notes


def test_the_dry_run_names_the_line_of_what_stays_here_and_says_it_once(nb: Notebook) -> None:
    (nb.root / ".env").write_text("KEY=1")
    told = [line for line in dry_run(nb, "x = 1\nopen('.env')").splitlines() if ".env" in line]
    assert told == ["  .env  (secret: name it with -f to send it; open, line 2)"]


def test_the_dry_run_on_a_warm_instance_says_which_one_it_is(nb: Notebook) -> None:
    nb.run("pass")
    shown = dry_run(nb, "pass")
    assert "would run on the warm instance of this notebook, " in shown
    assert "(free)" in shown


def test_a_type_that_cannot_be_sent_is_refused_with_the_way_to_send_it_all_the_same(nb: Notebook) -> None:
    nb.names["lock"] = threading.Lock()
    with pytest.raises(UsageError) as caught:
        notes(nb, "pass", "-i lock")
    assert caught.value.message == "-i lock: a _thread.lock cannot be sent"
    assert caught.value.hint == "save it to a file here and open that file in the cell"


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("-f nofile.csv", "!ls shows what is here"), ("-f tset.csv", "-f test.csv"), ("-f 'my fil'", "-f 'my file'")],
)
def test_files_that_match_nothing_are_refused_with_what_to_type(nb: Notebook, typed: str, hint: str) -> None:
    for name in ("test.csv", "my file"):
        (nb.root / name).write_text("x")
    with pytest.raises(MissingFileError, match="matches no file") as caught:
        notes(nb, "pass", typed)
    assert caught.value.hint.startswith(hint)
