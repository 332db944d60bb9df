"""Which Python runs the cells, and with what variables: the one that the image's user would call `python`."""

import os
import platform
import shutil
import subprocess
import sys
from typing import Dict, Iterator, NamedTuple, Tuple

_CHECK = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
_PATIENCE_S = 10.0
_OLDEST = (3, 8)


class Python(NamedTuple):
    """A Python of this machine. `why` is in words; `prefix` is its environment's folder, "" for the system's."""

    path: str
    version: str
    why: str
    prefix: str = ""


def choose(environ: Dict[str, str]) -> Python:
    """Return the first Python of the usual places that is new enough; this very one when there is no other."""
    for path, why, prefix in _candidates(environ):
        version = _version(path)
        if version:
            return Python(path, version, why, prefix)
    return Python(sys.executable, platform.python_version(), "the agent's own, no other was found")


def _candidates(environ: Dict[str, str]) -> Iterator[Tuple[str, str, str]]:
    for folder, why in (
        (environ.get("VIRTUAL_ENV"), "the active virtual environment"),
        ("/venv/main", "the image's virtual environment"),
        (environ.get("CONDA_PREFIX"), "the active conda environment"),
        ("/opt/conda", "the image's conda"),
        ("/opt/miniforge3", "the image's conda"),
    ):
        path = os.path.join(folder, "bin", "python") if folder else ""
        if path and os.access(path, os.X_OK):
            yield path, why, folder or ""
    for name in ("python3", "python"):
        found = shutil.which(name, path=environ.get("PATH"))
        if found:
            yield found, f"{name} on PATH", ""


def _version(path: str) -> str:
    if os.path.realpath(path) == os.path.realpath(sys.executable):
        return platform.python_version()
    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _CHECK],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
            check=True,
        )
        version = done.stdout.decode().strip()
        return version if tuple(map(int, version.split(".")[:2])) >= _OLDEST else ""
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""


def variables(python: Python, environ: Dict[str, str]) -> Dict[str, str]:
    """Return the variables of a kernel: as in a shell where that environment is active, so that `!pip` is its pip."""
    found = dict(environ)
    if python.prefix:
        found["PATH"] = os.path.join(python.prefix, "bin") + os.pathsep + found.get("PATH", os.defpath)
        if os.path.exists(os.path.join(python.prefix, "pyvenv.cfg")):
            found["VIRTUAL_ENV"] = python.prefix
        else:
            found["CONDA_PREFIX"] = python.prefix
    return found
