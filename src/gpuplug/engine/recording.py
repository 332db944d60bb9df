"""What the ledger knows of cells: that one runs, and how it ended when nobody could see it end."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug import outputs
from gpuplug.engine.progress import SHIP, Notes
from gpuplug.engine.purse import cell_bytes
from gpuplug.errors import DetachedError, GpuplugError, LedgerError, PreemptedError
from gpuplug.ledger import CellRow, Passed
from gpuplug.types import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.engine.budgets import Budgets
    from gpuplug.engine.linking import Live
    from gpuplug.engine.running import Ran
    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Caller, Lease, Ledger
    from gpuplug.types import Clock, Money

RUNNING = "running"
LEFT = "left running"
NOT_SENT = "not sent"  # it failed or was interrupted while files and variables were on their way: nothing of it ran
_ENDS: tuple[tuple[type[BaseException], str], ...] = (
    (DetachedError, LEFT),
    (PreemptedError, "preempted"),
    (GpuplugError, "lost"),
)


# The cells that this process follows now; read by other threads than the one that runs them.
_followed: set[str] = set()


def is_followed(cell: str) -> bool:
    """Tell whether this very process runs the cell, so that an interrupt of it is one of the cell."""
    return cell in _followed


@contextlib.contextmanager
def follow(ledger: Ledger, clock: Clock, lease: Lease, notebook: str, caller: Caller) -> Iterator[Notes]:
    """Give a cell its id and say in the ledger that it runs; when the block fails, how it failed.

    A ledger that cannot be written stops no cell: what it cost is recorded in any case, or that fails for all to see.
    """
    cell = secrets.token_hex(8)
    row = CellRow(cell, lease.label, notebook, clock.now().timestamp(), 0.0, ZERO, RUNNING)
    _keep(ledger, row, caller)
    notes = Notes(ledger, clock, lease.label, cell)
    _followed.add(cell)
    try:
        yield notes
    except BaseException as error:
        seconds = clock.now().timestamp() - row.started
        status = next((status for kind, status in _ENDS if isinstance(error, kind)), "unknown")
        status = NOT_SENT if notes.phase in {"", SHIP} else status
        _keep(ledger, replace(row, seconds=seconds, cost=lease.price.for_seconds(round(seconds, 3)), status=status))
        raise
    finally:
        _followed.discard(cell)


def _keep(ledger: Ledger, row: CellRow, caller: Caller | None = None) -> None:
    with contextlib.suppress(LedgerError):
        ledger.record_cell(row, durable=False, caller=caller)


def left_behind(ledger: Ledger, kernel: str) -> None:
    """Keep that the cells which an earlier process of this kernel ran are followed by nobody: that process is gone.

    A ledger that cannot be used stops nothing; whatever needs it will say so.
    """
    with contextlib.suppress(LedgerError):
        gone = {cell for cell in ledger.progress.called_by(kernel, RUNNING) if not is_followed(cell)} if kernel else ()
        for row in ledger.cells() if gone else ():
            if row.id in gone:
                _keep(ledger, replace(row, status=LEFT))


def settled(ledger: Ledger, lease: Lease, ran: Ran) -> None:
    """Keep how a cell has ended that nobody saw end, now that its results are here; a ledger that cannot be written stops nothing."""
    with contextlib.suppress(LedgerError):
        for row in ledger.cells():
            if row.id == ran.id:
                cost = lease.price.for_seconds(round(ran.seconds, 3))
                _keep(ledger, replace(row, seconds=ran.seconds, cost=cost, status=ran.status))


class Recording:
    """Keeps what the cells of a notebook have cost, and says it."""

    def __init__(self, ledger: Ledger, budgets: Budgets, notebook: str) -> None:
        self._ledger, self._budgets, self._notebook = ledger, budgets, notebook

    def ended(self, live: Live, ran: Ran, started: float, talk: Talk) -> None:
        """Keep how a cell ended and what its seconds and bytes cost; show the cost line and the warnings that are due."""
        lease = self._ledger.lease(live.lease.label)
        if lease.lease_s != live.lease.lease_s:
            lease = self._ledger.amend(lease.label, lease_s=live.lease.lease_s)
        tolls = self._budgets.byte_prices(lease).cost(cell_bytes(live))
        cost = lease.price.for_seconds(round(ran.seconds, 3)) + tolls
        row = CellRow(ran.id, lease.label, self._notebook, started, ran.seconds, cost, ran.status)
        self._ledger.record_cell(row)
        with live.meter.noting() as passed:
            self._ledger.touch(lease.label, 0, durable=False, passed=Passed(*passed), at=started)
        talk.cost(self._cost_line(lease, row, tolls, sum(cell_bytes(live))))
        if not lease.simulated and lease.price.micros:
            self._budgets.warn(talk.note)

    def _cost_line(self, lease: Lease, cell: CellRow, tolls: Money, size: int) -> str:
        if not lease.price.micros:
            return f"{lease.provider} - {cell.seconds:.1f} s - free"
        cost = f"{cell.cost}, {tolls} of it for {outputs.size_text(size)}" if tolls.micros else str(cell.cost)
        parts = [f"{lease.gpu} {lease.provider} #{lease.instance_id}", f"{cell.seconds:.1f} s", cost]
        if lease.simulated:
            return " - ".join([*parts, "simulated"])
        return " - ".join([*parts, self._budgets.line()])
