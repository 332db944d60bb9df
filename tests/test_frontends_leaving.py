"""The end of a process that loaded the extension: what still bills is said once, and nothing hangs."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from frontends_kit import CELL_S, command, environment
from sandbox_kit import RunningMarket, market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Each argument is a cell; `fork` makes a copy of the process that ends at once.
PROGRAM = """
import os, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in ['%load_ext gpuplug', *sys.argv[1:]]:
    if cell == 'fork':
        child = os.fork()
        if not child:
            sys.exit()
        os.waitpid(child, 0)
    elif cell == 'kernel':
        shell.kernel = object()
    else:
        shell.run_cell(cell)
print('last cell done', flush=True)
"""
RENT = "%%remote_gpu -p vast -g RTX_4090 --max-price 0.60\npass"


@pytest.fixture(scope="module")
def place() -> Iterator[RunningMarket]:
    with market(seed=7, pull=0) as made:
        yield made


@pytest.fixture
def rented(place: RunningMarket, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give the environment of a market in which everything is ended afterwards."""
    yield place.env
    assert command(tmp_path, "down", "--all", **place.env).returncode == 0
    assert place.meter()["billing_now"] == 0


def left(home: Path, *cells: str, **more: str) -> str:
    """Run cells in a terminal, leave, and return what was seen after the last one."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *cells],
        env=environment(home, TERM="xterm", **more),
        cwd=home,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        seen = b"".join(iter(lambda: _read(ours), b""))
        assert process.wait(CELL_S) == 0
    os.close(ours)
    return seen.decode().replace("\r\n", "\n").partition("last cell done\n")[2]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that nobody holds the other end any more
        return b""


def test_whoever_leaves_a_terminal_is_told_once_what_still_bills_and_how_to_end_it(
    tmp_path: Path, rented: dict[str, str]
) -> None:
    seen = left(tmp_path, RENT, "fork", **rented)
    assert seen.startswith("1 instance billing, ")
    assert "end it: gpuplug down " in seen
    assert seen.count("billing") == 1


def test_after_the_extension_was_unloaded_leaving_says_nothing(tmp_path: Path, rented: dict[str, str]) -> None:
    assert left(tmp_path, RENT, "%unload_ext gpuplug", **rented) == ""


def test_a_kernel_that_ends_prints_nothing_because_nobody_reads_it(tmp_path: Path, rented: dict[str, str]) -> None:
    assert left(tmp_path, RENT, "kernel", **rented) == ""


def test_where_nothing_bills_leaving_says_nothing(tmp_path: Path) -> None:
    assert left(tmp_path, "%%remote_gpu\npass", "%gpu down") == ""


def test_an_agent_that_does_not_answer_keeps_nobody_from_leaving(tmp_path: Path) -> None:
    stop = (
        "import glob, os, signal\n"
        "for file in glob.glob(os.environ['GPUPLUG_HOME'] + '/local/*/state/daemon-*.pid'):\n"
        "    os.kill(int(open(file).read().split()[0]), signal.SIGSTOP)"
    )
    try:
        assert left(tmp_path, "%%remote_gpu\npass", stop) == ""
    finally:
        for file in (tmp_path / "gp" / "local").glob("*/state/daemon-*.pid"):
            os.kill(int(file.read_text().split()[0]), signal.SIGCONT)
        assert command(tmp_path, "down", "--all").returncode == 0
