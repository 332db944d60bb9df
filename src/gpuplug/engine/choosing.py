"""Which offers may be rented, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.errors import NoOfferError, TooDearError, UsageError
from gpuplug.types import Money, Offer, OfferList, Query

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpuplug.config import Options
    from gpuplug.providers import Provider


def query_of(options: Options) -> Query:
    """Return what `options` demand of a machine."""
    return Query(
        gpus=options.gpu,
        disk_gb=options.disk,
        volume_gb=options.volume,
        network_volume=options.network_volume,
    )


def search(providers: Iterable[Provider], query: Query) -> OfferList:
    """Ask every provider; offers in the order of preference, cheapest first. Costs nothing.

    Raises:
        UsageError: a volume is wanted and none of them has any.
    """
    found = [provider.offers(query) for provider in _able(list(providers), query)]
    offers = sorted((offer for each in found for offer in each.offers), key=lambda offer: _rank(offer, query))
    return OfferList(tuple(offers), sum(each.dropped for each in found))


def _able(providers: list[Provider], query: Query) -> list[Provider]:
    """Return the providers that can mount the wished volume; all, when none is wished."""
    if not query.volume_gb and not query.network_volume:
        return providers
    able = [provider for provider in providers if provider.traits.volumes]
    if not able:
        names = ", ".join(provider.name for provider in providers)
        raise UsageError(f"{names} has no volumes", hint="leave --volume and --network-volume out, or use -p runpod")
    return able


def _rank(offer: Offer, query: Query) -> tuple[int, int, float]:
    return wish_index(offer, query), offer.price.micros, -offer.reliability


def wish_index(offer: Offer, query: Query) -> int:
    """Return which of the wished GPUs the offer is; 0 when any will do."""
    matches = (index for index, wish in enumerate(query.gpus) if wish.matches(offer.gpu, offer.gpu_count))
    return next(matches, len(query.gpus) if query.gpus else 0)


def affordable(offers: Sequence[Offer], query: Query, cap: Money, where: str) -> list[Offer]:
    """Return the offers that may be picked.

    Raises:
        NoOfferError: nothing fits at any price.
        TooDearError: all are dearer than `cap`; names the cheapest and what to type.
    """
    wanted = ", ".join(wish.name for wish in query.gpus) or "GPU"
    sound = [
        offer
        for offer in offers
        if not offer.suspicious and (not query.gpus or wish_index(offer, query) < len(query.gpus))
    ]
    if not sound:
        if where == "local":
            raise NoOfferError(
                f"this computer has no {wanted}", hint="leave --gpu out, or rent one: export VAST_API_KEY=..."
            )
        raise NoOfferError(
            f"no {wanted} on {where} now", hint="name more models: --gpu RTX_4090,RTX_3090; or look: %gpu prices"
        )
    fitting = [offer for offer in sound if offer.price <= cap]
    if not fitting:
        cheapest = min(sound, key=lambda offer: offer.price)
        raise TooDearError(
            f"no {wanted} under {cap}/h on {where}; the cheapest is {cheapest.price}/h ({cheapest.gpu})",
            hint=f"--max-price {_round_up(cheapest.price)}",
        )
    return fitting


def _round_up(price: Money) -> str:
    cents = -(-price.micros // 10_000)
    return f"{cents // 100}.{cents % 100:02d}"
