"""The part `jobs`: the cells that run and those that ran, how far they are, and how to get back to one that runs on alone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpuplug.engine.contacts import IN_TOUCH_S
from gpuplug.engine.recording import LEFT, RUNNING
from gpuplug.errors import LedgerError
from gpuplug.frontends.panel.fields import moment, text, usd
from gpuplug.ledger import FINAL, Caller, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gpuplug.frontends.panel.known import Known
    from gpuplug.ledger import CellRow, Lease, Ledger, Progress

_JOBS = 100
_UNSEEN = frozenset({RUNNING, LEFT})  # nobody has seen such a cell end
# Where a kernel of this computer can reach a cell that runs on, or what it has left behind.
_REACHED = frozenset({State.BOUND, State.READY, State.STOPPED})
_BAR = re.compile(r"(?<!\d)(\d{1,3})%\|")  # as tqdm draws it; another percentage may be of anything


def jobs(known: Known) -> list[dict[str, Any]] | None:
    """Return the newest cells first; None when the ledger cannot be read."""
    if known.leases is None:
        return None
    leases = {lease.label: lease for lease in known.leases}
    newest = sorted(known.cells, key=lambda cell: -cell.started)[:_JOBS]
    return [_job(known, cell, leases.get(cell.label)) for cell in newest]


def at_work(
    ledger: Ledger, since: float, path_of: Callable[[str], str]
) -> tuple[dict[str, Caller], dict[str, Progress]]:
    """Return who has run the cells since then, with each notebook's path as `path_of` its file, and how far they are."""
    try:
        callers, progress = ledger.progress.callers(since), ledger.progress.all()
    except LedgerError:
        return {}, {}  # whoever reads leases and cells tells it
    return {cell: replace(each, path=path_of(each.path)) for cell, each in callers.items()}, progress


def left(cells: Iterable[CellRow], callers: Mapping[str, Caller], gone: Callable[[str, float], bool]) -> frozenset[str]:
    """Return the cells that are said to run and whose process is gone, as `gone` tells by kernel and begin."""
    running = [cell for cell in cells if cell.status == RUNNING and cell.id in callers]
    return frozenset(cell.id for cell in running if gone(callers[cell.id].kernel, cell.started))


def _follows(known: Known, cell: CellRow, lease: Lease | None) -> bool:
    """Tell whether a kernel of this computer is in touch with the machine on which it said that the cell runs."""
    if cell.status != RUNNING or cell.id in known.left:
        return False
    if lease is None or lease.state in FINAL or lease.contact is None:
        return False
    return known.now - lease.contact <= IN_TOUCH_S


def _job(known: Known, cell: CellRow, lease: Lease | None) -> dict[str, Any]:
    followed = _follows(known, cell, lease)
    unsettled = cell.status in _UNSEEN
    # Whatever became of it, it has ended with its machine at the latest.
    ended = (lease.ended if lease else None) if unsettled else cell.started + cell.seconds
    caller = known.callers.get(cell.id, Caller())
    return {
        "id": cell.id,
        "pod": cell.label,
        "notebook": text(cell.notebook),
        "kernel": caller.kernel or None,
        "path": caller.path or None,
        "started": moment(cell.started),
        "ended": moment(ended),
        "seconds": None if unsettled else round(cell.seconds, 3),
        "state": "unknown" if cell.status == RUNNING and not followed else text(cell.status),
        "progress": _progress(known, cell) if unsettled else None,
        "cost_usd": None if unsettled else usd(cell.cost),
        "simulated": lease.simulated if lease else None,
        "may": {"cancel": {} if followed else None, "attach": None if followed else _attach(cell, lease)},
    }


def _progress(known: Known, cell: CellRow) -> dict[str, Any] | None:
    seen = known.progress.get(cell.id)
    if seen is None:
        return None
    bar = _BAR.search(seen.line)
    percent = int(bar[1]) if bar else None
    return {
        "at": moment(seen.at),
        "phase": text(seen.phase),
        "done_bytes": seen.done if seen.total else None,
        "total_bytes": seen.total or None,
        "percent": percent if percent is not None and percent <= 100 else None,  # noqa: PLR2004 - per cent
        "line": text(seen.line) or None,
    }


def without_lines(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state as a notebook may keep it: what cells of other notebooks print does not belong there."""
    jobs = state["jobs"]
    rows = [
        {**job, "progress": {**job["progress"], "line": None}} if job["progress"] else job
        for job in jobs["items"] or ()
    ]
    return {**state, "jobs": {**jobs, "items": rows if jobs["items"] is not None else None}}


def _attach(cell: CellRow, lease: Lease | None) -> dict[str, Any] | None:
    """Return what is typed to get back to a cell that nobody of this computer follows, where its machine is still there."""
    if cell.status not in _UNSEEN or lease is None or lease.state not in _REACHED or not lease.instance_id:
        return None
    return {"command": f"%gpu start {text(lease.instance_id)}"}
