"""The stand-in for ssh-keygen makes and reads what the real one makes and reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gpuplug.sandbox.machine import keygen

if TYPE_CHECKING:
    from pathlib import Path

STAND_IN = [sys.executable, keygen.__file__]
REAL = shutil.which("ssh-keygen")


def run(program: list[str], *arguments: str) -> str:
    return subprocess.run([*program, *arguments], check=True, capture_output=True, text=True, timeout=30).stdout


def test_a_made_key_is_private_and_its_public_half_is_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    run(STAND_IN, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert run(STAND_IN, "-y", "-f", str(path)).split()[:2] == (tmp_path / "key.pub").read_text().split()[:2]


@pytest.mark.skipif(REAL is None, reason="no ssh-keygen to compare with")
def test_the_real_program_reads_its_keys_and_it_reads_the_real_ones(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    make = ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]
    run(STAND_IN, *make, str(ours))
    run([str(REAL)], *make, str(theirs))
    for path in (ours, theirs):
        assert run(STAND_IN, "-y", "-f", str(path)).split()[:2] == run([str(REAL)], "-y", "-f", str(path)).split()[:2]


@pytest.mark.skipif(REAL is None, reason="no ssh-keygen to compare with")
def test_it_tells_the_fingerprint_that_the_real_program_tells(tmp_path: Path) -> None:
    path = tmp_path / "key"
    run([str(REAL)], "-q", "-t", "ed25519", "-N", "", "-C", "me@here", "-f", str(path))
    asked = ("-l", "-f", f"{path}.pub")
    assert run(STAND_IN, *asked) == run([str(REAL)], *asked)


@pytest.mark.parametrize("arguments", [["-y", "-f", "absent"], ["-t", "rsa", "-N", "", "-f", "k"], []])
def test_what_it_cannot_do_fails_with_a_reason(tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [*STAND_IN, *arguments], check=False, capture_output=True, text=True, timeout=30, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ssh-keygen: ")
