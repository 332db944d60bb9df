"""The house itself: what importing costs, what a fresh process loads, what the notebook shows."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gpuplug

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
HEAVY = (
    "httpx",
    "paramiko",
    "ipywidgets",
    "anywidget",
    "vastai",
    "runpod",
    "numpy",
    "pandas",
    "pyarrow",
    "nh3",
    "asyncssh",
    "aiohttp",
)


def in_a_fresh_process(program: str, home: Path, **more: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("VAST", "GPUPLUG"))}
    environ |= {"GPUPLUG_HOME": str(home / "gp"), "HOME": str(home), "PYTHONPATH": str(ROOT / "src"), **more}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environ,
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADED = "import sys; print([m for m in {heavy!r} if m in sys.modules])"


def test_importing_gpuplug_loads_nothing_heavy(tmp_path: Path) -> None:
    assert in_a_fresh_process("import gpuplug; " + LOADED.format(heavy=(*HEAVY, "IPython")), tmp_path).strip() == "[]"


def test_loading_the_extension_loads_nothing_heavy_and_says_where_cells_run(tmp_path: Path) -> None:
    program = (
        "from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance()\n"
        "s.run_line_magic('load_ext', 'gpuplug')\n" + LOADED.format(heavy=HEAVY)
    )
    shown = in_a_fresh_process(program, tmp_path).splitlines()
    assert shown[0].startswith(
        "gpuplug: no key found, cells run on this computer (platform local); 0 instances billing, $0.00 today"
    )
    assert shown[-1] == "[]"


def test_loading_the_extension_without_a_home_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "gp").touch()
    program = (
        "from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance()\n"
        "s.run_line_magic('load_ext', 'gpuplug'); s.run_cell('%%remote_gpu\\n1'); s.run_line_magic('unload_ext', 'gpuplug')"
    )
    shown = in_a_fresh_process(program, tmp_path)
    assert shown.count("hint: set GPUPLUG_HOME") == 2
    assert "LedgerError: the folder " in shown
    assert "Traceback" not in shown


def test_loading_reloading_and_unloading_leaves_one_set_of_magics(tmp_path: Path) -> None:
    program = (
        "from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance(); import threading\n"
        "s.run_line_magic('load_ext', 'gpuplug')\n"
        "for _ in range(20): s.run_line_magic('reload_ext', 'gpuplug')\n"
        "print(threading.active_count(), 'remote_gpu' in s.magics_manager.magics['cell'])"
    )
    assert in_a_fresh_process(program, tmp_path).splitlines()[-1].endswith("True")


def test_the_version_stands_in_one_place(tmp_path: Path) -> None:
    shown = in_a_fresh_process("from gpuplug.frontends.cli import main; main(['--version'])", tmp_path)
    assert shown.strip() == gpuplug.__version__
    assert f'"{gpuplug.__version__}"' not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_readme_and_drawing_say_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "docs/check.py"], check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def sources(*folders: str) -> Iterator[tuple[Path, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def test_no_file_and_no_function_outgrows_its_limit() -> None:
    long: list[str] = []
    for path, text in sources("src", "tests", "docs"):
        long += [str(path)] if len(text.splitlines()) > 400 else []
        long += [
            f"{path}: {node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.end_lineno is not None
            and node.end_lineno - node.lineno + 1 > 50
        ]
    assert long == []


def test_every_file_of_the_client_is_python_3_10() -> None:
    for path, text in sources("src"):
        ast.parse(text, str(path), feature_version=(3, 10))


@pytest.mark.parametrize("notebook", ["01_first_cell.ipynb", "02_prices_and_budget.ipynb"])
def test_a_notebook_runs_on_the_sandbox_and_nothing_bills_afterwards(notebook: str) -> None:
    command = [
        sys.executable,
        "-m",
        "gpuplug.frontends.cli",
        "sandbox",
        "run",
        "--seed",
        "7",
        "--",
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "-q",
        f"notebooks/{notebook}",
    ]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=240, env=environ)
    verdict = json.loads(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout
    assert verdict["billing_now"] == 0
    assert float(verdict["spend"]) > 0
