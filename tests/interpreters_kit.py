"""Other Pythons of this computer: on PATH, or kept by the version manager that this one comes from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ASK_S = 60.0


@cache
def find_python(version: str) -> str | None:
    """Return a Python of `version` ("3.13"), or None: from `PYTHON313`, on PATH, or beside this one."""
    name = f"python{version}"
    beside = sorted(Path(sys.base_prefix).parent.glob(f"*{version}.*/bin/{name}"), reverse=True)
    places = (os.environ.get(name.upper().replace(".", ""), ""), name, *map(str, beside))
    return next((found for found in filter(None, map(shutil.which, places)) if _is(found, version)), None)


def _is(python: str, version: str) -> bool:
    # A version manager's stand-in is on PATH even where it leads nowhere, so the version is asked for.
    asked = subprocess.run([python, "--version"], check=False, text=True, capture_output=True, timeout=ASK_S)
    return asked.returncode == 0 and asked.stdout.startswith(f"Python {version}.")
