"""What may save before a cell is interrupted, with the real agent: programs that listen for SIGTERM, for a while."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from agent_kit import Agent, Control, Ran, installed

if TYPE_CHECKING:
    from collections.abc import Iterator

SAVE_S = 30.0
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc tells who listens")
TRAIN = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.3)
    pathlib.Path("checkpoint").write_text("step 7")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
pathlib.Path("ready").touch()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with installed(tmp_path) as made:
        yield made


@pytest.fixture
def cells(agent: Agent) -> Iterator[Control]:
    with agent.control() as control:
        assert control.cell(f"open('train.py', 'w').write({TRAIN!r})").status == "ok"
        yield control


def asked_to_save(cells: Control, source: str, *, shell: bool = False, save_s: float = SAVE_S) -> Ran:
    """Run a cell until it has printed `ready`, ask it to save, and again as after a lost link; return its events."""
    cell = cells.start(source, shell=shell)
    before = cells.until(lambda event: event.kind == "stream" and b"ready" in event.payload)
    for _ in range(2):
        cells.send({"op": "interrupt", "cell": cell, "save_s": save_s})
    return Ran([*before, *cells.finish(cell).events])


def changed(ran: Ran) -> set[str]:
    """Return the files that the agent offers to bring home."""
    return {str(row[0]) for files in ran.only("files") for row in json.loads(files.payload)}


@pytest.mark.parametrize(
    ("source", "shell"),
    [
        ("import subprocess, sys\nsubprocess.run([sys.executable, 'train.py'])\nimport time\ntime.sleep(60)", False),
        ("import sys\n!{sys.executable} train.py\nimport time\ntime.sleep(60)", False),
        ("python3 train.py; sleep 60", True),
    ],
    ids=["subprocess", "bang", "shell"],
)
@pytest.mark.skipif(not shutil.which("python3"), reason="python3 is absent")
def test_a_program_of_the_cell_saves_on_sigterm_and_what_it_saved_comes_home(
    cells: Control,
    source: str,
    shell: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    ran = asked_to_save(cells, source, shell=shell)
    assert "checkpoint" in changed(ran)
    assert ran.status in {"interrupted", "error"}


def test_a_cell_without_such_programs_gets_its_keyboard_interrupt_at_once(cells: Control) -> None:
    ran = asked_to_save(cells, "print('ready', flush=True)\nimport time\ntime.sleep(60)", save_s=60.0)
    assert ran.status == "interrupted"


def test_a_handler_that_the_cell_itself_has_set_is_called_once_and_may_end_it(cells: Control) -> None:
    source = """
import os, signal, time
def save(*_):
    os.write(1, b'saved\\n')
    global over
    over = True
over = False
signal.signal(signal.SIGTERM, save)
print('ready', flush=True)
while not over: time.sleep(0.05)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
"""
    ran = asked_to_save(cells, source)
    assert ran.status == "ok"
    assert ran.text().count("saved") == 1


def test_the_workers_of_a_program_are_left_to_it(cells: Control) -> None:
    source = """
import multiprocessing, signal, time
def work(pipe):
    signal.signal(signal.SIGTERM, lambda *_: pipe.send('asked'))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send('up')
    time.sleep(60)
mine, theirs = multiprocessing.get_context('fork').Pipe()
worker = multiprocessing.get_context('fork').Process(target=work, args=(theirs,), daemon=True)
worker.start()
assert mine.recv() == 'up'
try:
    print('ready', flush=True)
    time.sleep(60)
except KeyboardInterrupt: print('asked' if mine.poll() else 'left alone')
worker.kill()
"""
    assert "left alone" in asked_to_save(cells, source).text()


def test_who_does_not_end_is_interrupted_when_its_time_is_over(cells: Control) -> None:
    source = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'heard\\n'))
print('ready', flush=True)
while True: time.sleep(0.05)
"""
    ran = asked_to_save(cells, source, save_s=0.5)
    assert "heard" in ran.text()
    assert ran.status == "interrupted"
