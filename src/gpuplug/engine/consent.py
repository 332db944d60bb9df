"""Whether money may be spent: somebody agreed, or a standing budget outside the notebook allows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine import bidding
from gpuplug.engine.unfetched import rests, waiting
from gpuplug.errors import BudgetError, ConsentError
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from gpuplug.config import Options
    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Lease, Ledger
    from gpuplug.types import Clock, Offer, Traits

_LEASE_SLACK_S = 60


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

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._agreed: dict[str, Money] = {}

    def check(self, notebook: str, cost: Cost, options: Options, talk: Talk, free: Traits) -> None:
        """Return when spending `cost` is allowed.

        Raises:
            BudgetError: the standing budget of today is spent.
            ConsentError: nobody agreed, or nobody is there to ask.
        """
        if free.free or free.simulated:
            return
        standing = config.standing_budget()
        if standing is not None:
            self._within(standing)
        if cost.price <= self._agreed.get(notebook, ZERO) or (
            standing is not None and (options.yes or not talk.can_ask)
        ):
            return
        if not talk.can_ask:
            raise ConsentError(
                f"renting {cost.what} at {cost.price}/h needs somebody to agree, and nobody can be asked here",
                hint="set a standing budget outside the notebook: export GPUPLUG_BUDGET=5/day",
            )
        # Whoever agrees agrees to the cap: the next offer, should this one fail, may be a little dearer.
        most = max(cost.price, options.max_price)
        question = f"rent {cost.what} on {cost.where} at {cost.price}/h (another for at most {most}/h should it fail)?"
        if not talk.ask(f"{question} {worst_case(cost.price, options, rests(cost.stopped, options, free))}"):
            raise ConsentError("nothing was rented", hint="%%remote_gpu -n shows what would be sent and what it costs")
        self._agreed[notebook] = most

    def left(self) -> Money | None:
        """Return what is left of the standing budget of today; None when there is none.

        Raises:
            BudgetError: nothing is left.
        """
        standing = config.standing_budget()
        return None if standing is None else self._within(standing)

    def _within(self, limit: Money) -> Money:
        midnight = self._clock.now().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
        spent = self._ledger.spent(midnight)
        if spent >= limit:
            raise BudgetError(
                f"{spent} of the standing budget of {limit} a day is spent", hint="export GPUPLUG_BUDGET=10/day"
            )
        return limit - spent


def worst_case(price: Money, options: Options, stopped: Money | None = None) -> str:
    """Say what the user can lose at most at `price` per hour, in one line; `stopped` is what a rest costs, where there is one.

    The switch looks every 5 s and gives a cell 5 s to end: a deadline may be passed by as much.
    """
    idle = price.for_seconds(options.terms.lease + _LEASE_SLACK_S)
    whole = price.for_seconds(options.terms.hard)
    text = f"at worst {idle} idle (nobody in touch for {options.terms.lease // 60} min), {min(options.budget, whole)} for a running cell"
    return text + f", {whole} in all ({options.terms.hard // 3600} h); {waiting(price, options, stopped)}"
