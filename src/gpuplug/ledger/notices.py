"""Which warnings about budgets were given, so that each is given once, whichever process notices first."""

from __future__ import annotations

from gpuplug.ledger.pages import Pages

SCHEMA = """
CREATE TABLE IF NOT EXISTS notices(
  budget TEXT NOT NULL, since REAL NOT NULL, level INTEGER NOT NULL, PRIMARY KEY(budget, since, level)) STRICT;
"""


class NoticeBook(Pages):
    """The ledger's page about warnings."""

    def first(self, budget: str, since: float, level: int) -> bool:
        """Tell whether this is the first time that `budget` has reached `level` per cent in the period that began at `since`."""
        with self._writing() as connection:
            row = (budget, since, level)
            return connection.execute("INSERT OR IGNORE INTO notices VALUES(?,?,?)", row).rowcount == 1
