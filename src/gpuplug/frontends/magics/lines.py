"""gpuplug's own lines about a cell, kept apart from what the cell prints: dim in a notebook, on stderr in a terminal."""

from __future__ import annotations

import html
import os
import re
import shutil
import sys
from typing import Any, Protocol, TextIO

from IPython.display import display

# JupyterLab begins plain text one character to the right of HTML; so does this.
_DIM = "margin: 0; padding-left: 1ch; font-size: 93%; opacity: 0.65; white-space: pre-wrap"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def without_colour(text: str) -> str:
    """Return the text without the codes that colour it."""
    return _COLOUR.sub("", text)


def takes_codes(stream: TextIO) -> bool:
    """Tell whether `stream` is a terminal that colours and redraws, and the user has nothing against it."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Lines(Protocol):
    """Where the lines go; `redraws` says whether the line of phases can still change when the cell has shown something."""

    redraws: bool

    def phases(self, text: str, *, ended: bool) -> None:
        """Draw or redraw the line of phases; `ended` when nobody waits any more."""
        ...

    def say(self, text: str) -> None:
        """Add one line."""
        ...

    def part(self) -> None:
        """Leave the lines so far: the cell is about to show something of its own."""
        ...

    def wrote(self, stream: TextIO, text: str) -> None:
        """Take note that the cell wrote `text` to `stream`."""
        ...

    def forget(self) -> None:
        """Take the lines as removed from the page."""
        ...


class _Block:
    """Lines that stand together in one output, changed in place."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._handle: Any = None

    def show(self) -> None:
        text = "\n".join(self.lines)
        markup = html.escape(without_colour(text))
        data = {"text/plain": text, "text/html": f'<pre style="{_DIM}">{markup}</pre>'}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class PageLines:
    """Lines in a notebook page: neighbours share one output, and the line of phases is redrawn where it stands."""

    redraws = True

    def __init__(self) -> None:
        self._head: _Block | None = None
        self._last: _Block | None = None

    def phases(self, text: str, *, ended: bool) -> None:  # noqa: ARG002 - a page can always be redrawn
        """Draw the line of phases as the first of its block."""
        if self._head is None:
            self._head = self._last = self._last or _Block()
            self._head.lines.insert(0, text)
        self._head.lines[0] = text
        self._head.show()

    def say(self, text: str) -> None:
        """Add a line to the block that ends the page now."""
        self._last = self._last or _Block()
        self._last.lines.append(text)
        self._last.show()

    def part(self) -> None:
        """Have the next line begin a new block, below the cell's output."""
        self._last = None

    def wrote(self, stream: TextIO, text: str) -> None:
        """Nothing to do: a page keeps what is printed and what is displayed apart."""

    def forget(self) -> None:
        """Forget both blocks: the cell has cleared its output."""
        self._head = self._last = None


class TerminalLines:
    """Lines on stderr; the line of phases is redrawn by a carriage return where the terminal can do that.

    Where it cannot, that line is written when it has ended, and what is said meanwhile stands below it.
    """

    redraws = False

    def __init__(self) -> None:
        self._in_place = takes_codes(sys.stderr)
        self._open = False
        self._width = 0
        self._held: list[str] = []
        self._mid_line = False

    def phases(self, text: str, *, ended: bool) -> None:
        """Redraw the line; where that cannot be done write it once, when it has ended."""
        if ended and not self._open:
            return
        if not self._open:
            self._end_line()
        if self._in_place:
            shown = text[: shutil.get_terminal_size().columns - 1]
            self._write("\r" + shown.ljust(self._width))
            self._width = len(shown)
        elif ended:
            self._write(text + "\n")
        self._open = not ended
        if ended:
            self.part()

    def say(self, text: str) -> None:
        """Write one line below the line of phases."""
        if self._open and not self._in_place:
            self._held.append(text)
            return
        self._end_line()
        self._write(text + "\n")

    def part(self) -> None:
        """End the line that is being redrawn, and write what waits for it."""
        if self._width:
            self._write("\n")
        self._width = 0
        self._mid_line = False
        for text in self._held:
            self._write(text + "\n")
        self._held.clear()

    def wrote(self, stream: TextIO, text: str) -> None:
        """Remember whether the cell has left the terminal in the middle of a line."""
        self._mid_line = stream.isatty() and not text.endswith("\n")

    def _end_line(self) -> None:
        if self._mid_line:
            sys.stdout.flush()
            self._write("\n")
        self.part()

    def forget(self) -> None:
        """Leave everything: what a terminal has shown stays."""

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
