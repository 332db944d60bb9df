"""What renting an offer would cost, said before anybody agrees; agreed to once."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpuplug import config
from gpuplug.engine import consent
from gpuplug.engine.bidding import with_bid
from gpuplug.engine.unfetched import rests
from gpuplug.errors import OfferGoneError, UnknownNameError, UsageError
from gpuplug.frontends.panel.fields import LONG_TEXT_LIMIT, moment, text, usd
from gpuplug.frontends.panel.offers import offer_id
from gpuplug.types import GpuWish, Money

if TYPE_CHECKING:
    from gpuplug.config import Options
    from gpuplug.engine import Engine
    from gpuplug.types import Clock, Offer

GOOD_S = 120.0
MOST = 64
_ANY_BID = Money.dollars(1_000_000)


@dataclass(frozen=True, slots=True)
class Quote:
    """An offer at a price, for one notebook, until `until` (monotonic seconds)."""

    offer: Offer
    options: Options
    notebook: str
    until: float


class Quotes:
    """The quotes that nobody has agreed to yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Quote] = {}

    def make(self, engine: Engine, offer: Offer, notebook: str) -> dict[str, Any]:
        """Return what is to be shown before anybody agrees. Costs nothing, asks nobody.

        Raises:
            UsageError: the offer looks wrong.
            BudgetError: a standing budget leaves too little, or cannot be read.
        """
        if offer.suspicious:
            raise UsageError(
                f"{offer_id(offer)} is not rented from here: {offer.suspicious}", hint="%gpu prices -v tells more"
            )
        offer = with_bid(offer, _ANY_BID)
        options = _options(offer)
        paid = offer.price.micros > 0 and not offer.simulated
        if paid:
            options = replace(options, terms=engine.budgets.terms(offer.gpu, offer.price, options.terms))
        rest = rests(offer.stopped_price, options, engine.provider(offer.provider).traits)
        worst = consent.worst_case(offer.price, options, rest)
        words = f"rent {offer.gpu} on {offer.provider} at {offer.price}/h? {worst}"
        token = secrets.token_hex(16)
        self._keep(token, Quote(offer, options, notebook, self._clock.monotonic() + GOOD_S))
        return {
            "quote": token,
            "until": moment(self._clock.now().timestamp() + GOOD_S),
            "usd_per_hour": usd(offer.price),
            "text": text(words, LONG_TEXT_LIMIT),
            "worst_usd": usd(offer.price.for_seconds(options.terms.hard)),
            "budget_text": engine.budgets.line() if paid and engine.budgets.standing().limits else None,
            "suspicious": "",
            "simulated": offer.simulated,
        }

    def take(self, token: str) -> Quote:
        """Return the quote and forget it.

        Raises:
            UnknownNameError: there is none of that name here, or it was taken already.
            OfferGoneError: it is too old.
        """
        with self._lock:
            quote = self._open.pop(token, None)
        if quote is None:
            raise UnknownNameError("no such quote, or it is used; nothing was rented", hint="choose the offer again")
        if quote.until < self._clock.monotonic():
            raise OfferGoneError("this quote is too old; nothing was rented", hint="choose the offer again")
        return quote

    def _keep(self, token: str, quote: Quote) -> None:
        with self._lock:
            self._open[token] = quote
            while len(self._open) > MOST:
                self._open.pop(next(iter(self._open)))


def _options(offer: Offer) -> Options:
    """Return the options under which this very offer is rented, and at no higher price."""
    return replace(
        config.parse("", "up"),
        platform=(offer.provider,),
        gpu=(GpuWish(offer.gpu, offer.gpu_count),),
        max_price=offer.price,
        cloud=offer.cloud,
        spot=offer.spot,
        new=True,
    )
