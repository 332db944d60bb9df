"""Who may want to save its work before a cell is interrupted: programs of the cell that have a handler for SIGTERM.

One without a handler would only die of it, before the KeyboardInterrupt that it may be ready for. Workers, which are
forks of their parent or started by multiprocessing, are its own business: a loop whose data loader dies saves nothing.
"""

import contextlib
import os
import signal
from typing import Dict, List, NamedTuple, Tuple

_TERM_BIT = 1 << (signal.SIGTERM - 1)
_PARENT, _STARTED = 1, 19  # fields of /proc/PID/stat after the name


class Program(NamedTuple):
    """A process, told from a later one of the same number by when it started."""

    pid: int
    started: str


def ask_to_save(kernel: int) -> List[Program]:
    """Send SIGTERM to each program of the kernel's cell that listens for it, the kernel too; return which they are.

    Nobody is found where there is no /proc.
    """
    asked = [program for program in _family(kernel) if _listens(program.pid)]
    for program in asked:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(program.pid, signal.SIGTERM)
    return asked


def lives(program: Program) -> bool:
    """Tell whether it still runs."""
    fields = _stat(program.pid)
    return bool(fields) and fields[0] != "Z" and fields[_STARTED] == program.started


def _family(kernel: int) -> List[Program]:
    """Return the kernel and the programs below it, without workers."""
    below: Dict[int, List[Tuple[int, str]]] = {}
    started = ""
    with contextlib.suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            fields = _stat(int(name))
            if fields and int(name) == kernel:
                started = fields[_STARTED]
            elif fields:
                below.setdefault(int(fields[_PARENT]), []).append((int(name), fields[_STARTED]))
    family = [Program(kernel, started)] if started else []
    waiting = list(family)
    while waiting:
        parent = waiting.pop()
        children = [Program(*child) for child in below.get(parent.pid, []) if not _is_worker(child[0], parent.pid)]
        family += children
        waiting += children
    return family


def _is_worker(pid: int, parent: int) -> bool:
    line = _read(pid, "cmdline")
    return line == _read(parent, "cmdline") or "multiprocessing" in line


def _listens(pid: int) -> bool:
    caught = [line.split()[1] for line in _read(pid, "status").splitlines() if line.startswith("SigCgt:")]
    return bool(caught) and bool(int(caught[0], 16) & _TERM_BIT)


def _stat(pid: int) -> List[str]:
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    """Return what the system tells of a process; "" when it has ended."""
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
