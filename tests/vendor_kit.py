"""Environments with a vendor's unmodified client: made once, kept beside the tests' own, skipped where it cannot be had."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from sandbox_kit import ROOT

if TYPE_CHECKING:
    from pathlib import Path

VASTAI = "vastai==1.9.1"
_INSTALL_S = 300


def programs_of(requirement: str) -> Path:
    """Return the folder of the programs of the environment that holds `requirement`."""
    folder = ROOT / (".venv-sdk" if requirement == VASTAI else f".venv-{requirement.replace('==', '-')}")
    programs, mark = folder / "bin", folder / f"has {requirement}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may want the same at the same time
        if not mark.exists():
            _make(folder, requirement)
            mark.touch()
    return programs


def _make(folder: Path, requirement: str) -> None:
    steps = [[sys.executable, "-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", "-q", requirement]]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
        if done.returncode != 0:
            pytest.skip(f"{requirement} cannot be installed here: {done.stderr.strip()[-300:]}")
