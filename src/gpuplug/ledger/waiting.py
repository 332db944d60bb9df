"""Cells whose results may wait on an instance, and how much may be spent until somebody fetches them."""

from __future__ import annotations

from dataclasses import dataclass

from gpuplug.ledger.pages import Pages
from gpuplug.types import Money

SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting(
  cell TEXT PRIMARY KEY, label TEXT NOT NULL, before INTEGER NOT NULL, budget INTEGER NOT NULL,
  rests_since REAL, given_up INTEGER NOT NULL DEFAULT 0) STRICT;
"""
_WAITS, _GIVEN_UP, _TOLD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the results of a cell may cost: `budget` beyond what the instance had cost `before` the cell began.

    `rests_since` is when the instance was first seen to rest with them, in seconds since 1970.
    """

    before: Money
    budget: Money
    rests_since: float | None = None

    @property
    def most(self) -> Money:
        """What the instance may have cost in all."""
        return self.before + self.budget


class WaitingBook(Pages):
    """The ledger's page about results that nobody has fetched."""

    def expect(self, cell: str, label: str, allowance: Allowance) -> None:
        """Write down that `cell` begins on the instance called `label`: from now on its results may wait there."""
        row = (cell, label, allowance.before.micros, allowance.budget.micros, None, _WAITS)
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO waiting VALUES(?,?,?,?,?,?)", row)

    def rests(self, label: str, since: float | None) -> None:
        """Write down since when an instance is seen to rest with what waits there; None: it runs again."""
        with self._writing() as connection:
            connection.execute("UPDATE waiting SET rests_since=? WHERE label=?", (since, label))

    def fetched(self, cell: str) -> None:
        """Forget a cell: its results are where they are wanted. May be repeated."""
        with self._writing() as connection:
            connection.execute("DELETE FROM waiting WHERE cell=?", (cell,))

    def allowance(self, label: str) -> Allowance | None:
        """Return what the results that wait on an instance may cost, the largest of several; None when none are known."""
        query = "SELECT before, budget, rests_since FROM waiting WHERE label=? ORDER BY before + budget DESC LIMIT 1"
        rows = self._reading(query, label)
        return Allowance(Money(rows[0][0]), Money(rows[0][1]), rows[0][2]) if rows else None

    def give_up(self, label: str) -> None:
        """Write down that the results on an instance are lost with it, because nothing is left to be spent on them."""
        with self._writing() as connection:
            connection.execute("UPDATE waiting SET given_up=? WHERE label=?", (_GIVEN_UP, label))

    def given_up(self, *, told: bool = False) -> list[str]:
        """Return the labels of instances whose results were given up and of which nobody was told; with `told` of all."""
        query = "SELECT DISTINCT label FROM waiting WHERE given_up BETWEEN ? AND ? ORDER BY label"
        return [label for (label,) in self._reading(query, _GIVEN_UP, _TOLD if told else _GIVEN_UP)]

    def told(self, label: str) -> None:
        """Write down that a person was told that the results on an instance are lost."""
        with self._writing() as connection:
            connection.execute("UPDATE waiting SET given_up=? WHERE label=? AND given_up>0", (_TOLD, label))
