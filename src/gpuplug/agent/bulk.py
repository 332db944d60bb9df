"""The requests of the bulk stream, for one kernel; docs/protocol.md, section 4."""

import json
import os
from typing import Callable, Dict, Optional, Tuple

from . import wire
from .environment import Python
from .files import FileStore
from .gauges import Gauges
from .probe import probe
from .runner import Runner, is_id
from .snapshot import Snapshot
from .staging import FileError
from .switch import Switch, terms_in, uptime

Answer = Tuple[wire.Header, bytes]

PIECE = 1 << 20


class Bulk:
    """Answers requests. `handle` may be called from a worker thread for those in `slow`, from the loop for the rest.

    Args:
        runner: the kernel.
        switch: what the instance's end is decided by.
        python: what the kernel runs on.
        busy: returns how many cells run or wait in all kernels.
        gauges: tells how the GPUs are doing.
    """

    slow = frozenset(("probe", "manifest", "put", "commit", "hash", "get", "list"))

    def __init__(self, runner: Runner, switch: Switch, python: Python, busy: Callable[[], int], gauges: Gauges) -> None:
        self._runner = runner
        self._switch = switch
        self._python = python
        self._busy = busy
        self._gauges = gauges
        self._files = FileStore(runner.work, runner.folder)
        self._quick: Dict[str, Callable[[wire.Header, bytes], Answer]] = {
            "ping": self._ping,
            "terms": self._terms,
            "unfetched": self._unfetched,
            "fetched": self._fetched,
            "value_put": self._value_put,
            "value_get": self._value_get,
        }

    def handle(self, header: wire.Header, payload: bytes) -> Answer:
        """Return the answer, also when the request is refused."""
        try:
            answer, content = self._answer(str(header.get("op")), header, payload)
        except FileError as error:
            answer, content = {**error.extra, "ok": False, "error": error.code, "message": error.message}, b""
        except OSError as error:
            answer, content = {"ok": False, "error": "os", "message": str(error)}, b""
        except (KeyError, TypeError, ValueError) as error:
            answer, content = {"ok": False, "error": "bad_request", "message": repr(error)}, b""
        return {"ok": True, **answer, "id": header.get("id")}, content

    def _answer(self, op: str, header: wire.Header, payload: bytes) -> Answer:
        if op in self._quick:
            return self._quick[op](header, payload)
        if op == "probe":
            return probe(self._python, self._runner.work), b""
        return self._files.handle(op, header, payload)

    def shipped(self, header: wire.Header, answer: wire.Header) -> Optional[Snapshot]:
        """Return the files as they are now that a `commit` has put in place; None for anything else."""
        if header.get("op") != "commit" or not answer["ok"]:
            return None
        return self._files.shipped

    def note_shipped(self, shipped: Optional[Snapshot]) -> None:
        """Tell the kernel's runner; called in the loop."""
        if shipped:
            self._runner.note_shipped(shipped)

    def _ping(self, _header: wire.Header, _payload: bytes) -> Answer:
        self._switch.contact()
        return {
            "uptime": uptime(),
            "busy": self._busy(),
            "switch": self._switch.state(),
            "beat_age": self._switch.beat_age(),
            "lease_left": self._switch.lease_left(),
            "unfetched": self._switch.unfetched.count(),
            "gauges": self._gauges.read(),
        }, b""

    def _terms(self, header: wire.Header, _payload: bytes) -> Answer:
        self._switch.set_terms(terms_in(header))
        return {}, b""

    def _unfetched(self, _header: wire.Header, _payload: bytes) -> Answer:
        return {}, json.dumps(self._switch.unfetched.cells(self._runner.folder)).encode()

    def _fetched(self, header: wire.Header, _payload: bytes) -> Answer:
        if not is_id(header["cell"]):
            raise ValueError(f"{header['cell']!r} is no id of a cell")
        self._switch.unfetched.fetched(self._runner.folder, header["cell"])
        return {}, b""

    def _value_put(self, header: wire.Header, payload: bytes) -> Answer:
        name, offset, total = _name(header["name"]), _count(header["offset"]), _count(header["total"])
        if len(payload) > PIECE or offset + len(payload) > total:
            raise ValueError(f"{len(payload)} bytes at {offset} of {total}")
        path = os.path.join(self._runner.folder, "values", "in", name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        part = path + ".part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if offset == 0 else 0), 0o600)
        with os.fdopen(fd, "wb") as file:
            if os.fstat(fd).st_size < offset:
                raise ValueError(f"a piece before {offset} is missing")
            file.seek(offset)
            file.write(payload)
        if offset + len(payload) == total:
            os.replace(part, path)
        return {}, b""

    def _value_get(self, header: wire.Header, _payload: bytes) -> Answer:
        cell, name = header["cell"], _name(header["name"])
        offset, length = _count(header["offset"]), _count(header["length"])
        if not is_id(cell) or length > PIECE:
            raise ValueError(f"cell {cell!r}, {length} bytes")
        with open(os.path.join(self._runner.folder, "values", "out", cell, name), "rb") as file:
            file.seek(offset)
            return {}, file.read(length)


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.isidentifier():
        raise ValueError(f"{value!r} is no name of a variable")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
