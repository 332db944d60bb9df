"""Who runs a cell, and how far it is: for whoever looks from another process."""

from __future__ import annotations

from dataclasses import dataclass

from gpuplug.ledger.pages import Pages

SCHEMA = """
CREATE TABLE IF NOT EXISTS callers(cell TEXT PRIMARY KEY, kernel TEXT NOT NULL, path TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS progress(
  label TEXT PRIMARY KEY, cell TEXT NOT NULL, at REAL NOT NULL, phase TEXT NOT NULL, done INTEGER NOT NULL,
  total INTEGER NOT NULL, line TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Caller:
    """The kernel that runs a cell, by the id that its Jupyter server gave it, and the file of its notebook; "" where not known."""

    kernel: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a cell was seen to do at the moment `at`, in seconds since 1970.

    `done` and `total` are the bytes of the phase, 0 where none pass; `line` is the last one that the cell has shown.
    """

    cell: str
    at: float
    phase: str
    done: int = 0
    total: int = 0
    line: str = ""


class ProgressBook(Pages):
    """The ledger's pages about cells at work; what is written there need not outlive a power cut."""

    def callers(self, since: float) -> dict[str, Caller]:
        """Return who has run the cells that began after `since`, in seconds since 1970."""
        rows = self._reading("SELECT cell, kernel, path FROM callers JOIN cells ON id = cell WHERE started >= ?", since)
        return {cell: Caller(kernel, path) for cell, kernel, path in rows}

    def called_by(self, kernel: str, status: str) -> list[str]:
        """Return the ids of the cells with this status that a kernel has run."""
        query = "SELECT id FROM callers JOIN cells ON id = cell WHERE kernel = ? AND status = ?"
        return [cell for (cell,) in self._reading(query, kernel, status)]

    def keep(self, label: str, progress: Progress) -> None:
        """Write down how far the cell on the instance called `label` is. May be repeated: the last one counts."""
        row = (label, progress.cell, progress.at, progress.phase, progress.done, progress.total, progress.line)
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO progress VALUES(?,?,?,?,?,?,?)", row)

    def all(self) -> dict[str, Progress]:
        """Return what was written last of each instance's cell, by the cell's id."""
        rows = self._reading("SELECT cell, at, phase, done, total, line FROM progress")
        return {row[0]: Progress(*row) for row in rows}
