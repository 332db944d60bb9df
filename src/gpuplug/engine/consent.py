"""Whether money may be spent: somebody agreed, or a standing budget outside the notebook allows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpuplug.engine import bidding
from gpuplug.engine.budgets import LEASE_SLACK_S
from gpuplug.engine.unfetched import rests, waiting
from gpuplug.errors import ConsentError
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from gpuplug.config import Options, Terms
    from gpuplug.engine.budgets import Budgets
    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Lease
    from gpuplug.types import Offer, Traits

_HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Cost:
    """What is about to cost money, and how much an hour."""

    what: str
    where: str
    price: Money
    stopped: Money = ZERO

    @classmethod
    def of_offer(cls, offer: Offer) -> Cost:
        """Return the cost of renting `offer`."""
        what = f"{offer.gpu} ({bidding.told(offer)})" if offer.spot else offer.gpu
        return cls(what, offer.provider, offer.price, offer.stopped_price)

    @classmethod
    def of_lease(cls, lease: Lease) -> Cost:
        """Return the cost of `lease` while it runs."""
        return cls(lease.gpu, lease.provider, lease.price, lease.stopped_price)


class Consent:
    """Remembers, for this process only, up to which price notebooks may spend: "Run all" in a new kernel asks again."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._agreed: dict[str, Money] = {}

    def check(self, notebook: str, cost: Cost, options: Options, talk: Talk, free: Traits) -> Terms:
        """Return for how long `cost` may be spent: the terms of `options`, shortened to what the budgets leave.

        Raises:
            BudgetError: a standing budget leaves too little, or cannot be read.
            ConsentError: nobody agreed, or nobody is there to ask.
        """
        if free.free or free.simulated:
            return options.terms
        terms = self._budgets.terms(cost.what, cost.price, options.terms)
        if terms.hard < options.terms.hard:
            talk.note(f"the budgets that stand let {cost.what} run for {duration_text(terms.hard)}")
            options = replace(options, terms=terms)
        speaks = self._budgets.standing().speaks
        if cost.price <= self._agreed.get(notebook, ZERO) or (speaks and (options.yes or not talk.can_ask)):
            return terms
        if not talk.can_ask:
            raise ConsentError(
                f"renting {cost.what} at {cost.price}/h needs somebody to agree, and nobody can be asked here",
                hint="set a standing budget outside the notebook: gpuplug budget 5/day, or export GPUPLUG_BUDGET=5/day",
            )
        # Whoever agrees agrees to the cap: the next offer, should this one fail, may be a little dearer.
        most = max(cost.price, options.max_price)
        question = f"rent {cost.what} on {cost.where} at {cost.price}/h (another for at most {most}/h should it fail)?"
        if not talk.ask(f"{question} {worst_case(cost.price, options, rests(cost.stopped, options, free))}"):
            raise ConsentError("nothing was rented", hint="%%remote_gpu -n shows what would be sent and what it costs")
        self._agreed[notebook] = most
        return terms


def worst_case(price: Money, options: Options, stopped: Money | None = None) -> str:
    """Say what the user can lose at most at `price` per hour, in one line; `stopped` is what a rest costs, where there is one.

    The switch looks every 5 s and gives a cell 5 s to end: a deadline may be passed by as much.
    """
    idle = price.for_seconds(options.terms.lease + LEASE_SLACK_S)
    whole = price.for_seconds(options.terms.hard)
    text = f"at worst {idle} idle (nobody in touch for {options.terms.lease // 60} min), {min(options.budget, whole)} for a running cell"
    return text + f", {whole} in all ({duration_text(options.terms.hard)}); {waiting(price, options, stopped)}"


def duration_text(seconds: float) -> str:
    """Return `4 h`, `1.5 h` or `20 min`."""
    return f"{seconds / 3600:.1f}".removesuffix(".0") + " h" if seconds >= _HOUR_S else f"{seconds / 60:.0f} min"
