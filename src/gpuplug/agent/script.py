"""Runs a cell by bash."""

import os
import shutil
import subprocess

from .display import Display
from .outcome import Outcome

_PATIENCE_S = 2.0


def run_script(source: str, count: int, display: Display) -> Outcome:
    """Run `source` as `bash` (`sh` where there is none) would from a file; like `%%bash`, it goes on after an error.

    Raises:
        KeyboardInterrupt: the cell was interrupted; the script has ended then.
        OSError: the shell cannot be started.
    """
    shell = shutil.which("bash") or "/bin/sh"
    # Python programs in it shall print as they go: they see a pipe and would keep it all to the end.
    environment = {"PYTHONUNBUFFERED": "1", **os.environ}
    child = subprocess.Popen([shell, "-c", source, f"cell {count}"], env=environment)
    try:
        code = child.wait()
    except KeyboardInterrupt:
        _end(child)
        raise
    if code == 0:
        return Outcome("ok")
    how = f"died with signal {-code}" if code < 0 else f"returned non-zero exit status {code}"
    message = f"the script {how}"
    display.error("CalledProcessError", message, [f"CalledProcessError: {message}"])
    return Outcome("error")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Wait for a script that got the interrupt too."""
    try:
        child.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
