"""How the GPUs are doing. Read beside everything else, so that no answer waits for a driver."""

import shutil
import threading
import time
from typing import Any, Dict, List, Optional

from .probe import output

_QUERY = "name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw"
_FIGURES = 5
_SMI_S = 5.0
_FRESH_S = 2.0


class Gauges:
    """The last reading of nvidia-smi; asking for it begins the next one, in a thread of its own."""

    def __init__(self) -> None:
        self._there = shutil.which("nvidia-smi") is not None
        self._rows: Optional[List[List[Any]]] = None
        self._at = 0.0
        self._reading = threading.Lock()

    def read(self) -> Optional[Dict[str, Any]]:
        """Return `gpus` and their `age` in seconds; None before the first reading and where there is no GPU.

        Each GPU is [name, percent busy, MiB used, MiB in all, degrees Celsius, watts]; null where the driver tells none.
        """
        now = time.monotonic()
        if self._there and (self._rows is None or now - self._at >= _FRESH_S) and self._reading.acquire(blocking=False):
            threading.Thread(target=self._ask, name="gauges", daemon=True).start()
        if not self._rows:
            return None
        return {"gpus": self._rows, "age": round(now - self._at, 2)}

    def _ask(self) -> None:
        try:
            command = ["nvidia-smi", "--query-gpu=" + _QUERY, "--format=csv,noheader,nounits"]
            text = output(command, time.monotonic() + _SMI_S)
            self._rows, self._at = rows(text), time.monotonic()
        finally:
            self._reading.release()


def rows(text: str) -> List[List[Any]]:
    """Return name and figures of each GPU from nvidia-smi's lines."""
    found = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.rsplit(",", _FIGURES)]
        if len(fields) == 1 + _FIGURES and fields[0]:
            found.append([fields[0]] + [_number(field) for field in fields[1:]])
    return found


def _number(field: str) -> Optional[float]:
    try:
        return float(field)
    except ValueError:  # "[N/A]", "[Not Supported]"
        return None
