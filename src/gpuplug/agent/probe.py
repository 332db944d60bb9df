"""What this machine is: GPUs, Python, disk. Every question has a deadline."""

import contextlib
import os
import re
import shutil
import subprocess
import time
from typing import Any, Dict, List

from .environment import Python

_SMI_S = 5.0
_PYTHON_S = 10.0
_CUDA = re.compile(r"CUDA Version:\s*([0-9.]+)")
_IPYTHON = "import importlib.metadata as m; print(m.version('ipython'))"


def probe(python: Python, work: str) -> Dict[str, Any]:
    """Return the answer to `probe`. Blocks up to 15 s."""
    end = time.monotonic() + _SMI_S
    rows = output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"], end)
    cuda = _CUDA.search(output(["nvidia-smi"], end)) if rows else None
    ipython = output([python.path, "-c", _IPYTHON], time.monotonic() + _PYTHON_S).strip()
    return {
        "python": python.version,
        "ipython": ipython or None,
        "gpus": gpus(rows),
        "cuda": cuda.group(1) if cuda else "",
        "disk_free": shutil.disk_usage(work).free,
        "environment": f"{python.path}: {python.why}",
    }


def gpus(rows: str) -> List[List[Any]]:
    """Return name and MiB of each GPU from nvidia-smi's lines `name, MiB`."""
    found: List[List[Any]] = []
    for row in rows.splitlines():
        name, _, memory = row.rpartition(",")
        if name.strip():
            found.append([name.strip(), int(memory) if memory.strip().isdigit() else 0])
    return found


def output(command: List[str], end: float) -> str:
    """Return what `command` prints until `end`, "" when it fails. A driver that hangs is not waited for."""
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError:
        return ""
    try:
        output, _ = child.communicate(timeout=max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=0.1)
        return ""
    return output.decode("utf-8", "replace") if child.returncode == 0 else ""
