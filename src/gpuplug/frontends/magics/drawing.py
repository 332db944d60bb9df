"""Draws a job into the cell that runs it. Called from the main thread only."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Any

from IPython.display import clear_output, publish_display_data

from gpuplug.frontends.magics.lines import Lines, PageLines, TerminalLines
from gpuplug.frontends.magics.phases import RUN, Phases

if TYPE_CHECKING:
    from gpuplug.outputs import SafeBundle
    from gpuplug.types import Clock

_FLUSH_S = 0.05
_REDRAW_S = 0.2
_UNWATCHED = frozenset({RUN, "home"})  # a cell that waits for nothing else has no line of phases


class Shown:
    """The value of a remote cell's last expression, as `Out[n]` keeps it: what may be shown, not the object."""

    def __init__(self, bundle: SafeBundle) -> None:
        self._bundle = bundle

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401, ARG002
        return dict(self._bundle.data), dict(self._bundle.metadata)

    def __repr__(self) -> str:
        return str(self._bundle.data.get("text/plain", "<remote value>"))


class Drawing:
    """One cell's output area: the line of phases, notes, the streamed output, the cost line."""

    def __init__(self, shell: Any, clock: Clock, *, quiet: bool) -> None:  # noqa: ANN401 - IPython carries no types
        self._shell = shell
        self._clock = clock
        self._quiet = quiet
        self._kernel = getattr(shell, "kernel", None)
        self._lines: Lines = TerminalLines() if self._kernel is None else PageLines()
        self._phases = Phases()
        self._watched = False
        self._drawn = 0.0
        self._flushed = 0.0

    @property
    def can_ask(self) -> bool:
        """Whether a person can answer now: a front end that allows input, or a terminal."""
        if self._kernel is not None:
            return bool(getattr(self._kernel, "_allow_stdin", False))
        return sys.stdin is not None and sys.stdin.isatty()

    def phase(self, name: str, detail: str = "") -> None:
        """Begin a phase; the line is redrawn at most five times a second while only the detail changes."""
        now = self._clock.monotonic()
        changed = name != self._phases.current
        self._phases.begin(name, detail, now)
        self._watched = self._watched or name not in _UNWATCHED
        if changed and not self._watched:
            self._drawn = now  # what is over at once is not worth a line, with bytes or without
        if self._watched and (changed or now - self._drawn > _REDRAW_S):
            self._draw(now, ended=name == RUN)

    def progress(self, done: int, total: int, rate: float) -> None:
        """Show the bytes of the phase at hand."""
        now = self._clock.monotonic()
        if now - self._drawn > _REDRAW_S:
            self._watched = True
            self._phases.progress(done, total, rate)
            self._draw(now)

    def note(self, text: str) -> None:
        """Show one line of our own, also when quiet; empty text shows nothing."""
        if text:
            self._lines.say(text)

    def ask(self, question: str) -> bool:
        """Ask until the answer is yes or no; an empty answer is no."""
        self._lines.part()
        while True:
            answer = input(f"{question} [y/N] ").strip().casefold()
            if answer in {"y", "yes"}:
                return True
            if answer in {"", "n", "no"}:
                return False

    def read_input(self, prompt: str, *, password: bool) -> str | None:
        """Answer the remote `input()`; None when nobody can."""
        if not self.can_ask:
            return None
        self._lines.part()
        try:
            return getpass.getpass(prompt) if password else input(prompt)
        except EOFError:
            return None

    def stream(self, name: str, text: str) -> None:
        """Write to this cell's stdout or stderr, and make the front end show it soon."""
        self._lines.part()
        target = sys.stderr if name == "stderr" else sys.stdout
        target.write(text)
        self._lines.wrote(target, text)
        now = self._clock.monotonic()
        if now - self._flushed > _FLUSH_S:
            target.flush()
            self._flushed = now

    def display(self, bundle: SafeBundle, display_id: str | None, *, update: bool) -> None:
        """Show rich output, or change the one shown before under the same id."""
        self._begin_output()
        transient = {"display_id": f"gpuplug-{display_id}"} if display_id else {}
        publish_display_data(dict(bundle.data), dict(bundle.metadata), transient=transient, update=update)

    def result(self, bundle: SafeBundle) -> None:
        """Show the value as `Out[n]` and keep it in the history."""
        self._begin_output()
        self._shell.displayhook(Shown(bundle))

    def clear(self, *, wait: bool) -> None:
        """Remove what the cell has shown, our own lines included."""
        clear_output(wait=wait)
        self._lines.forget()
        self._watched = False

    def cost(self, line: str) -> None:
        """Show the cost line."""
        self.finish()
        if not self._quiet:
            self._lines.say(line)

    def finish(self) -> None:
        """End the last phase and write everything out. May be repeated."""
        if self._phases.current:
            now = self._clock.monotonic()
            self._phases.end(now)
            if self._watched:
                self._draw(now, ended=True)
        self._flush()

    def _draw(self, now: float, *, ended: bool = False) -> None:
        self._drawn = now
        if not self._quiet:
            self._lines.phases(self._phases.text(now, waiting=not ended or self._lines.redraws), ended=ended)

    def _begin_output(self) -> None:
        self._flush()
        self._lines.part()

    def _flush(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
