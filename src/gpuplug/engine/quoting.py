"""What a machine would cost: offers to look at, offers to rent, and why the first of them is the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine import choosing
from gpuplug.engine.bidding import with_bid
from gpuplug.engine.suiting import idle_options
from gpuplug.errors import NoOfferError
from gpuplug.market import Board, Market, Series, Source, offers_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpuplug.config import Options
    from gpuplug.engine.platforms import Platforms
    from gpuplug.errors import GpuplugError
    from gpuplug.ledger import Ledger
    from gpuplug.providers import Provider
    from gpuplug.types import Clock, Offer, Query

LOOKED_S = 30.0  # prices that only are looked at may be so old


@dataclass(frozen=True, slots=True)
class Quote:
    """What may be rented, best first; and of each platform that was asked in vain why, one line each."""

    offers: list[tuple[Offer, Provider]]
    passed_over: list[str]


class Quoting:
    """Asks the market for what the options say. Costs nothing, may be repeated."""

    def __init__(self, platforms: Platforms, ledger: Ledger, clock: Clock) -> None:
        self._platforms = platforms
        self._market = Market(ledger, clock)

    def look(self, options: Options, max_age_s: float = LOOKED_S) -> Board:
        """Return the offers of every platform whose prices can be read, at most so old; needs no key."""
        return self._market.offers(self._readable(options), choosing.query_of(options), max_age_s)

    def why_none(self, options: Options, board: Board) -> GpuplugError:
        """Return what to say of an empty `board`: the nearest offer and what excluded it."""
        sources = self._readable(options)
        where = ", ".join(source.provider.name for source in sources)
        again = choosing.search_again(lambda wider: self._market.offers(sources, wider, LOOKED_S))
        return choosing.nothing(board, choosing.query_of(options), where, again)

    def history(self, options: Options) -> list[Series]:
        """Return how prices went, as this computer saw them; asks no platform."""
        return self._market.history(self._readable(options), options.gpu)

    def offers(self, options: Options) -> Quote:
        """Return what may be rented under the cap, best first, spot offers at what is bid for them; asked anew.

        Raises:
            NoOfferError: nothing fits.
            TooDearError: all that fit are dearer than the cap.
        """
        names = config.choose_platforms(options.platform)
        query = choosing.query_of(options)
        sources = self._sources(names, query)
        again = choosing.search_again(lambda wider: self._market.offers(sources, wider, LOOKED_S))
        board = self._market.offers(sources, query)
        fitting = choosing.affordable(board, query, options.max_price, ", ".join(names), again)
        asked = [source.provider.name for source in sources]
        free = self._platforms.get(fitting[0].provider).traits.free
        idle = [idle_options(fitting[0].provider, options)] if free else []
        unable = [f"{name} has no volumes and was not asked" for name in names if name not in asked]
        return Quote(
            [(with_bid(offer, options.max_price), self._platforms.get(offer.provider)) for offer in fitting],
            [*choosing.passed_over(board, fitting, query, asked, options.max_price), *unable, *filter(None, idle)],
        )

    def same(self, offer: Offer, options: Options) -> tuple[Offer, Provider]:
        """Return `offer` as it can be rented now under the cap: this one, or another share of the same machine; asked anew.

        Raises:
            NoOfferError: it is not there any more.
            TooDearError: its price is above the cap now.
        """
        for found, provider in self.offers(options).offers:
            if found.id == offer.id or (offer.machine and found.machine == offer.machine):
                return found, provider
        raise NoOfferError(
            f"{offer.gpu} {offer.provider} {offer.id} is not offered at {options.max_price}/h any more; nothing was rented",
            hint="%gpu prices",
        )

    def why(self, offers: list[Offer], passed_over: list[str], options: Options) -> str:
        """Say why the first offer is the first, where there was a choice; with `-v` show the others too."""
        query = choosing.query_of(options)
        chosen = [choosing.reason(offers, query)] if offers[0].price.micros else []
        lines = [] if options.quiet else [*chosen, *passed_over]
        return "\n".join([*lines, offers_table(offers, query)] if options.verbose else lines)

    def _sources(self, names: Iterable[str], query: Query) -> list[Source]:
        providers = choosing.able([self._platforms.get(name) for name in dict.fromkeys(names)], query)
        return [
            Source(
                provider,
                f"{provider.name} {config.base_url(provider.name)}",
                keyed=config.find_key(provider.name) is not None,
            )
            for provider in providers
        ]

    def _readable(self, options: Options) -> list[Source]:
        named = [name for name in options.platform if name in config.KEY_PLACES]
        keyless = [name for name in named or config.KEY_PLACES if self._platforms.get(name).traits.keyless_prices]
        return self._sources(config.choose_platforms(options.platform, keyless=keyless), choosing.query_of(options))
