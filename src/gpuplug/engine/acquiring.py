"""From a wish to a machine that works: offer after offer, over machines, models and platforms, until one does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from gpuplug.engine.guarding import why_unguarded
from gpuplug.errors import (
    AuthError,
    EndedError,
    GpuplugError,
    HostError,
    NoCreditError,
    NoOfferError,
    ProviderError,
    TooDearError,
    UnguardedError,
    UnknownOutcomeError,
    UnreachableError,
)
from gpuplug.ledger import Ledger, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpuplug.config import Terms
    from gpuplug.engine.linking import Live
    from gpuplug.engine.renting import Renting, Wish
    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Lease
    from gpuplug.providers import Provider
    from gpuplug.types import Clock, Money, Offer

MOST_ATTEMPTS = 6
SHUNNED_S = 86_400.0
# What says something of the whole account or platform, and not of one offer.
_OF_THE_PLATFORM = (AuthError, NoCreditError, UnreachableError)


# Here these are the doing of somebody else: an attempt asks for the end after it has looked.
_END_ASKED_FOR = frozenset({State.DESTROYING, State.GONE})


class Link(Protocol):
    """Turns a lease into a session, or raises a HostError."""

    def __call__(self, provider: Provider, lease: Lease, cap: Money, talk: Talk) -> Live:
        """Wait for the machine, prove it, and connect."""
        ...


class Acquiring:
    """Tries offers until one works. COSTS MONEY; each attempt that fails is ended and its cost told.

    `end` destroys leases and proves it; `cost` says what a lease has cost.
    """

    def __init__(
        self,
        ledger: Ledger,
        renting: Renting,
        clock: Clock,
        link: Link,
        end: Callable[[Iterable[Lease], Callable[[str], None]], list[Lease]],
    ) -> None:
        self._ledger = ledger
        self._renting = renting
        self._clock = clock
        self._link = link
        self._end = end

    def acquire(
        self,
        offers: list[tuple[Offer, Provider]],
        wish: Wish,
        agree: Callable[[Offer, Provider], Terms],
        talk: Talk,
    ) -> Live:
        """Return the first machine that works, of at most `MOST_ATTEMPTS` tried.

        `agree` raises where an offer may not be paid, and returns for how long it may.

        Raises:
            MoneyError: nobody agreed to an offer, or a budget is spent.
            NoOfferError: none did; names each with its reason and cost.
            UnknownOutcomeError: one may bill though nobody knows: no other is rented beside it.
            EndedError: its end was asked for meanwhile, in the panel or by another notebook: who did so wants no other.
        """
        tried: list[str] = []
        hints: list[str] = []
        closed: set[str] = set()
        unguarded = False
        for number, (offer, provider) in enumerate(offers):
            if len(tried) == MOST_ATTEMPTS:
                break
            if provider.name in closed:
                continue
            terms = agree(offer, provider)
            # A second machine without a switch says more of the platform than of its host: it is kept, under shorter terms.
            kept = unguarded or all(other.name in closed for _, other in offers[number + 1 :])
            agreed = replace(wish, options=replace(wish.options, terms=terms))
            try:
                return self._attempt(offer, provider, agreed, talk, unguarded_too=kept)
            except (UnknownOutcomeError, EndedError):
                raise
            except (ProviderError, HostError, TooDearError) as error:
                tried.append(_told(offer, error))
                hints += [error.hint] if error.hint else []
                talk.note(tried[-1])
                unguarded = unguarded or isinstance(error, UnguardedError)
                self._learn(offer, provider, error, closed)
        raise NoOfferError(
            "no machine could be had:\n" + "\n".join(tried),
            hint="; ".join(dict.fromkeys(hints)) or "%gpu prices, then try again or name more models",
        )

    def sound(self, offers: list[tuple[Offer, Provider]], talk: Talk) -> list[tuple[Offer, Provider]]:
        """Return the offers without the machines that were no good lately, and say how many were left out.

        Raises:
            NoOfferError: nothing is left; names the machines and what was wrong with them.
        """
        bad = self._ledger.shunned(self._clock.now().timestamp() - SHUNNED_S)
        good = [pair for pair in offers if (pair[0].provider, pair[0].machine) not in bad]
        left = len(offers) - len(good)
        if offers and not good:
            reasons = [
                f"{offer.provider} machine {offer.machine}: {bad[offer.provider, offer.machine]}" for offer, _ in offers
            ]
            raise NoOfferError(
                "every machine that fits was no good in the last day:\n" + "\n".join(reasons[:MOST_ATTEMPTS]),
                hint="name more models, or raise --max-price",
            )
        if left:
            talk.note(f"{left} of {len(offers)} offers left out: their machines were no good in the last day")
        return good

    def _learn(self, offer: Offer, provider: Provider, error: GpuplugError, closed: set[str]) -> None:
        if isinstance(error, _OF_THE_PLATFORM):
            closed.add(provider.name)
        elif isinstance(error, HostError) and offer.machine and not provider.traits.free:
            self._ledger.shun(provider.name, offer.machine, error.message)

    def _attempt(self, offer: Offer, provider: Provider, wish: Wish, talk: Talk, *, unguarded_too: bool) -> Live:
        talk.phase("rent", f"{offer.gpu} {offer.price}/h")
        lease = self._renting.rent(provider, offer, wish)
        try:
            live = self._link(provider, lease, wish.options.max_price, talk)
            return live if unguarded_too else _guarded(live)
        except BaseException as error:  # an interrupt included: what was rented and is not usable ends here
            found = self._ledger.lease(lease.label)
            (ended,) = self._end([found], talk.note)
            if not isinstance(error, GpuplugError):
                raise
            cost = ended.cost(self._clock.now().timestamp())
            error.billing = f"it cost {cost}" + ("" if ended.state is State.GONE else "; NOT PROVEN GONE")
            if found.state in _END_ASKED_FOR:
                raise _ended_by_somebody(lease, error) from error
            raise


def _ended_by_somebody(lease: Lease, error: GpuplugError) -> EndedError:
    named = f"{lease.gpu} {lease.provider} #{lease.instance_id}"
    ended = EndedError(f"{named} was ended by request before it was ready; no other was rented in its place")
    ended.hint, ended.billing = "run it again to rent one", error.billing
    return ended


def _guarded(live: Live) -> Live:
    if why := why_unguarded(live):
        raise UnguardedError(f"no dead man's switch here: {why}")
    return live


def _told(offer: Offer, error: GpuplugError) -> str:
    spent = f"; {error.billing}" if error.billing else ""
    return f"{offer.gpu} {offer.provider} {offer.id} at {offer.price}/h: {error.message}{spent}"
