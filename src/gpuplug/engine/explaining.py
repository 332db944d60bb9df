"""What `-n` says: the ship tree, the variables, the offer, the cost. Rents nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug import outputs, references
from gpuplug.engine.consent import worst_case
from gpuplug.ledger import State

if TYPE_CHECKING:
    from gpuplug.engine.planning import Plan
    from gpuplug.ledger import Lease
    from gpuplug.types import Offer

_SLOW_LINK_BYTES_S = 2_500_000  # 20 Mbit/s up: a plain home line
_EXAMPLE_S = 600


def explain(plan: Plan, offer: Offer | None, wait: str, why: str = "") -> str:
    """Return the dry run as text; `offer` is None when an instance is warm or none can be had: `wait` says which.

    `why` it is the first, or what is not known of the warm one.
    """
    lines = [references.ship_tree(plan.references)]
    lines += [f"  {value.name}  {value.shown}  ({value.reason})" for value in plan.values]
    lines += [f"  {name}  imported there from {module.replace(':', '.')}" for name, module in plan.modules]
    in_the_tree = references.notes_on_skipped(plan.references.skipped)
    lines += [f"  {note}" for note in plan.notes if note not in in_the_tree]
    size = references.total_size(plan.references.files) + sum(len(value.payload) for value in plan.values)
    lines.append(f"at most {outputs.size_text(size)} to send, about {size / _SLOW_LINK_BYTES_S:.0f} s at 20 Mbit/s")
    if offer is None:
        lines += [wait, why] if why else [wait]
    else:
        lines += [why] if why else []
        simulated = " (simulated)" if offer.simulated else ""
        lines.append(
            f"would rent {offer.gpu} on {offer.provider} at {offer.price}/h{simulated}, {wait}; {worst_case(offer.price, plan.options)}"
        )
        lines.append(f"ten minutes of it cost {offer.price.for_seconds(_EXAMPLE_S)}")
    lines.append("nothing was rented")
    return "\n".join(lines)


def on_warm(lease: Lease) -> str:
    """Say on which instance of the notebook the cell would run, and what that costs."""
    where = f"would run on the warm instance of this notebook, {lease.gpu} {lease.provider} #{lease.instance_id}"
    if not lease.price.micros:
        return f"{where} (free)"
    simulated = " (simulated)" if lease.simulated else ""
    rests = "; it rests and is started first" if lease.state is State.STOPPED else ""
    return (
        f"{where}, at {lease.price}/h{simulated}{rests}; the cell costs that price for as long as it runs, "
        f"ten minutes of it {lease.price.for_seconds(_EXAMPLE_S)}"
    )
