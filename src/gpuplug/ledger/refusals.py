"""Which platforms refuse the account's key, since when: noted by whichever process asks, for all of them."""

from __future__ import annotations

from typing import NamedTuple

from gpuplug.ledger.pages import Pages

SCHEMA = """
CREATE TABLE IF NOT EXISTS refusals(
  provider TEXT PRIMARY KEY, since REAL NOT NULL, why TEXT NOT NULL, hint TEXT NOT NULL) STRICT;
"""


class Refusal(NamedTuple):
    """A key that is not accepted: since when (seconds since 1970), what the platform says, and what mends it."""

    since: float
    why: str
    hint: str


class RefusalBook(Pages):
    """The ledger's page about refused keys."""

    def of(self, provider: str) -> Refusal | None:
        """Return since when `provider` refuses the key; None when it was accepted last."""
        rows = self._reading("SELECT since, why, hint FROM refusals WHERE provider=?", provider)
        return Refusal(*rows[0]) if rows else None

    def note(self, provider: str, refusal: Refusal) -> None:
        """Write it down unless it is known. May be repeated: the first one counts."""
        if self.of(provider) is None:
            with self._writing() as connection:
                connection.execute("INSERT OR IGNORE INTO refusals VALUES(?,?,?,?)", (provider, *refusal))

    def lift(self, provider: str) -> None:
        """Forget it: the key was accepted. Nothing is written where nothing is known."""
        if self.of(provider) is not None:
            with self._writing() as connection:
                connection.execute("DELETE FROM refusals WHERE provider=?", provider)
