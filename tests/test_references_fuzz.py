"""Any text at all, and the time that it takes."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references_kit import plant

from gpuplug.errors import UsageError
from gpuplug.references import Request, find, ship_tree

if TYPE_CHECKING:
    from pathlib import Path

WORDS = st.sampled_from(
    [
        "open(",
        "Path(",
        "'a.csv'",
        '"d"',
        "f'd/{x}.csv'",
        ")",
        "\n",
        " / ",
        " + ",
        "!python ",
        "%run ",
        "%%bash\n",
        "x",
        "=",
        "d/*",
        "glob.glob(",
        "import net",
        "from . import y",
        "def f():\n  ",
        "os.chdir(",
        "[",
        "]",
        "for x in ",
        ":",
        ", ",
        "'../x'",
        "%cd d",
        "*",
        "**",
        "'",
        "{",
        "}",
        "$x",
        "..",
        "/",
        "|",
        ">",
        "\\",
        "~/x",
        "lambda x: ",
        ".parent",
        ".format(",
        "class A:\n x = ",
        "del x",
    ]
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=14).map("".join))


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant(
        tmp_path_factory.mktemp("disk"), {"a.csv": "", "d/b.csv": "", "net.py": "import a", "d/.gitignore": "*.x"}
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cell=TEXTS, shell=st.booleans(), warm=st.booleans())
def test_any_text_is_read_or_refused_and_nothing_outside_is_sent(
    disk: Path, cell: str, *, shell: bool, warm: bool
) -> None:
    request = Request(disk, frozenset({"x", "f"}), shell=shell, warm=warm)
    try:
        found = find(cell, request)
    except UsageError:
        return
    assert found == find(cell, request)
    paths = [file.path for file in found.files]
    assert len(set(paths)) == len(paths)
    assert set(paths) <= {"a.csv", "d/b.csv", "net.py", "d/.gitignore"}
    assert ship_tree(found)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(extra=st.one_of(st.text(max_size=20), st.lists(WORDS, max_size=4).map("".join)))
def test_any_f_is_found_or_refused_with_a_reason(disk: Path, extra: str) -> None:
    try:
        found = find("", Request(disk, extra=(extra,)))
    except UsageError as refusal:
        found = None
        reason = str(refusal)
    assert (found and found.files) or extra in reason


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "b", "c*", "[b-a]", "*.x", "/", "**", "!", "a/", "/b", "\\", "[", "]", "#", " ", "?"]),
        max_size=6,
    ).map("".join)
)
def test_any_ignore_rule_is_obeyed_or_passed_over(tmp_path_factory: pytest.TempPathFactory, rule: str) -> None:
    root = plant(tmp_path_factory.mktemp("rules"), {"d/a": "", "d/b/c.x": "", ".gitignore": rule, "d/.gitignore": rule})
    find("os.listdir('d')", Request(root))


CELL = """
import pandas as pd, net
from pathlib import Path
DATA = Path("data")
train = pd.read_csv(DATA / "train.csv")
test = pd.read_csv("data/test.csv")
for epoch in range(10):
    for step, batch in enumerate(train):
        loss = model(batch)
        print(f"epoch {epoch} step {step}: {loss:.3f}")
    torch.save(model.state_dict(), f"out/model_{epoch}.pt")
!python evaluate.py --data data/test.csv
"""


def steps(cell: str, request: Request) -> int:
    """Return how many calls reading a cell takes: unlike its time, that is the same on every machine."""
    find(cell, request)  # what is kept for the next time is kept now
    count = 0

    def see(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(see)
    try:
        find(cell, request)
    finally:
        sys.setprofile(None)
    return count


def test_a_usual_cell_takes_few_steps_whatever_else_lies_there(tmp_path: Path) -> None:
    plant(tmp_path, "data/train.csv data/test.csv net.py evaluate.py")
    request = Request(tmp_path, frozenset({"model", "torch"}))
    alone = steps(CELL, request)
    assert alone < 20_000
    plant(tmp_path, " ".join(f"unnamed/{i}" for i in range(300)))
    assert steps(CELL, request) <= alone + 100


def test_a_folder_takes_the_same_few_steps_for_each_of_its_files(tmp_path: Path) -> None:
    words = ["tmp", "log", "bak", "swp", "pyc", "o", "so", "a", "out", "cache", "build", "dist", "eggs", "wheels"]
    plant(tmp_path, {".gitignore": "\n".join(f"*.{word}\n{word}/" for word in words)})
    counts = []
    for folder in range(8):
        inside = tmp_path / f"imgs/{folder}"
        inside.mkdir(parents=True)
        for index in range(100):
            (inside / f"{index}.png").touch()
        counts.append(steps("ImageFolder('imgs')", Request(tmp_path)))
    grown = [after - before for before, after in itertools.pairwise(counts)]
    assert max(grown) < 200 * 100
    assert max(grown) < 1.2 * min(grown)


def test_importing_the_room_loads_no_third_party_module() -> None:
    program = "import sys, gpuplug.references; print(sorted(m for m in sys.modules if m.split('.')[0] in {'pathspec', 'IPython'}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
