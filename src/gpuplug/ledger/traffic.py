"""The bytes that passed between this computer and each instance, and what its host bills for them.

Written only for hosts that bill bytes, in the transactions that note a contact, and summed by the quarter of an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from gpuplug.ledger.pages import Pages
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS byte_prices(label TEXT PRIMARY KEY, sent INTEGER NOT NULL, fetched INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS traffic(
  label TEXT NOT NULL, at REAL NOT NULL, sent INTEGER NOT NULL, fetched INTEGER NOT NULL,
  PRIMARY KEY(label, at)) STRICT, WITHOUT ROWID;
"""
_TOLLS = "SELECT label, at, t.sent, t.fetched, p.sent, p.fetched FROM traffic t JOIN byte_prices p USING(label)"
BYTES_PER_GB = 10**9
_SPAN_S = 900.0  # days and months begin with such a span in every time zone


class Passed(NamedTuple):
    """Bytes that were sent to an instance and fetched from it."""

    sent: int = 0
    fetched: int = 0


@dataclass(frozen=True, slots=True)
class BytePrices:
    """What a host bills for 10^9 bytes, each way."""

    sent: Money = ZERO
    fetched: Money = ZERO

    def cost(self, passed: Passed) -> Money:
        """Return the price of these bytes."""
        return in_money(self.sent.micros * passed.sent + self.fetched.micros * passed.fetched)


class Toll(NamedTuple):
    """What the bytes of the time from `at` on cost, in micro-dollars times `BYTES_PER_GB`."""

    at: float
    exact: int


def in_money(exact: int) -> Money:
    """Return an exact sum as money."""
    return Money(round(Fraction(exact, BYTES_PER_GB)))


class TrafficBook(Pages):
    """The ledger's pages about bytes."""

    def agree(self, label: str, prices: BytePrices) -> None:
        """Write down what the host of the instance called `label` bills for bytes. May be repeated."""
        with self._writing() as connection:
            row = (label, prices.sent.micros, prices.fetched.micros)
            connection.execute("INSERT OR REPLACE INTO byte_prices VALUES(?,?,?)", row)

    def prices(self, label: str) -> BytePrices:
        """Return what its host bills for bytes; nothing where that was never written down."""
        rows = self._reading("SELECT sent, fetched FROM byte_prices WHERE label=?", label)
        return BytePrices(Money(rows[0][0]), Money(rows[0][1])) if rows else BytePrices()

    def keep(self, label: str, passed: Passed, at: float) -> None:
        """Add bytes, where they cost anything."""
        if any(passed) and self.prices(label) != BytePrices():
            with self._writing() as connection:
                add(connection, label, passed, at)

    def tolls(self, label: str | None = None) -> dict[str, tuple[Toll, ...]]:
        """Return what the bytes of each lease, or of one, have cost and when."""
        rows = self._reading(_TOLLS) if label is None else self._reading(f"{_TOLLS} WHERE label=?", label)
        found: dict[str, list[Toll]] = {}
        for own, at, sent, fetched, sent_price, fetched_price in rows:
            found.setdefault(own, []).append(Toll(at, sent * sent_price + fetched * fetched_price))
        return {own: tuple(tolls) for own, tolls in found.items()}


def span(now: float) -> float:
    """Return the moment that the bytes of now are written under, so that a day has no more than 96."""
    return now // _SPAN_S * _SPAN_S


def add(connection: sqlite3.Connection, label: str, passed: Passed, at: float) -> None:
    """Add bytes within a transaction; nothing is written of a host that bills none."""
    if any(passed):
        connection.execute(
            "INSERT INTO traffic SELECT label, ?, ?, ? FROM byte_prices WHERE label=?"
            " ON CONFLICT(label, at) DO UPDATE SET sent=sent+excluded.sent, fetched=fetched+excluded.fetched",
            (at, *passed, label),
        )
