"""The tables of the ledger file: made, or brought up to date, when it is opened."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

from gpuplug.errors import LedgerError
from gpuplug.ledger import gauges, notices, orders, prices, progress, refusals, traffic, waiting

if TYPE_CHECKING:
    from pathlib import Path

MAY_BILL = "what was rented before may bill on"
_VERSION = 3
_LEASES = """
CREATE TABLE IF NOT EXISTS leases(
  label TEXT PRIMARY KEY, provider TEXT NOT NULL, notebook TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
  gpu TEXT NOT NULL, gpu_count INTEGER NOT NULL, machine TEXT NOT NULL, price INTEGER NOT NULL,
  stopped_price INTEGER NOT NULL, host_key TEXT NOT NULL, nonce TEXT NOT NULL, lease_s INTEGER NOT NULL,
  hard_s INTEGER NOT NULL, created REAL NOT NULL, instance_id TEXT NOT NULL, rotated INTEGER NOT NULL,
  simulated INTEGER NOT NULL, ended REAL, note TEXT NOT NULL, sent_key TEXT NOT NULL, vram_mb INTEGER NOT NULL,
  cuda TEXT NOT NULL, bid INTEGER NOT NULL, rates TEXT NOT NULL, contact REAL, busy INTEGER NOT NULL DEFAULT 0,
  begun REAL, owner TEXT NOT NULL DEFAULT '', token TEXT NOT NULL DEFAULT '', expires REAL NOT NULL DEFAULT 0) STRICT;
CREATE INDEX IF NOT EXISTS leases_by_state ON leases(state);
CREATE TABLE IF NOT EXISTS cells(
  id TEXT PRIMARY KEY, label TEXT NOT NULL, notebook TEXT NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL,
  cost INTEGER NOT NULL, status TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS bad_hosts(
  provider TEXT NOT NULL, machine TEXT NOT NULL, since REAL NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY(provider, machine)) STRICT;
"""
# What a ledger of each version lacks of the next one; a row of old knows nothing of contacts.
_MIGRATIONS = {
    2: """
ALTER TABLE leases ADD COLUMN contact REAL;
ALTER TABLE leases ADD COLUMN busy INTEGER NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN begun REAL;
ALTER TABLE leases ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE leases ADD COLUMN token TEXT NOT NULL DEFAULT '';
ALTER TABLE leases ADD COLUMN expires REAL NOT NULL DEFAULT 0;
""",
}
_PAGES = (prices, orders, notices, gauges, traffic, refusals, waiting, progress)
_SCHEMA = _LEASES + "".join(page.SCHEMA for page in _PAGES)
_NAMES = frozenset(re.findall(r"CREATE (?:TABLE|INDEX) IF NOT EXISTS (\w+)", _SCHEMA))


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring those of an older version up to date; of two processes one does it.

    Nothing is written where all is there: whoever opens the ledger waits for nobody who writes.

    Raises:
        LedgerError: it is of a version that this one cannot use.
        sqlite3.Error: it lacks something and cannot be written, or it is damaged.
    """
    version = _version(connection)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        if version == _VERSION and _has_all(connection):
            return
        connection.execute("BEGIN IMMEDIATE")
        _migrate(connection, path)
        connection.execute("COMMIT")
    except sqlite3.OperationalError:
        # Read-only, full or held by another process: what is there can be read all the same, and who writes is told.
        if version != _VERSION:
            raise
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _has_all(connection: sqlite3.Connection) -> bool:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")} >= _NAMES


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version > _VERSION:
        raise LedgerError(
            f"the ledger {path} was written by a newer gpuplug (schema {version})",
            billing=MAY_BILL,
            hint="pip install -U gpuplug",
        )
    if version and version < min(_MIGRATIONS):
        raise LedgerError(
            f"the ledger {path} is of a time before the first release (schema {version})",
            billing=MAY_BILL,
            hint="move it away to start a new one",
        )
    for older in range(version or _VERSION, _VERSION):
        for statement in _MIGRATIONS[older].split(";"):
            connection.execute(statement)
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={_VERSION}")
