"""An instance that rests with results that nobody has fetched: within the budget of their cell, and then no longer."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.engine.settling import REST_S, RESTS_ITSELF, TOMBSTONE_S
from gpuplug.errors import LedgerError
from gpuplug.ledger import FINAL, Allowance, Lease, Ledger, State

if TYPE_CHECKING:
    from gpuplug.types import Money

_LEVELS = (95, 80)  # per cent of the budget, from which on it is warned
_LONGEST_S = 3650 * REST_S  # what is further off than any calendar needs is not dated


@dataclass(frozen=True, slots=True)
class Rest:
    """A lease that rests by itself at the moment `now`, and what its results may cost; None where that is not known."""

    lease: Lease
    now: float
    allowance: Allowance | None

    @property
    def cost(self) -> Money:
        """What the instance has cost by now: compute, disk, bytes and the rest itself."""
        return self.lease.cost(self.now)

    @property
    def level(self) -> int:
        """How much of that budget is spent, in per cent, where that is to be warned of; else 0."""
        if self.allowance is None:
            return 0
        spent = (self.cost - self.allowance.before).micros * 100
        return next((level for level in _LEVELS if spent >= level * self.allowance.budget.micros), 0)

    @property
    def until(self) -> float | None:
        """When it is ended, in seconds since 1970: the budget is spent, and somebody could see it rest for a day.

        None where that is not known, or never.
        """
        if self.allowance is None or self.allowance.rests_since is None or not self.lease.rate.micros:
            return None
        left_s = (self.allowance.most - self.cost).micros * 3600 / self.lease.rate.micros
        return max(self.now + left_s, self.allowance.rests_since + REST_S) if left_s < _LONGEST_S else None

    @property
    def text(self) -> str:
        """What waits, what that costs, until when, and what can be done. Why a spot machine stopped, no provider tells."""
        who = "it has stopped itself, or a higher bid has taken it: " if self.lease.bid.micros else ""
        return f"{who}{self._terms}"

    @property
    def _terms(self) -> str:
        lease, day = self.lease, self.lease.rate.for_seconds(REST_S)
        word = lease.instance_id or lease.label
        if self.allowance is None:
            return f"results may wait on it, and its disk bills {day} a day: %gpu start {word} fetches them"
        text = f"results of {lease.notebook} wait on it, and its disk bills {day} a day: %gpu start {word} fetches them"
        if self.until is None:
            return text
        warned = f"{self.level} % of the budget of these results is spent: " if self.level else ""
        when = dt.datetime.fromtimestamp(self.until, dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        return (
            f"{warned}{text}; else it is ended at {when}, when their budget of {self.allowance.budget} is spent, and they "
            f"are lost; %gpu stop {word} keeps it beyond that"
        )

    @property
    def over(self) -> str:
        """Why it is to be ended; "" while it is not, or when that is not known."""
        if self.allowance is None or self.until is None or self.now < self.until:
            return ""
        lost = self.cost - self.allowance.before
        return (
            f"RESULTS LOST: nobody fetched those of {self.lease.notebook} within the budget of their cell, "
            f"{self.allowance.budget}; cell, wait and rest have cost {lost}"
        )


def rest_of(ledger: Ledger, lease: Lease, now: float) -> Rest | None:
    """Return the rest of a lease that has stopped itself; None for any other, one that the user has stopped included."""
    if lease.state is not State.STOPPED or lease.note != RESTS_ITSELF:
        return None
    return Rest(lease, now, ledger.waiting.allowance(lease.label))


def losses(ledger: Ledger, now: float) -> list[str]:
    """Return what is to be said of results that went with their instance; once its end is proven, for the last time."""
    said: list[str] = []
    for label in ledger.waiting.given_up():
        lease = ledger.lease(label)
        said.append(loss(ledger, lease, now))
        if lease.state in FINAL:
            with contextlib.suppress(LedgerError):  # then it is said once more
                ledger.waiting.told(label)
    return said


def late_losses(ledger: Ledger, now: float) -> dict[str, str]:
    """Return the same of the last week, by the labels of the instances, whoever was told."""
    leases = [ledger.lease(label) for label in ledger.waiting.given_up(told=True)]
    return {lease.label: loss(ledger, lease, now) for lease in leases if now - (lease.ended or now) <= TOMBSTONE_S}


def loss(ledger: Ledger, lease: Lease, now: float) -> str:
    """Say that the results on an instance were not fetched, why, and what became of it."""
    allowance, cost = ledger.waiting.allowance(lease.label), lease.cost(now)
    spent = allowance is not None and cost.micros >= allowance.most.micros
    why = f"the budget of their cell, {allowance.budget}, was spent" if allowance and spent else "its time was over"
    proof = "it is gone (verified)" if lease.state in FINAL else "its end is NOT PROVEN, take it as billing"
    return (
        f"RESULTS LOST: {lease.gpu} {lease.provider} #{lease.instance_id} had results of {lease.notebook} that nobody fetched, "
        f"and was ended because {why}; {proof}; it cost {cost} in all"
    )
