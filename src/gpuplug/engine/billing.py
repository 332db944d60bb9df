"""The ledger beside the platforms' own bills: what each says of each instance, and by how much they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.errors import GpuplugError
from gpuplug.providers import invoicing
from gpuplug.types import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpuplug.ledger import Lease, Ledger
    from gpuplug.providers import Provider
    from gpuplug.types import Billed, Money

_DAY_S = 86_400
UNTOLD = "not told by the platform"


@dataclass(frozen=True, slots=True)
class Checked:
    """One instance in both books; None where a book does not know it, and `trouble` says why."""

    what: str
    ours: Money | None
    theirs: Money | None
    trouble: str = ""
    simulated: bool = False

    @property
    def difference(self) -> Money | None:
        """By how much the platform's bill is higher; None when one of both is not known."""
        return None if self.ours is None or self.theirs is None else self.theirs - self.ours


def whole_days(since: float) -> float:
    """Return the beginning of the UTC day of `since`: bills come in such days."""
    return since // _DAY_S * _DAY_S


def check(ledger: Ledger, provider: Callable[[str], Provider], now: float, since: float) -> list[Checked]:
    """Ask each platform that something was rented from for its bill since `since`. Costs nothing, may be repeated.

    A platform that cannot be asked is told so at each of its instances; nothing is guessed.
    """
    leases = [lease for lease in ledger.leases(since) if lease.price.micros and lease.instance_id]
    found: list[Checked] = []
    for name in sorted({lease.provider for lease in leases}):
        mine = [lease for lease in leases if lease.provider == name]
        bill, trouble = _bill(provider(name), since)
        found += [_checked(lease, bill, trouble, now, since) for lease in mine]
        found += _others(name, mine, bill)
    return found


def _bill(provider: Provider, since: float) -> tuple[dict[str, Billed] | None, str]:
    reader = invoicing(provider)
    if reader is None:
        return None, UNTOLD
    try:
        return {each.instance_id: each for each in reader.billed(since)}, ""
    except GpuplugError as error:
        return None, f"{UNTOLD}: {error.message}"


def _checked(lease: Lease, bill: dict[str, Billed] | None, trouble: str, now: float, since: float) -> Checked:
    what = f"{lease.provider} #{lease.instance_id} {lease.gpu}"
    ours = lease.cost(now, since)
    if bill is None:
        return Checked(what, ours, None, trouble, lease.simulated)
    one = bill.get(lease.instance_id)
    if one is None:
        return Checked(what, ours, None, "not in the platform's bill, or not yet", lease.simulated)
    return Checked(what, ours, one.amount, "", lease.simulated)


def _others(name: str, mine: Iterable[Lease], bill: dict[str, Billed] | None) -> list[Checked]:
    known = {lease.instance_id for lease in mine}
    unknown = [each.amount for instance_id, each in (bill or {}).items() if instance_id not in known]
    if not unknown:
        return []
    simulated = any(lease.simulated for lease in mine)
    return [Checked(f"{name}, {len(unknown)} others", None, sum(unknown, ZERO), "not of this computer", simulated)]
