"""The real switch and the real agent: what a cell has started saves before the instance goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from agent_kit import installed
from switch_kit import OWN, Machine, eventually, machines, provider

if TYPE_CHECKING:
    from providers_kit import Api

Make = Callable[..., Machine]


@pytest.fixture
def api() -> Iterator[Api]:
    with provider() as server:
        yield server


@pytest.fixture
def make(api: Api, tmp_path: Path) -> Iterator[Make]:
    with machines(tmp_path, api.url) as make:
        yield make


SAVES = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.3)
    pathlib.Path("checkpoint").write_text("step 7")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""
CELLS = {
    "a program that the cell waits for": "import sys\n!{sys.executable} train.py\nimport time\ntime.sleep(60)",
    "a program that it has left running": (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, 'train.py'], stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode(), flush=True)"
    ),
    "the cell itself": (
        "import time\ntry:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt: open('checkpoint', 'w').write('step 7')"
    ),
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc tells who listens")
@pytest.mark.parametrize("source", CELLS.values(), ids=CELLS)
def test_what_a_cell_has_started_saves_before_the_switch_ends_the_instance(api: Api, make: Make, source: str) -> None:
    machine = make(lease_s=600)
    machine.armed()
    with installed(machine.root / "home") as there, there.control() as cells:
        assert cells.cell(f"open('train.py', 'w').write({SAVES!r})").status == "ok"
        cells.start(source)
        cells.until(lambda event: event.kind == "stream" and b"ready" in event.payload)
        checkpoint = next((machine.root / "home" / "gpuplug").rglob("train.py")).with_name("checkpoint")
        assert not checkpoint.exists()
        machine.write("hard", "0")
        eventually(checkpoint.exists, "what was saved")
        eventually(lambda: not there.daemon_pids(), "the end of the agent")
        assert checkpoint.read_text() == "step 7"
    api.wait("DELETE", OWN)
