"""How far a cell is, noted in the ledger for whoever looks from another process; a short cell is not noted."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from gpuplug.errors import LedgerError
from gpuplug.ledger import Progress

if TYPE_CHECKING:
    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Ledger
    from gpuplug.outputs import SafeBundle
    from gpuplug.types import Clock

FIRST_S = 2.0  # a cell that is over by then is not worth a note
PAUSE_S = 3.0
SHIP, WAIT = "ship", "wait"
_LINE = 200
_TAIL = 1000
_BREAKS = re.compile(r"[\r\n]+")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


class Notes:
    """What the cell at hand does; written down every few seconds while it changes.

    `began` is when everything was there, in seconds since 1970; from then on it may run, whatever becomes of this process.

    Used by the thread that runs the cell. A ledger that cannot be written stops no cell.
    """

    def __init__(self, ledger: Ledger, clock: Clock, label: str, cell: str) -> None:
        self._ledger, self._clock = ledger, clock
        self.cell = cell
        self._label = label
        self._due = clock.monotonic() + FIRST_S
        self._phase, self._done, self._total, self._tail = "", 0, 0, ""
        self.began = 0.0
        self._kept: tuple[object, ...] = ()

    @property
    def phase(self) -> str:
        """What it does now; empty before it does anything."""
        return self._phase

    def begin(self, phase: str) -> None:
        """Note that it has come to `phase`."""
        if phase != self._phase:
            self._phase, self._done, self._total = phase, 0, 0

    def arrived(self) -> None:
        """Note that everything is there: the instance is in use, and not left alone should this process die."""
        self.begin(WAIT)
        self.began = self._clock.now().timestamp()
        self._ledger.touch(self._label, 1, durable=False)

    def moved(self, done: int, total: int) -> None:
        """Note the bytes of the phase at hand."""
        self._done, self._total = done, total
        self.keep()

    def text(self, text: str) -> None:
        """Note what it has shown; already safe."""
        self._tail = (self._tail + text[-_TAIL:])[-_TAIL:]

    def keep(self) -> None:
        """Write it down when it has changed and the last time was some seconds ago; else this costs next to nothing."""
        now = self._clock.monotonic()
        if now < self._due:
            return
        self._due = now + PAUSE_S
        shown = (self._phase, self._done, self._total, _last_line(self._tail))
        if shown == self._kept:
            return
        with contextlib.suppress(LedgerError):  # nothing but a display is older for it
            self._ledger.progress.keep(self._label, Progress(self.cell, self._clock.now().timestamp(), *shown))
            self._kept = shown


def _last_line(text: str) -> str:
    """Return the last line with something on it, as a bar that redraws itself leaves it."""
    lines = (_COLOUR.sub("", line).strip() for line in reversed(_BREAKS.split(text)))
    return next((line[:_LINE] for line in lines if line), "")


class Watched:
    """A front end whose cell is noted while it is shown: a `Talk` that passes everything on."""

    def __init__(self, talk: Talk, notes: Notes) -> None:
        self._talk = talk
        self.notes = notes

    @property
    def can_ask(self) -> bool:
        """Whether a person can answer now."""
        return self._talk.can_ask

    def phase(self, name: str, detail: str = "") -> None:
        """Begin a phase."""
        self.notes.begin(name)
        self._talk.phase(name, detail)

    def progress(self, done: int, total: int, rate: float) -> None:
        """Show and note the bytes of the phase at hand."""
        self.notes.moved(done, total)
        self._talk.progress(done, total, rate)

    def note(self, text: str) -> None:
        """Say one thing."""
        self._talk.note(text)

    def ask(self, question: str) -> bool:
        """Ask yes or no."""
        return self._talk.ask(question)

    def read_input(self, prompt: str, *, password: bool) -> str | None:
        """Answer the cell's `input()`."""
        return self._talk.read_input(prompt, password=password)

    def stream(self, name: str, text: str) -> None:
        """Show and note text."""
        self.notes.text(text)
        self._talk.stream(name, text)

    def display(self, bundle: SafeBundle, display_id: str | None, *, update: bool) -> None:
        """Show rich output."""
        self._talk.display(bundle, display_id, update=update)

    def result(self, bundle: SafeBundle) -> None:
        """Show the value of the cell's last expression."""
        self._talk.result(bundle)

    def clear(self, *, wait: bool) -> None:
        """Remove what the cell has shown."""
        self._talk.clear(wait=wait)

    def cost(self, line: str) -> None:
        """Show the cost line."""
        self._talk.cost(line)
