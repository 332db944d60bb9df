"""What the adapter asks of a machine. It runs there alone, with Python 3.8 or newer and nothing but its library.

The argument is one request in JSON, the answer one line. Every verb but `make` may be repeated.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Set

MARK = "GPUPLUG-SSH "
_ROOT = os.path.join(os.path.expanduser("~"), ".gpuplug")
_INSTANCES = os.path.join(_ROOT, "instances")
_STATE = b"GPUPLUG_STATE="
_SMI_S = 10.0
_TERM_S = 2.0
_END_S = 15.0
_POLL_S = 0.05
_ABOUT_BYTES = 4096


class RefusedError(Exception):
    """Why it cannot be done, in words for people."""


def look() -> Dict[str, Any]:
    """Return the names of the GPUs; none where nvidia-smi is absent or fails."""
    if not os.path.exists("/proc/self/environ"):
        raise RefusedError("it is no Linux with /proc, where the end of every process can be proven")
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SMI_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {"gpus": []}
    return {"gpus": done.stdout.decode("utf-8", "replace").splitlines()}


def make(label: str, about: Dict[str, Any], lease_s: int) -> Dict[str, Any]:
    """Make the folder of an instance; it appears whole or not at all."""
    if os.path.lexists(_folder(label)):
        raise RefusedError(f"{_folder(label)} is there already")
    part = _part(label)
    os.makedirs(os.path.join(part, "state", "switch"), 0o700)
    _write(os.path.join(part, "state", "switch", "lease"), str(lease_s))
    _write(os.path.join(part, "about"), json.dumps(about))
    os.rename(part, _folder(label))
    return {}


def instances(prefix: str) -> Dict[str, Any]:
    """Return name and description of each instance whose name begins so."""
    try:
        names = sorted(os.listdir(_INSTANCES))
    except FileNotFoundError:
        return {"instances": []}
    return {"instances": [[name, _about(name)] for name in names if name.startswith(prefix) and _is_one(name)]}


def end(label: str) -> Dict[str, Any]:
    """End every process of the instance, then remove its folder; nothing happens when there is none."""
    folder = _folder(label)
    if _is_one(label):
        # Who attaches from now on is refused, so that nothing starts behind our back.
        _write(os.path.join(folder, "ending"), "")
        _end_processes(os.path.join(folder, "state"))
        shutil.rmtree(folder)
    if os.path.isdir(_part(label)):
        shutil.rmtree(_part(label))  # a launch was cut off
    for path in (_INSTANCES, _ROOT):
        with contextlib.suppress(OSError):  # something else is in there
            os.rmdir(path)
    return {}


def _end_processes(state: str) -> None:
    began = time.monotonic()
    while True:
        left = _processes(os.path.realpath(state))
        if not left:
            return
        passed = time.monotonic() - began
        if passed > _END_S:
            raise RefusedError(f"process {min(left)} does not end")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if passed < _TERM_S else signal.SIGKILL)
        time.sleep(_POLL_S)


def _processes(state: str) -> Set[int]:
    """Return who was started with that state folder in its variables, and who belongs to the session of one of those."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    found = {pid for pid in pids if state in _states(pid)}
    for pid in pids:
        with contextlib.suppress(OSError):
            if os.getsid(pid) in found:
                found.add(pid)
    return {pid for pid in found if not _is_over(pid)}


def _states(pid: int) -> List[str]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return []  # another user's, or it has just ended
    return [os.path.realpath(os.fsdecode(one[len(_STATE) :])) for one in variables if one.startswith(_STATE)]


def _is_over(pid: int) -> bool:
    """Tell whether it only waits to be collected."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _folder(label: str) -> str:
    return os.path.join(_INSTANCES, label)


def _part(label: str) -> str:
    return os.path.join(_INSTANCES, "." + label + ".new")


def _is_one(name: str) -> bool:
    return os.path.isdir(_folder(name)) and not os.path.islink(_folder(name))


def _about(name: str) -> str:
    try:
        with open(os.path.join(_folder(name), "about"), encoding="utf-8", errors="replace") as file:
            return file.read(_ABOUT_BYTES)
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


VERBS: Dict[str, Callable[..., Dict[str, Any]]] = {"look": look, "make": make, "instances": instances, "end": end}


def main() -> None:
    """Answer the request in `argv[1]`."""
    os.umask(0o077)
    request = json.loads(sys.argv[1])
    try:
        answer = VERBS[request.pop("verb")](**request)
    except RefusedError as refusal:
        answer = {"error": str(refusal)}
    except OSError as error:
        answer = {"error": f"{error.strerror}: {error.filename}"}
    sys.stdout.write(MARK + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
