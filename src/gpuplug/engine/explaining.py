"""What `-n` says: the ship tree, the variables, the offer, the cost; and what bills on after a failure. Rents nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug import outputs, references
from gpuplug.engine.consent import worst_case
from gpuplug.engine.unfetched import rests
from gpuplug.errors import NoOfferError, TooDearError
from gpuplug.ledger import FINAL, State

if TYPE_CHECKING:
    from gpuplug.engine.inventory import Inventory
    from gpuplug.engine.planning import Plan
    from gpuplug.engine.quoting import Quoting
    from gpuplug.ledger import Lease
    from gpuplug.types import Money, Offer

_SLOW_LINK_BYTES_S = 2_500_000  # 20 Mbit/s up: a plain home line
_EXAMPLE_S = 600


def dry_run(plan: Plan, inventory: Inventory, quoting: Quoting) -> str:
    """Return the ship tree, the offer that would be taken and what it would cost; rents nothing."""
    if (lease := inventory.warm(plan.options)) is not None:
        return explain(plan, None, on_warm(lease), inventory.doubts(lease, plan.options))
    try:
        quote = quoting.offers(plan.options)
    except (NoOfferError, TooDearError) as error:
        return explain(plan, None, error.message)
    offer, provider = quote.offers[0]
    why = quoting.why([each for each, _ in quote.offers], quote.passed_over, plan.options)
    stopped = rests(offer.stopped_price, plan.options, provider.traits)
    return explain(plan, offer, f"ready in about {provider.traits.ready_s:.0f} s", why, stopped)


def explain(plan: Plan, offer: Offer | None, wait: str, why: str = "", stopped: Money | None = None) -> str:
    """Return the dry run as text; `offer` is None when an instance is warm or none can be had: `wait` says which.

    `why` it is the first, or what is not known of the warm one; `stopped` is what a rest costs, where there is one.
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
            f"would rent {offer.gpu} on {offer.provider} at {offer.price}/h{simulated}, {wait}; "
            + worst_case(offer.price, plan.options, stopped)
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


def still_billing(lease: Lease) -> str:
    """Say after a failure what the instance of `lease` costs from here on; "" when nothing."""
    if not lease.price.micros or lease.state in FINAL:
        return ""
    named = f"#{lease.instance_id}"
    if lease.state is State.DESTROYING:
        return f"the end of {named} is asked for; it counts as billing until that is proven"
    minutes = lease.lease_s // 60
    return f"{named} still bills {lease.price}/h; it ends {minutes} min after the last contact, or by `%gpu down` now"
