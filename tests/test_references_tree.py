"""The ship tree as a person reads it."""

from __future__ import annotations

from pathlib import Path

from references_kit import plant

from gpuplug.references import (
    GUARD_BYTES,
    Missing,
    NameUse,
    References,
    Request,
    ShipFile,
    Skipped,
    find,
    ship_tree,
    total_size,
)


def file(path: str, size: int, reason: str = "open", line: int | None = 1) -> ShipFile:
    return ShipFile(path, Path("/x") / path, size, 0, executable=False, reason=reason, line=line)


def test_the_tree_says_what_goes_why_and_what_stays() -> None:
    references = References(
        files=(
            file("train.csv", 82_000_000, "read_csv", 3),
            file("net.py", 1_234, "import", 1),
            file("x.pem", 5, "-f", None),
        ),
        skipped=(Skipped(".env", "secret: name it with -f to send it", "open, line 2"), Skipped("a.ipynb", "notebook")),
        missing=(Missing("tset.csv", 4, "open", "test.csv"), Missing("m.pt", 5, "torch.load", None)),
        names=(NameUse("lr", 7), NameUse("net", 8)),
        modules=("torch",),
    )
    assert ship_tree(references).splitlines() == [
        "ship 3 files, 82 MB",
        "  train.csv   82 MB  (read_csv, line 3)",
        "  net.py     1.2 kB  (import, line 1)",
        "  x.pem         5 B  (-f)",
        "skipped",
        "  .env     (secret: name it with -f to send it; open, line 2)",
        "  a.ipynb  (notebook)",
        "missing",
        "  tset.csv  (open, line 4); the nearest is test.csv",
        "  m.pt  (torch.load, line 5)",
        "names: lr (line 7), net (line 8)",
        "modules: torch",
    ]


def test_nothing_to_ship_is_said_in_one_line() -> None:
    assert ship_tree(References()) == "ship no files"


def test_long_folders_are_summed_up(tmp_path: Path) -> None:
    plant(tmp_path, " ".join(f"imgs/{i}.png imgs/{i}.ipynb" for i in range(100)))
    shown = ship_tree(find("ImageFolder('imgs')", Request(tmp_path))).splitlines()
    assert shown == [
        "ship 100 files, 100 B",
        "  imgs/ (100 files)  100 B  (ImageFolder, line 1)",
        "skipped",
        "  imgs/ (100 files)  (notebook; ImageFolder, line 1)",
    ]


def test_names_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    plant(tmp_path, {"d/\x1b]0;hi\x07\n.csv": "", "d/\u202egnp.exe": "", "d/\x9b31m.ipynb": ""})
    shown = ship_tree(find("os.listdir('d')", Request(tmp_path)))
    assert all(each.isprintable() or each == "\n" for each in shown)
    assert r"d/\x1b]0;hi\x07\n.csv" in shown


def test_the_total_is_exact() -> None:
    assert total_size([file("a", GUARD_BYTES), file("b", 1)]) == GUARD_BYTES + 1
    assert total_size([]) == 0
