"""What a start costs: `%load_ext`, and the agent from an open channel to its welcome."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 7
_PROGRAM = """
import sys, time, json
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("pass")
began = time.perf_counter()
shell.run_line_magic("load_ext", "gpuplug")
took = (time.perf_counter() - began) * 1000
heavy = [name for name in ("httpx", "paramiko", "ipywidgets", "vastai", "runpod") if name in sys.modules]
print(json.dumps([took, len(heavy)]))
"""


def measure() -> dict[str, float]:
    """Return the median of fresh processes."""
    rounds = [_load_ext() for _ in range(ROUNDS)]
    return {
        "load_ext_ms": statistics.median(took for took, _ in rounds),
        "load_ext_heavy_imports": max(heavy for _, heavy in rounds),
    }


def _load_ext() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "HOME": home, "GPUPLUG_HOME": f"{home}/gp", "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], env=environ, check=True, capture_output=True, text=True, timeout=60
        )
    took, heavy = json.loads(done.stdout.splitlines()[-1])
    return float(took), float(heavy)
