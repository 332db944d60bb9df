"""One kernel as the daemon sees it: cells wait in a queue, run one after the other, and each gets its `done`."""

import collections
import contextlib
import json
import os
import re
import shutil
import time
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Set

from . import saving, snapshot, wire
from .journal import Journal
from .output import Output
from .process import KernelProcess
from .switch import Switch, terms_in
from .tasks import Worker

_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]{1,80}")
_MAX_FILES = 50_000
_LONGEST_SAVE_S = 60.0


def is_id(text: object) -> bool:
    """Tell whether `text` may name a kernel or a cell."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


class Cell(NamedTuple):
    """A cell as the client sent it."""

    id: str
    header: wire.Header
    source: bytes
    terms: Dict[str, Optional[float]]


class End(NamedTuple):
    """How a cell ended; the fields of its `done` event."""

    status: str
    code: Optional[int] = None
    signal: Optional[int] = None


StartProcess = Callable[[Callable[[str, bytes], None], Callable[[wire.Header, bytes], None]], KernelProcess]


class Runner:
    """Runs the cells of one kernel.

    Args:
        folder: the kernel's private folder; `values/in` and `values/out` are in it.
        work: the working folder.
        journal: where the events go.
        worker: what looks for changed files.
        start_process: starts a kernel process, given where its output and its events go.
        switch: is told that a cell has ended, and under which terms one runs.
    """

    def __init__(
        self,
        folder: str,
        work: str,
        journal: Journal,
        worker: Worker,
        start_process: StartProcess,
        switch: Switch,
    ) -> None:
        self.folder = folder
        self.work = work
        self.journal = journal
        self._worker = worker
        self._start_process = start_process
        self._switch = switch
        self._output = Output(journal)
        self._seen: Set[str] = set(journal.done) | set(journal.unfinished)
        self._queue: Deque[Cell] = collections.deque()
        self._cell: Optional[Cell] = None
        self._end: Optional[End] = None
        self._began: Optional[float] = None
        self._interrupt_asked = False
        self._saving = False
        self._savers: List[saving.Program] = []
        self._question = 0
        self._asked = 0
        self._used = False
        # The earlier daemon took its kernel with it; the cells that it broke off say so themselves.
        self._lost_state = journal.end > 0 and not journal.unfinished
        self._process: Optional[KernelProcess] = None
        self._known: snapshot.Snapshot = {}
        for cell in journal.unfinished:
            self._output.owe({"cell": cell, **_done(End("died"), 0.0, restarted=True)})
        worker.submit(lambda: snapshot.snapshot(work), self._take_first_look)

    def _take_first_look(self, found: Optional[snapshot.Snapshot], _error: Optional[Exception]) -> None:
        self._known = {**(found or {}), **self._known}

    @property
    def busy(self) -> int:
        """How many cells run or wait."""
        return len(self._queue) + (self._cell is not None)

    def warm(self) -> None:
        """Start the process if there is none. May be repeated."""
        if self._process is not None:
            return
        self._process = self._start_process(self._output.stream, self._take_event)
        with contextlib.suppress(OSError), open(os.path.join(self.folder, "pid"), "w", encoding="ascii") as file:
            file.write(f"{self._process.pid}\n")  # on a full disk cells run all the same

    def run(self, header: wire.Header, source: bytes) -> None:
        """Queue a cell; one whose id was seen before is ignored.

        Raises:
            wire.WireError: it names terms that are no numbers.
        """
        cell = header.get("cell")
        if not isinstance(cell, str) or not is_id(cell) or cell in self._seen:
            return
        try:
            terms = terms_in(header)
        except (TypeError, ValueError) as error:
            raise wire.WireError(f"the terms of a cell: {error}") from error
        self._seen.add(cell)
        self._queue.append(Cell(cell, header, source, terms))
        self._pin_inputs(cell, header)
        self._next()

    def _pin_inputs(self, cell: str, header: wire.Header) -> None:
        """Keep the values as they are now for this cell: later ones of the same names are for later cells."""
        for name in header.get("inputs") or []:
            if isinstance(name, str) and name.isidentifier():
                source = os.path.join(self.folder, "values", "in", name)
                place = os.path.join(self.folder, "values", "cells", cell, name)
                os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
                with contextlib.suppress(OSError):  # the cell says that it lacks
                    _link(source, place)

    def _next(self) -> None:
        if self._cell is not None or not self._queue:
            return
        cell = self._cell = self._queue.popleft()
        self._end = self._began = None
        self._interrupt_asked = self._saving = False
        try:
            self.warm()
        except OSError as error:
            self._output.begin(cell.id, 0)
            self._output.stream("stderr", f"the kernel process cannot start: {error}\n".encode())
            self._finish(End("died"))
            return
        if self._process is not None:
            kept = {
                name: cell.header.get(name) for name in ("cell", "shell", "inputs", "outputs", "modules", "folders")
            }
            self._process.send({"op": "run", **kept}, cell.source)

    def interrupt(self, cell: object, save_s: object = None) -> None:
        """Interrupt the cell if it runs, drop it if it waits; with `save_s` its programs have so many seconds to save.

        Asking for that again changes nothing.
        """
        if self._cell is not None and self._cell.id == cell:
            if self._began is None:
                self._interrupt_asked = True  # the kernel is still starting
            elif self._process is not None and self._end is None:
                self._stop(self._process, self._cell, save_s)
            return
        for waiting in [each for each in self._queue if each.id == cell]:
            self._queue.remove(waiting)
            self._output.owe({"cell": waiting.id, **_done(End("interrupted"), 0.0, restarted=False)})

    def _stop(self, process: KernelProcess, cell: Cell, save_s: object) -> None:
        if not isinstance(save_s, (int, float)) or not 0 < save_s <= _LONGEST_SAVE_S:
            process.interrupt()
        elif not self._saving:
            self._saving = True
            self._savers = process.save(save_s, lambda: self._cell is cell and self._end is None)

    def wind_up(self, save_s: float) -> None:
        """Drop the cells that wait and stop the one that runs; what earlier cells have left running may save as well."""
        for waiting in list(self._queue):
            self.interrupt(waiting.id)
        if self._cell is not None:
            self.interrupt(self._cell.id, save_s)
        elif self._process is not None:
            self._savers = self._process.save(save_s, lambda: False)

    @property
    def saves(self) -> bool:
        """Whether a cell runs, or programs that were asked to save; the kernel itself only while it runs a cell."""
        kernel = None if self._process is None else self._process.pid
        return bool(self.busy) or any(saving.lives(program) for program in self._savers if program.pid != kernel)

    def answer(self, header: wire.Header) -> None:
        """Pass on the answer to the open question; one to an earlier question is ignored."""
        running = self._cell is not None and self._cell.id == header.get("cell")
        if running and self._question and header.get("seq", self._question) == self._question:
            self._reply(None if header.get("eof") else str(header.get("text", "")))

    def _take_event(self, header: wire.Header, payload: bytes) -> None:
        kind = header.get("kind")
        if kind == "started":
            self._begin(int(header["count"]))
            return
        if self._process is not None:
            self._process.drain()
        if kind == "done":
            self._finish(End(str(header["status"]), header.get("code")))
            return
        if kind == "input_request":
            self._ask(header)
            return
        if kind != "mark":
            with contextlib.suppress(wire.WireError):  # our fields made it too large; the kernel waits all the same
                self._output.event(header, payload)
        if kind != "output" and self._process is not None:
            self._process.ack()

    def _ask(self, header: wire.Header) -> None:
        self._asked = int(header["question"])
        shown = {name: header[name] for name in ("kind", "prompt", "password")}
        self._question = self._output.event(shown, b"")
        if not self._question:  # a thread that asks between two cells: nobody can answer
            self._reply(None)

    def _reply(self, text: Optional[str]) -> None:
        self._question = 0
        if self._process is not None:
            self._process.send({"op": "input", "question": self._asked, "text": text})

    def _begin(self, count: int) -> None:
        if self._cell is None:
            return
        self._began = time.monotonic()
        self._used = True
        with contextlib.suppress(
            OSError
        ):  # on a full disk cells run all the same; the client has a deadline of its own
            self._switch.set_terms(self._cell.terms)
            with contextlib.suppress(ValueError, KeyError, TypeError):  # terms of another version
                self._switch.unfetched.mark(self.folder, self._cell.id, self._cell.header.get("unfetched"))
        self._output.begin(self._cell.id, count)
        if self._interrupt_asked and self._process is not None:
            self._process.interrupt()

    def check(self) -> None:
        """See whether the process has ended; called after SIGCHLD."""
        code = self._process.ended() if self._process is not None else None
        if code is None:
            return
        self._process = None
        self._question = 0
        if self._cell is not None and self._end is None:
            if self._began is None:
                self._begin(0)
            self._finish(End("died", code if code >= 0 else None, -code if code < 0 else None))
        else:
            self._lost_state = self._lost_state or self._used
        self._used = False

    def _finish(self, end: End) -> None:
        if self._cell is None or self._end is not None:
            return
        self._end = end
        if self._question:
            self._reply(None)
        self._worker.submit(lambda: snapshot.snapshot(self.work), self._settle)

    def _settle(self, found: Optional[snapshot.Snapshot], _error: Optional[Exception]) -> None:
        if self._cell is None or self._end is None:
            return
        last: List[Any] = []
        if found is not None:
            changed = snapshot.changed(self._known, found)
            self._known = found
            if changed:
                last.append(({"kind": "files"}, json.dumps(changed[:_MAX_FILES]).encode()))
        seconds = time.monotonic() - self._began if self._began is not None else 0.0
        restarted = self._lost_state or self._end.status == "died"
        last.append((_done(self._end, seconds, restarted=restarted), b""))
        self._output.end(last)
        self._lost_state = False
        died, self._cell = self._end.status == "died", None
        self._switch.set_terms({"budget_s": None})
        self._next()
        if died:
            with contextlib.suppress(OSError):  # the next cell says so
                self.warm()

    def note_shipped(self, shipped: snapshot.Snapshot) -> None:
        """Take these files as known: the client sent them, no cell made them."""
        self._known.update(shipped)

    def settle(self) -> None:
        """Write what a full disk has kept out of the journal."""
        self._output.settle()

    def close(self) -> None:
        """Kill the process; the journal stays."""
        if self._process is not None:
            self._process.stop()
        self.journal.close()


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(source, place)


def _done(end: End, seconds: float, *, restarted: bool) -> Dict[str, Any]:
    return {
        "kind": "done",
        "status": end.status,
        "code": end.code,
        "signal": end.signal,
        "seconds": round(seconds, 6),
        "restarted": restarted,
    }
