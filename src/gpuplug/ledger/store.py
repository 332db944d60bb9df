"""Reading and writing the ledger file. A connection per thread; every write is one transaction."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from gpuplug.errors import LedgerError
from gpuplug.ledger import copying, gauges, notices, orders, prices, progress, refusals, schema, traffic, waiting
from gpuplug.ledger.columns import COLUMNS, from_row, plain, to_row
from gpuplug.ledger.rows import FINAL, HOLD_S, CellRow, Lease, State
from gpuplug.types import ZERO, Clock, Money

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gpuplug.ledger.progress import Caller
    from gpuplug.ledger.traffic import Passed

_BUSY_S = 10.0
_MOVABLE = frozenset(COLUMNS) - {"label", "rates"}
# The last column says whether any host bills bytes: most bill none, and then nobody asks for them.
_SELECT = f"SELECT {','.join(COLUMNS)}, EXISTS(SELECT 1 FROM byte_prices) FROM leases"  # noqa: S608 - constants
_FINAL = ",".join(f"'{state.value}'" for state in FINAL)
_OPEN = f"state NOT IN ({_FINAL})"
_WITHOUT_INSTANCE = f"state IN ('{State.INTENT.value}', '{State.UNKNOWN.value}')"


class Ledger:
    """The ledger in `folder/ledger.sqlite3`; opened at first use.

    Raises:
        LedgerError: from every method, when the file cannot be read or written.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.path = folder / "ledger.sqlite3"
        self._clock = clock
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []

    @property
    def exists(self) -> bool:
        """Whether anything was ever written; reading an absent ledger costs nothing."""
        return self.path.exists()

    def version(self) -> tuple[int, int] | None:
        """Return what is another value, for this thread, after any process has written; None while nothing was ever written."""
        if not self.exists:
            return None
        with self._reading():
            connection = self._connection()
            (others,) = connection.execute("PRAGMA data_version").fetchone()
        return others, connection.total_changes

    def check(self) -> None:
        """Return when the file is whole and can be written, or does not exist yet.

        Raises:
            LedgerError: it is damaged or read-only.
        """
        if not self.exists:
            return
        with self._write() as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)

    def keep_copy(self) -> None:
        """Keep a copy of the file for a bad day, unless that was done lately; costs milliseconds, raises nothing."""
        if self.exists:
            copying.keep_copy(self.path, self._clock.now().timestamp())

    def mend(self) -> str:
        """Set a damaged file aside and take its copy; say what was done, or "" when it is whole. May be repeated.

        What was rented since the copy was made is not in it: `%gpu ls` shows that as another computer's.
        """
        self.close()
        return copying.mend(self.path, self._clock.now().timestamp())

    def close(self) -> None:
        """Close the connections of all threads. May be repeated."""
        for connection in self._opened:
            connection.close()
        self._opened.clear()
        self._local = threading.local()

    @property
    def prices(self) -> prices.PriceBook:
        """The pages about prices; a power cut may lose what was written last, and it is asked for again."""
        return prices.PriceBook(functools.partial(self._write, durable=False), self._query)

    @property
    def gauges(self) -> gauges.GaugeBook:
        """The pages about how GPUs are doing."""
        return gauges.GaugeBook(functools.partial(self._write, durable=False), self._query)

    @property
    def progress(self) -> progress.ProgressBook:
        """The pages about cells at work."""
        return progress.ProgressBook(functools.partial(self._write, durable=False), self._query)

    @property
    def orders(self) -> orders.OrderBook:
        """The pages about how instances were ordered."""
        return orders.OrderBook(self._write, self._query)

    @property
    def traffic(self) -> traffic.TrafficBook:
        """The pages about bytes."""
        return traffic.TrafficBook(self._write, self._query)

    @property
    def notices(self) -> notices.NoticeBook:
        """The page about warnings that were given."""
        return notices.NoticeBook(self._write, self._query)

    @property
    def refusals(self) -> refusals.RefusalBook:
        """The page about keys that are refused."""
        return refusals.RefusalBook(functools.partial(self._write, durable=False), self._query)

    @property
    def waiting(self) -> waiting.WaitingBook:
        """The page about results that nobody has fetched."""
        return waiting.WaitingBook(functools.partial(self._write, durable=False), self._query)

    def intend(self, lease: Lease, check: Callable[[Lease], None] = lambda _: None) -> None:
        """Commit the intent to rent; durable when this returns, also through a power cut.

        `check` raises where it may not be written; it reads the ledger while no other process can write.
        """
        marks = ",".join("?" * len(COLUMNS))
        with self._write() as connection:
            check(lease)
            connection.execute(f"INSERT INTO leases({','.join(COLUMNS)}) VALUES({marks})", to_row(lease))

    def move(
        self, label: str, state: State, *, held: str | None = None, **changes: str | float | Money | None
    ) -> Lease:
        """Set the state and any other field but the rates.

        A final row never moves again, and with `held` only one that still has this token; the row as it then stands is
        returned.
        """
        return self.amend(label, held=held, state=state.value, **changes)

    def amend(self, label: str, *, held: str | None = None, **changes: str | float | Money | None) -> Lease:
        """Set fields and leave the state as it is: another process may have moved it since it was read.

        A final row never changes, and with `held` only one that still has this token; the row as it then stands is
        returned.
        """
        values = {name: plain(value) for name, value in changes.items()}
        if unknown := set(values) - _MOVABLE:
            raise LedgerError(f"no such field of a lease: {sorted(unknown)}")
        self._update(label, values, held)
        return self.lease(label)

    def bind(self, label: str, token: str, instance_id: str, **changes: float) -> Lease:
        """Give a lease its instance if it has none yet and still has this token; returns the row as it then stands."""
        values = {"state": State.BOUND.value, "instance_id": instance_id, "owner": "", "token": "", "expires": 0.0}
        self._update(label, {**values, **changes}, token, _WITHOUT_INSTANCE)
        return self.lease(label)

    def take_over(self, label: str) -> Lease:
        """Take the lease from the process that was renting it if its time is over; returns the row as it then stands.

        Whatever that process writes under its token from now on changes nothing.
        """
        now = self._clock.now().timestamp()
        with self._write() as connection:
            connection.execute(
                "UPDATE leases SET owner='', token='', expires=0 WHERE label=? AND NOT (expires > ? AND expires <= ?)",
                (label, now, now + HOLD_S),
            )
        return self.lease(label)

    def condemn(self, label: str, contact: float | None) -> Lease:
        """Move a lease to DESTROYING unless somebody got in touch since `contact`; returns the row as it then stands."""
        with self._write() as connection:
            connection.execute(
                f"UPDATE leases SET state=? WHERE label=? AND {_OPEN} AND contact IS ?",  # noqa: S608 - constants
                (State.DESTROYING.value, label, contact),
            )
        return self.lease(label)

    def charge(self, label: str, price: Money, since: float | None = None) -> Lease:
        """Note that the instance costs `price` per hour from now on, or since a moment after its last change of price.

        Repeating the same price changes nothing.
        """
        now = self._clock.now().timestamp()
        with self._write() as connection:
            (text,) = connection.execute("SELECT rates FROM leases WHERE label=?", (label,)).fetchone()
            rates = json.loads(text)
            if not rates or rates[-1][1] != price.micros:
                at = now if since is None else min(now, max([since, *(rate[0] for rate in rates)]))
                connection.execute(
                    f"UPDATE leases SET rates=? WHERE label=? AND state NOT IN ({_FINAL})",  # noqa: S608 - constants
                    (json.dumps([*rates, [at, price.micros]]), label),
                )
        return self.lease(label)

    def touch(
        self,
        label: str,
        busy: int,
        *,
        durable: bool = True,
        passed: Passed | None = None,
        at: float | None = None,
    ) -> None:
        """Note that somebody is in touch with the instance now, how many cells run there, and the bytes that `passed`.

        The bytes count from `at` on, the begin of the cell that they belong to; without it, from about now.

        Without `durable` it does not wait for the disk, and a power cut may lose it; the end of this process does not.
        """
        now = self._clock.now().timestamp()
        with self._write(durable=durable) as connection:
            connection.execute("UPDATE leases SET contact=?, busy=? WHERE label=?", (now, busy, label))
            if passed is not None:
                traffic.add(connection, label, passed, traffic.span(now) if at is None else at)

    def reopen(self, label: str, instance_id: str, price: Money) -> Lease:
        """Take back a final state: the provider lists the instance, at `price` per hour, so that it may bill.

        What it cost since its supposed end counts at the last rate known.
        """
        with self._write() as connection:
            connection.execute(
                "UPDATE leases SET state=?, instance_id=?, price=max(price, ?), ended=NULL WHERE label=?",
                (State.DESTROYING.value, instance_id, price.micros, label),
            )
        return self.charge(label, price)

    def _update(self, label: str, values: Mapping[str, object], held: str | None, where: str = _OPEN) -> None:
        sets = ",".join(f"{name}=?" for name in values)
        with self._write() as connection:
            connection.execute(
                f"UPDATE leases SET {sets} WHERE label=? AND {where} AND token=coalesce(?, token)",  # noqa: S608 - names are checked
                (*values.values(), label, held),
            )

    def shun(self, provider: str, machine: str, reason: str) -> None:
        """Remember that `machine` was no good. May be repeated: the newest reason counts."""
        row = (provider, machine, self._clock.now().timestamp(), reason)
        with self._write() as connection:
            connection.execute("INSERT OR REPLACE INTO bad_hosts VALUES(?,?,?,?)", row)

    def shunned(self, since: float) -> dict[tuple[str, str], str]:
        """Return the reason for each (provider, machine) that was no good after `since`."""
        if not self.exists:
            return {}
        query = "SELECT provider, machine, reason FROM bad_hosts WHERE since >= ?"
        with self._reading():
            rows = self._connection().execute(query, (since,)).fetchall()
        return {(provider, machine): reason for provider, machine, reason in rows}

    def lease(self, label: str) -> Lease:
        """Return one lease by its label."""
        found = self.find(label)
        if found is None:
            raise LedgerError(f"no lease {label!r} in {self.path}")
        return found

    def find(self, label: str) -> Lease | None:
        """Return one lease by its label; None when there is none."""
        found = self._leases("label=?", label) if self.exists else []
        return found[0] if found else None

    def open_leases(self) -> list[Lease]:
        """Return every lease that is not proven gone, oldest first."""
        if not self.exists:
            return []
        return [lease for lease in self._leases("1=1") if lease.state not in FINAL]

    def leases(self, since: float = 0.0) -> list[Lease]:
        """Return every lease that lived after `since`, oldest first."""
        return self._leases("coalesce(ended, 1e18) >= ?", since) if self.exists else []

    def record_cell(self, cell: CellRow, *, durable: bool = True, caller: Caller | None = None) -> None:
        """Keep that a cell runs and who runs it, or what it cost. May be repeated; without `durable` a power cut may lose it."""
        row = (cell.id, cell.label, cell.notebook, cell.started, cell.seconds, cell.cost.micros, cell.status)
        with self._write(durable=durable) as connection:
            connection.execute("INSERT OR REPLACE INTO cells VALUES(?,?,?,?,?,?,?)", row)
            if caller is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO callers VALUES(?,?,?)", (cell.id, caller.kernel, caller.path)
                )

    def cells(self, since: float = 0.0) -> list[CellRow]:
        """Return the cells that started after `since`, oldest first."""
        if not self.exists:
            return []
        with self._reading():
            rows = (
                self._connection()
                .execute("SELECT * FROM cells WHERE started >= ? ORDER BY started", (since,))
                .fetchall()
            )
        return [CellRow(row[0], row[1], row[2], row[3], row[4], Money(row[5]), row[6]) for row in rows]

    def spent(self, since: float) -> Money:
        """Return what all leases have cost since `since`; simulated ones are not money and do not count.

        What ended after now counts too: a clock that was set back makes no money come back.
        """
        now = self._clock.now().timestamp()
        costs = [lease.cost(max(now, lease.ended or now), since) for lease in self.leases(since) if not lease.simulated]
        return sum(costs, ZERO)

    def _leases(self, where: str, *arguments: object) -> list[Lease]:
        query = f"{_SELECT} WHERE {where} ORDER BY created"
        with self._reading():
            rows = self._connection().execute(query, arguments).fetchall()
            found = [from_row(row[:-1]) for row in rows]
        if not rows or not rows[0][-1]:
            return found
        tolls = self.traffic.tolls(found[0].label if len(found) == 1 else None)
        return [dataclasses.replace(each, tolls=tolls[each.label]) if each.label in tolls else each for each in found]

    def _query(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        if not self.exists:
            return []
        with self._reading():
            return self._connection().execute(query, arguments).fetchall()

    @contextlib.contextmanager
    def _write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._reading():
            connection = self._connection()
            if getattr(self._local, "durable", None) is not durable:
                connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._local.durable = durable
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> LedgerError:
        hint = "`%gpu ls` and `%gpu down ID` ask the providers alone; `%gpu doctor --mend` sets a damaged file aside"
        if "locked" in str(error):
            hint = f"another process has held it for {_BUSY_S:.0f} s; `fuser {self.path}` tells which"
        billing = schema.MAY_BILL if self.exists else ""
        return LedgerError(f"the ledger {self.path} cannot be used: {error}", billing=billing, hint=hint)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._open()
            self._local.connection = connection
            self._opened.append(connection)
        return connection

    def _open(self) -> sqlite3.Connection:
        if not self.exists:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(mode=0o600)
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            schema.prepare(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection
