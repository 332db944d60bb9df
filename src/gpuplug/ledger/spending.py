"""What was spent, cut into days, cells and kinds, so that the pieces add up to the whole to the micro-dollar."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from gpuplug.ledger.periods import day
from gpuplug.ledger.rows import MS_PER_HOUR, State
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpuplug.ledger.rows import CellRow, Lease

BY = ("instance", "day", "gpu", "notebook", "cell", "platform")


@dataclass(frozen=True, slots=True)
class Parts:
    """Kinds of cost. `disk` is what the disk costs while it boots and runs, `stopped` while it rests.

    `bytes` is what passed between this computer and the machine; only the platform counts what that downloads by itself.
    """

    compute: Money = ZERO
    disk: Money = ZERO
    stopped: Money = ZERO
    bytes: Money = ZERO

    @property
    def total(self) -> Money:
        """All of it."""
        return self.compute + self.disk + self.stopped + self.bytes

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            self.compute + other.compute,
            self.disk + other.disk,
            self.stopped + other.stopped,
            self.bytes + other.bytes,
        )

    def __sub__(self, other: Parts) -> Parts:
        return Parts(
            self.compute - other.compute,
            self.disk - other.disk,
            self.stopped - other.stopped,
            self.bytes - other.bytes,
        )


@dataclass(frozen=True, slots=True)
class SpendLine:
    """What was spent on one day, GPU, notebook, ... Simulated money is a line of its own and none of any sum."""

    what: str
    simulated: bool
    parts: Parts


def spend_lines(
    leases: Sequence[Lease], cells: Sequence[CellRow], now: float, since: float, by: str
) -> list[SpendLine]:
    """Return the spend since `since` by one of `BY`: days in their order, all else the dearest first."""
    sums: dict[tuple[str, bool], Parts] = {}
    for lease in leases:
        # What ended after now counts too: a clock that was set back makes no money come back.
        until = max(now, lease.ended or now)
        own = [cell for cell in cells if cell.label == lease.label]
        for what, begin, end in _CUTS[by](lease, own, since, until):
            parts = _until(lease, end) - _until(lease, begin)
            if parts != Parts():
                key = (what, lease.simulated)
                sums[key] = sums.get(key, Parts()) + parts
    found = [SpendLine(what, simulated, parts) for (what, simulated), parts in sums.items()]
    if by == "day":
        return sorted(found, key=lambda line: line.what)
    return sorted(found, key=lambda line: (-line.parts.total.micros, line.what))


def _until(lease: Lease, at: float) -> Parts:
    if lease.state is State.FAILED:
        return Parts()
    total = disk = stopped = 0
    ran = False
    for rate, ms in lease.spans(at if lease.ended is None else min(at, lease.ended)):
        cost = rate.price.micros * ms
        total += cost
        if rate.price > lease.stopped_price:
            ran = True
            disk += lease.stopped_price.micros * ms
        elif ran:
            stopped += cost
        else:
            disk += cost
    whole, disks, rests = (Money(round(Fraction(exact, MS_PER_HOUR))) for exact in (total, disk, stopped))
    return Parts(whole - disks - rests, disks, rests, lease.bytes_cost(at))


Cut = tuple[str, float, float]


def _by_day(lease: Lease, _cells: Sequence[CellRow], since: float, until: float) -> Iterator[Cut]:
    began = min([lease.created, *(rate.since for rate in lease.rates), *(toll.at for toll in lease.tolls)])
    at = max(since, min(began, until))
    while at < until:
        _, end = day(at)
        date = dt.datetime.fromtimestamp(at, dt.timezone.utc).astimezone().date().isoformat()
        yield date, at, min(end, until)
        at = end


def _by_cell(lease: Lease, cells: Sequence[CellRow], since: float, until: float) -> Iterator[Cut]:
    at = since
    between = f"between cells of #{lease.instance_id or lease.label}"
    for cell in sorted(cells, key=lambda each: each.started):
        begin = min(max(at, cell.started), until)
        end = min(max(begin, cell.started + cell.seconds), until)
        moment = dt.datetime.fromtimestamp(cell.started, dt.timezone.utc).astimezone().isoformat(" ", "seconds")
        yield between, at, begin
        yield f"{moment} {cell.notebook} {cell.id}", begin, end
        at = end
    yield between, at, until


def _as(name: Callable[[Lease], str]) -> Callable[[Lease, Sequence[CellRow], float, float], Iterator[Cut]]:
    def cut(lease: Lease, _cells: Sequence[CellRow], since: float, until: float) -> Iterator[Cut]:
        yield name(lease), since, until

    return cut


_CUTS: dict[str, Callable[[Lease, Sequence[CellRow], float, float], Iterator[Cut]]] = {
    "instance": _as(lambda lease: f"{lease.provider} #{lease.instance_id or lease.label} {lease.gpu}"),
    "day": _by_day,
    "gpu": _as(lambda lease: lease.gpu),
    "notebook": _as(lambda lease: lease.notebook),
    "cell": _by_cell,
    "platform": _as(lambda lease: lease.provider),
}
