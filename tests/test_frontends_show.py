"""notebooks/show.py: a notebook in a terminal, as its reader would see it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from frontends_kit import CELL_S, ROOT, environment

if TYPE_CHECKING:
    from pathlib import Path

PROGRESS = """import sys
for step in range(100):
    print(f'\\rstep {step:2}', end='', flush=True)
print()
print('100%|##### ', end='\\r')
print('done\\nnext')
print('aside', file=sys.stderr)"""


def notebook(path: Path, *cells: str) -> Path:
    made: list[dict[str, object]] = [
        {"cell_type": "code", "execution_count": None, "id": f"c{n}", "metadata": {}, "outputs": [], "source": cell}
        for n, cell in enumerate(cells)
    ]
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def show(home: Path, *cells: str) -> subprocess.CompletedProcess[str]:
    path = notebook(home / "n.ipynb", *cells)
    return subprocess.run(
        [sys.executable, str(ROOT / "notebooks" / "show.py"), str(path)],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=CELL_S,
        check=False,
    )


def test_a_progress_line_is_shown_as_it_ends_and_the_kernel_warns_of_nothing(tmp_path: Path) -> None:
    done = show(tmp_path, PROGRESS, "6 * 7")
    assert done.returncode == 0
    # On a loaded computer a kernel that is told to go may tell of its own sockets; that is no warning.
    assert not re.search("warn", done.stderr, re.IGNORECASE)
    assert "\nstep 99\ndone|##### \nnext\n" in done.stdout
    assert "step 42" not in done.stdout
    assert "aside\n" in done.stdout
    assert done.stdout.endswith("    6 * 7\n\n42\n")
    assert [path.name for path in tmp_path.glob("*ipc*")] == []


def test_an_error_ends_it_with_the_traceback_and_a_status(tmp_path: Path) -> None:
    done = show(tmp_path, "print('before')", "1 / 0", "print('never')")
    assert done.returncode == 1
    assert "before\n" in done.stdout
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert "\x1b" not in done.stdout
    assert "never" not in done.stdout
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
