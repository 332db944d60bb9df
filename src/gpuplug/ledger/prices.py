"""Prices in the ledger: what each market showed last, who may ask it now, and how prices went.

A `source` is one market at one address, so that a make-believe market never mixes with a real one.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gpuplug.ledger.pages import Pages
from gpuplug.types import Money

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

SCHEMA = """
CREATE TABLE IF NOT EXISTS seen_offers(
  source TEXT NOT NULL, query TEXT NOT NULL, taken REAL NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY(source, query)) STRICT;
CREATE TABLE IF NOT EXISTS pollers(
  source TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS polls(source TEXT NOT NULL, at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS price_samples(
  source TEXT NOT NULL, gpu TEXT NOT NULL, cloud TEXT NOT NULL, spot INTEGER NOT NULL, span INTEGER NOT NULL,
  at INTEGER NOT NULL, low INTEGER NOT NULL, median INTEGER NOT NULL, offers INTEGER NOT NULL,
  PRIMARY KEY(source, gpu, cloud, spot, span, at)) STRICT, WITHOUT ROWID;
"""
POLL_S = 40.0  # longer than any search may block
HOLD_S = 600.0  # nobody is kept from asking for longer, whatever the market or a clock says
_KEPT_S = 86_400.0
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
# Samples of one length of time become one of the next when they are so old.
_THINNED = ((_MINUTE, _HOUR, _DAY), (_HOUR, _DAY, 30 * _DAY))


@dataclass(frozen=True, slots=True)
class Sample:
    """Prices per GPU and hour in one stretch of time: the lowest, the median, and of how many offers.

    `at` is the beginning in seconds since 1970; `span` is 60 for a day, 3600 for thirty days, 86400 beyond.
    """

    gpu: str
    cloud: str
    spot: bool
    at: int
    low: Money
    median: Money
    offers: int
    span: int = _MINUTE


class Seen(NamedTuple):
    """What a market showed at `taken`, in seconds since 1970."""

    taken: float
    body: bytes


class PriceBook(Pages):
    """The ledger's pages about prices."""

    def taken(self, source: str, query: str) -> float | None:
        """Return when `source` was last asked this; None when it never was."""
        rows = self._reading("SELECT taken FROM seen_offers WHERE source=? AND query=?", source, query)
        return float(rows[0][0]) if rows else None

    def seen(self, source: str, query: str) -> Seen | None:
        """Return what `source` showed when it was last asked this."""
        rows = self._reading("SELECT taken, body FROM seen_offers WHERE source=? AND query=?", source, query)
        return Seen(*rows[0]) if rows else None

    def take_turn(self, source: str, holder: str, now: float, pace: tuple[int, float], searches: int) -> float:
        """Take the lease to ask `source` for `searches` searches; returns 0.0, or after how many seconds to try again.

        `pace` is how many searches all processes together may make in how many seconds; (0, 0) is no limit. A holder
        that died loses the lease after `POLL_S`.
        """
        with self._writing() as connection:
            row = connection.execute("SELECT until FROM pollers WHERE source=?", (source,)).fetchone()
            if row and now < row[0] <= now + HOLD_S:
                return float(row[0]) - now
            wait = _pace_wait(connection, source, now, pace, searches)
            if wait > 0:
                return wait
            connection.execute("INSERT OR REPLACE INTO pollers VALUES(?,?,?)", (source, holder, now + POLL_S))
            connection.executemany("INSERT INTO polls VALUES(?,?)", [(source, now)] * searches)
        return 0.0

    def store(self, source: str, query: str, seen: Seen, samples: Iterable[Sample]) -> None:
        """Keep what `source` showed, and the samples for the history. May be repeated."""
        with self._writing() as connection:
            connection.execute("DELETE FROM seen_offers WHERE taken < ?", (seen.taken - _KEPT_S,))
            connection.execute("INSERT OR REPLACE INTO seen_offers VALUES(?,?,?,?)", (source, query, *seen))
            rows = [_to_row(source, sample) for sample in samples]
            if rows:
                connection.executemany("INSERT OR REPLACE INTO price_samples VALUES(?,?,?,?,?,?,?,?,?)", rows)
                for span, wider, age in _THINNED:
                    _thin(connection, span, wider, int(seen.taken) - age)

    def end_turn(self, source: str, holder: str, until: float = 0.0) -> None:
        """Give the lease back; with `until` (at most `HOLD_S` away) nobody may ask before it. May be repeated."""
        with self._writing() as connection:
            if until:
                connection.execute("UPDATE pollers SET until=? WHERE source=? AND holder=?", (until, source, holder))
            else:
                connection.execute("DELETE FROM pollers WHERE source=? AND holder=?", (source, holder))

    def history(self, source: str, since: float = 0.0) -> list[Sample]:
        """Return the samples of `source` since `since`, oldest first."""
        rows = self._reading(
            "SELECT gpu, cloud, spot, at, low, median, offers, span FROM price_samples"
            " WHERE source=? AND at>=? ORDER BY gpu, cloud, spot, at",
            source,
            since,
        )
        return [
            Sample(gpu, cloud, bool(spot), at, Money(low), Money(median), offers, span)
            for gpu, cloud, spot, at, low, median, offers, span in rows
        ]


def _pace_wait(
    connection: sqlite3.Connection, source: str, now: float, pace: tuple[int, float], searches: int
) -> float:
    """Return the seconds until `searches` more are within the pace; forgets what no longer counts, or lies ahead."""
    most, window = pace
    connection.execute("DELETE FROM polls WHERE source=? AND (at <= ? OR at > ?)", (source, now - window, now))
    if not most:
        return 0.0
    times = [at for (at,) in connection.execute("SELECT at FROM polls WHERE source=? ORDER BY at", (source,))]
    over = len(times) + min(searches, most) - most
    return float(times[over - 1]) + window - now if over > 0 else 0.0


def _thin(connection: sqlite3.Connection, span: int, wider: int, before: int) -> None:
    """Make one sample of each whole stretch of `wider` seconds that ended before `before`."""
    edge = before // wider * wider
    rows = connection.execute(
        "SELECT source, gpu, cloud, spot, at/?*?, low, median, offers FROM price_samples WHERE span=? AND at<?",
        (wider, wider, span, edge),
    ).fetchall()
    if not rows:
        return
    groups: dict[tuple[Any, ...], list[tuple[int, int, int]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[:5]), []).append(tuple(row[5:]))
    merged = [
        (
            *group[:4],
            wider,
            group[4],
            min(low for low, _, _ in values),
            statistics.median_low(median for _, median, _ in values),
            max(offers for _, _, offers in values),
        )
        for group, values in groups.items()
    ]
    connection.executemany("INSERT OR REPLACE INTO price_samples VALUES(?,?,?,?,?,?,?,?,?)", merged)
    connection.execute("DELETE FROM price_samples WHERE span=? AND at<?", (span, edge))


def _to_row(source: str, sample: Sample) -> tuple[object, ...]:
    at = sample.at // sample.span * sample.span
    facts = (sample.gpu, sample.cloud, int(sample.spot), sample.span, at)
    return (source, *facts, sample.low.micros, sample.median.micros, sample.offers)
