"""A notebook's process for the soak: runs one cell, says how far it is, and idles until its input ends or it is killed.

usage: python soak_client.py FOLDER LINE SECONDS WORD   (one line each for `running`, `done`, `told TEXT`)
"""

from __future__ import annotations

import sys
from pathlib import Path

from engine_kit import Quiet

from gpuplug import config
from gpuplug.engine import Engine

CELL = "import time\ntime.sleep({seconds})\nopen('out.txt', 'w').write({word!r})\nprint({word!r})"


class Saying(Quiet):
    """A front end that says what a test waits for."""

    def phase(self, name: str, detail: str = "") -> None:
        super().phase(name, detail)
        if name == "run":
            say("running")

    def note(self, text: str) -> None:
        super().note(text)
        say("told " + text.replace("\n", " "))


def say(text: str) -> None:
    """Write one line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the cell of argv."""
    folder, line, seconds, word = sys.argv[1:]
    engine = Engine("soak", Path(folder))
    plan = engine.plan(CELL.format(seconds=seconds, word=word), config.parse(line, config.CELL), {})
    engine.run_cell(plan, Saying())
    say("done")
    sys.stdin.read()
    engine.close()


if __name__ == "__main__":
    main()
