"""Virtual environments of the vendors' own clients, made once and kept beside the repository's own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sandbox_kit import ROOT

if TYPE_CHECKING:
    from sandbox_kit import RunningMarket

CLIENTS = Path(__file__).parent / "sdk" / "clients"
VASTAI = "vastai==1.9.1"
INSTALL_S = 300
RUN_S = 120


def programs(requirement: str, folder: str) -> Path:
    """Return the folder of the programs of an environment with `requirement`; skip the test where it cannot be installed."""
    venv = ROOT / folder
    venv.mkdir(exist_ok=True)
    mark = venv / f"has {requirement}"
    with (venv / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may want the same at the same time
        if not mark.exists():
            _make(venv, requirement)
            mark.touch()
    return venv / "bin"


def _make(venv: Path, requirement: str) -> None:
    steps = [[sys.executable, "-m", "venv", str(venv)], [str(venv / "bin/pip"), "install", "-q", requirement]]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode != 0:
            pytest.skip(f"{requirement} cannot be installed here: {done.stderr.strip()[-300:]}")


def client_environment(shop: RunningMarket, home: Path) -> dict[str, str]:
    """Return what a client needs: the market's addresses and keys, and a home of its own for keys and caches."""
    folders = {name: str(home) for name in ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    return {"PATH": os.environ["PATH"], "COLUMNS": "200", **folders, **shop.env}


def drive(python: Path, script: str, environment: dict[str, str], *words: str) -> str:
    """Run one of `clients/` with a vendor's Python; return what it printed."""
    argv = [str(python), str(CLIENTS / script), *words]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
