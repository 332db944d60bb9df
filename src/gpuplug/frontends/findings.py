"""What a look at the leases has found, in words; and the question about what only a person can decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.engine.contacts import IN_TOUCH_S
from gpuplug.engine.reconciling import Finding, Found
from gpuplug.engine.times import span
from gpuplug.ledger import Lease, State

if TYPE_CHECKING:
    from gpuplug.types import Money

_ASKED_ABOUT = frozenset({State.BOUND, State.READY, State.STOPPED})
_UNSETTLED = frozenset({Found.ENDING, Found.LOOKED_FOR, Found.TROUBLE})


def named(lease: Lease) -> str:
    """Return how an instance is spoken of."""
    return f"{lease.gpu} {lease.provider} #{lease.instance_id or lease.label}"


def left(lease: Lease, now: float) -> bool:
    """Tell whether nobody is in touch with an instance that is there, as far as the ledger knows."""
    in_touch = lease.contact is not None and now - lease.contact <= IN_TOUCH_S
    return lease.state in _ASKED_ABOUT and lease.billing and not in_touch


def question(lease: Lease, now: float, cost: Money) -> str:
    """Ask what is to become of an instance that nobody is in touch with: end it, take it over, or leave it."""
    notebook = lease.notebook.rpartition("-")[0] or lease.notebook
    word = lease.instance_id or lease.label
    simulated = " simulated" if lease.simulated else ""
    # Another notebook's results would not be found any more: adopting is refused while they may wait.
    first = f", once %gpu start {word} has brought home what waits there" if lease.busy else ""
    return (
        f"{named(lease)} of {notebook} is {span(now - lease.created)} old ({cost}{simulated}) and nobody is in touch: "
        f"down, adopt, or leave? %gpu down {word} ends it, %gpu adopt {word} takes it into this notebook{first}; "
        f"{_left_alone(lease, now)}"
    )


def _left_alone(lease: Lease, now: float) -> str:
    if lease.state is State.STOPPED:
        return f"left alone, its disk bills {lease.rate}/h"
    end = lease.hard_end if lease.busy or lease.lease_end is None else min(lease.lease_end, lease.hard_end)
    when = f"ends by itself within {span(end - now)}" if end > now else "should have ended by itself"
    return f"a cell was running there, and left alone it {when}" if lease.busy else f"left alone, it {when}"


def unsettled(found: list[Finding]) -> list[Finding]:
    """Return the findings that leave open whether something bills that should not."""
    return [finding for finding in found if finding.found in _UNSETTLED]


def line(finding: Finding, now: float) -> str:
    """Say what was found of one instance, what was done, and whether it bills."""
    lease, instance = finding.lease, finding.instance
    if instance is not None:
        return (
            f"{instance.gpu} {instance.provider} #{instance.id} of another computer: {instance.state.value} at "
            f"{instance.price}/h; %gpu adopt {instance.id} counts it here and ends it by %gpu down"
        )
    if lease is None:
        return finding.why
    if finding.found is Found.ASKED and left(lease, now):
        return f"{question(lease, now, finding.cost)} ({finding.why})"
    return f"{named(lease)} of {lease.notebook}: {finding.why}: {_verdict(finding, lease, now)}"


def _verdict(finding: Finding, lease: Lease, now: float) -> str:
    word = lease.instance_id or lease.label
    return {
        Found.GONE: f"gone (verified); it cost {finding.cost}",
        Found.NEVER_MADE: "nothing was made",
        Found.ENDING: f"NOT PROVEN GONE, take it as billing {lease.rate}/h; %gpu down {word} asks again",
        Found.LOOKED_FOR: f"it is not known whether it bills; %gpu down {word} waits for the proof",
        Found.USED: f"{finding.cost} so far",
        Found.ALONE: f"{_left_alone(lease, now)}; %gpu down {word} ends it now",
        Found.ASKED: f"{finding.cost} so far; %gpu down {word} ends it",
        Found.TROUBLE: f"take it as billing {lease.rate}/h",
    }[finding.found]
