"""What the ledger knows of cells: that one runs, and how it ended when nobody could see it end."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug.errors import DetachedError, GpuplugError, LedgerError, PreemptedError
from gpuplug.ledger import CellRow
from gpuplug.types import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.ledger import Lease, Ledger
    from gpuplug.types import Clock

RUNNING = "running"
_ENDS: tuple[tuple[type[BaseException], str], ...] = (
    (DetachedError, "left running"),
    (PreemptedError, "preempted"),
    (GpuplugError, "lost"),
)


@contextlib.contextmanager
def follow(ledger: Ledger, clock: Clock, lease: Lease, notebook: str) -> Iterator[str]:
    """Give a cell its id and say in the ledger that it runs; when the block fails, how it failed.

    A ledger that cannot be written stops no cell: what it cost is recorded in any case, or that fails for all to see.
    """
    cell = secrets.token_hex(8)
    row = CellRow(cell, lease.label, notebook, clock.now().timestamp(), 0.0, ZERO, RUNNING)
    _keep(ledger, row)
    try:
        yield cell
    except BaseException as error:
        seconds = clock.now().timestamp() - row.started
        status = next((status for kind, status in _ENDS if isinstance(error, kind)), "unknown")
        _keep(ledger, replace(row, seconds=seconds, cost=lease.price.for_seconds(round(seconds, 3)), status=status))
        raise


def _keep(ledger: Ledger, row: CellRow) -> None:
    with contextlib.suppress(LedgerError):
        ledger.record_cell(row, durable=False)
