"""Which offers may be rented, in which order, and why: the floors, the cap, and what to type when nothing is left."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from gpuplug import gpus
from gpuplug.engine import bidding
from gpuplug.errors import GpuplugError, NoOfferError, TooDearError, UnknownNameError, UsageError
from gpuplug.types import Money, Offer, Query, cuda_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpuplug.config import Options
    from gpuplug.market import Board
    from gpuplug.providers import Provider

# `pytorch:2.6.0-cuda12.4-cudnn9`, `nvidia/cuda:12.4.1-base`, `pytorch:1.0-cu1281-torch280`
_CUDA_TAG = re.compile(r"cuda[:_-]?(\d{1,2})\.(\d{1,2})|\bcu(\d{2})(\d)")
_NO_FLOORS = {"min_reliability": 0.0, "min_down_mbps": 0.0, "cuda": "", "region": (), "cloud": None}


def query_of(options: Options) -> Query:
    """Return what `options` demand of a machine."""
    return Query(
        gpus=options.gpu,
        disk_gb=options.disk,
        min_reliability=options.min_reliability,
        cloud=options.cloud,
        spot=options.spot,
        min_down_mbps=options.min_net,
        cuda=_cuda_floor(options),
        region=options.region,
        hours=options.hours,
        data_gb=options.data,
        volume_gb=options.volume,
        network_volume=options.network_volume,
    )


def _cuda_floor(options: Options) -> str:
    """Return the least CUDA that the driver must do; "" when the name of the image does not say it."""
    if options.cuda != "image":
        return "" if options.cuda == "any" else options.cuda
    return cuda_of_image(options.image)


def cuda_of_image(image: str) -> str:
    """Return the CUDA version that an image is made for, as its name tells; "" when it does not."""
    match = _CUDA_TAG.search(image)
    if match is None:
        return ""
    return f"{match[1] or match[3]}.{match[2] or match[4]}"


def able(providers: Sequence[Provider], query: Query) -> list[Provider]:
    """Return the providers that can mount the wished volume; all, when none is wished.

    Raises:
        UsageError: none of them has volumes.
    """
    if not query.volume_gb and not query.network_volume:
        return list(providers)
    found = [provider for provider in providers if provider.traits.volumes]
    if not found:
        names = ", ".join(provider.name for provider in providers)
        raise UsageError(f"{names} has no volumes", hint="leave --volume and --network-volume out, or use -p runpod")
    return found


def affordable(
    board: Board, query: Query, cap: Money, where: str, relaxed: Callable[[Query], Sequence[Offer]]
) -> list[Offer]:
    """Return the offers that may be picked, best first. `relaxed` searches again, with fewer floors.

    Raises:
        UnknownNameError: there is no such GPU; names the nearest.
        NoOfferError: nothing meets the floors at any price; names the nearest offer and what excluded it.
        TooDearError: all are dearer than `cap`; names the cheapest and what to type.
    """
    sound = [offer for offer in board.offers if _may_be_picked(offer, query)]
    if not sound:
        raise nothing(board, query, where, relaxed)
    fitting = [offer for offer in sound if offer.price <= cap]
    if not fitting:
        cheapest = min(sound, key=lambda offer: offer.price)
        raise TooDearError(
            f"no {_wanted(query)} under {cap}/h on {where}; the cheapest is {cheapest.price}/h ({cheapest.gpu})",
            hint=f"--max-price {_round_up(cheapest.price)}",
        )
    return fitting


def _may_be_picked(offer: Offer, query: Query) -> bool:
    return not offer.suspicious and (not query.gpus or query.preference(offer) < len(query.gpus))


def passed_over(board: Board, fitting: Sequence[Offer], query: Query, names: Sequence[str], cap: Money) -> list[str]:
    """Say of each platform that was asked and has none of the `fitting` offers why, and of each that did not answer."""
    there = {offer.provider for offer in fitting}
    silent = [trouble for trouble in board.troubles if trouble.partition(" ")[0] not in there]
    told = {trouble.partition(" ")[0] for trouble in silent}
    return [*silent, *(_why_not(board, query, name, cap) for name in names if name not in there | told)]


def _why_not(board: Board, query: Query, name: str, cap: Money) -> str:
    sound = [offer for offer in board.offers if offer.provider == name and _may_be_picked(offer, query)]
    if not sound:
        return f"{name} was asked and has no {_wanted(query)} that fits"
    cheapest = min(sound, key=lambda offer: offer.price)
    return f"{name} was asked; its cheapest is {cheapest.price}/h ({cheapest.gpu}), above {cap}/h"


def reason(fitting: Sequence[Offer], query: Query) -> str:
    """Say in one line why the first offer is the first."""
    first = fitting[0]
    rivals = sum(query.preference(offer) == query.preference(first) for offer in fitting)
    stated = "" if (query.hours, query.data_gb) == (1, 0) else f", {query.total(first)} for {_stated(query)}"
    choice = f"choice {query.preference(first) + 1} of {len(query.gpus)}, " if len(query.gpus) > 1 else ""
    told = {"min_reliability": first.reliability, "cuda": first.cuda}
    stated_floors = _floors(query, [name for name in _NO_FLOORS if told.get(name, True)])
    floors = f" with {stated_floors}" if stated_floors else ""
    spot = f" ({bidding.told(first)})" if first.spot else ""
    return f"{first.gpu} on {first.provider} at {first.price}/h{spot}{stated}: {choice}the cheapest of {rivals} that fit{floors}"


def _stated(query: Query) -> str:
    return f"{query.hours:g} h" + (f" and {query.data_gb:g} GB" if query.data_gb else "")


def _floors(query: Query, names: Sequence[str] = tuple(_NO_FLOORS)) -> str:
    texts = {
        "min_reliability": f"reliability >= {query.min_reliability:g}" if query.min_reliability else "",
        "min_down_mbps": f">= {query.min_down_mbps:g} Mbit/s" if query.min_down_mbps else "",
        "cuda": f"CUDA >= {query.cuda}" if query.cuda else "",
        "region": f"region {' or '.join(query.region)}" if query.region else "",
        "cloud": f"{query.cloud.value} cloud" if query.cloud else "",
    }
    return ", ".join(texts[name] for name in names if texts[name])


def _wanted(query: Query) -> str:
    names = ", ".join(f"{wish.count} x {wish.name}" if wish.count > 1 else wish.name for wish in query.gpus) or "GPU"
    return f"spot {names}" if query.spot else names


def nothing(
    board: Board, query: Query, where: str, relaxed: Callable[[Query], Sequence[Offer]]
) -> NoOfferError | UnknownNameError:
    """Return what to say when no offer may be picked."""
    wanted = _wanted(query)
    if where == "local":
        return NoOfferError(
            f"this computer has no {wanted}", hint="leave --gpu out, or rent one: export VAST_API_KEY=..."
        )
    if where.startswith("ssh:") and "," not in where:
        return NoOfferError(f"{where} has no {wanted}", hint="leave --gpu out, or rent one: -p vast")
    unknown = [wish.name for wish in query.gpus if not gpus.meant(wish.name)]
    if unknown and len(unknown) == len(query.gpus):
        near = ", ".join(gpus.nearest(unknown[0]))
        return UnknownNameError(f"no GPU {unknown[0]!r} on {where}", hint=f"did you mean {near}?" if near else "")
    excluded = [
        offer
        for offer in relaxed(dataclasses.replace(query, **_NO_FLOORS))  # type: ignore[arg-type]  # each of its own type
        if _may_be_picked(offer, query) and query.unmet(offer)
    ]
    if excluded:
        return _under_a_floor(excluded, query, where)
    odd = f"; {len(board.offers)} look wrong and are never picked" if board.offers else ""
    troubles = "".join(f"\n{trouble}" for trouble in board.troubles)
    return NoOfferError(
        f"no {wanted} on {where} now{odd}{troubles}",
        hint="name more models: --gpu RTX_4090,RTX_3090; or look: %gpu prices",
    )


def _under_a_floor(excluded: Sequence[Offer], query: Query, where: str) -> NoOfferError:
    """Name the offer that comes nearest: the fewest floors, then the best value of the first of them, then the price.

    One of which a floor is not even known says nothing while there are others.
    """

    def distance(offer: Offer) -> tuple[bool, int, float, int]:
        missed = query.unmet(offer)
        unknown = any(not is_known(offer, name) for name in missed)
        return unknown, len(missed), -_value(offer, missed[0]), offer.price.micros

    nearest = min(excluded, key=distance)
    missed = query.unmet(nearest)
    best = "best" if len(missed) == 1 else "nearest"
    had = ", ".join(has(nearest, name) for name in missed)
    return NoOfferError(
        f"no {_wanted(query)} with {_floors(query, missed)} on {where}; "
        f"the {best} has {had} ({nearest.gpu} at {nearest.price}/h)",
        hint=" ".join(_type_instead(nearest, name) for name in missed),
    )


def is_known(offer: Offer, floor: str) -> bool:
    """Tell whether it is known how `offer` stands to a floor that it does not meet."""
    told = {"min_down_mbps": offer.down_mbps, "region": offer.region, "cloud": offer.cloud}
    return bool(told.get(floor, True))


def _value(offer: Offer, floor: str) -> float:
    if floor == "cuda":
        major, minor = cuda_version(offer.cuda) or (0, 0)
        return major * 100 + minor
    return {"min_reliability": offer.reliability, "min_down_mbps": offer.down_mbps}.get(floor, 0.0)


def has(offer: Offer, floor: str) -> str:
    """Say what `offer` has where a floor was asked for."""
    cloud = offer.cloud.value if offer.cloud else "no known"
    return {
        "min_reliability": f"{_cut(offer.reliability, 4)}",
        "min_down_mbps": f"{int(offer.down_mbps)} Mbit/s" if offer.down_mbps else "no known speed",
        "cuda": f"CUDA {offer.cuda}",
        "region": f"region {offer.region or 'unknown'}",
        "cloud": f"{cloud} cloud",
        "spot": "spot" if offer.spot else "no spot machine",
    }[floor]


def _type_instead(offer: Offer, floor: str) -> str:
    code = offer.region.rpartition(", ")[2]
    return {
        "min_reliability": f"--min-reliability {_cut(offer.reliability, 4)}",
        "min_down_mbps": f"--min-net {int(offer.down_mbps)}" if offer.down_mbps else "leave --min-net out",
        "cuda": f"--cuda {offer.cuda}",
        "region": f"--region {code}" if code else "leave --region out",
        "cloud": "--cloud any",
    }[floor]


def _cut(value: float, digits: int) -> str:
    """Return `value` cut, not rounded, so that typed as a floor it still holds."""
    scale = 10**digits
    return f"{int(value * scale) / scale:g}"


def _round_up(price: Money) -> str:
    cents = -(-price.micros // 10_000)
    return f"{cents // 100}.{cents % 100:02d}"


def search_again(search: Callable[[Query], Board]) -> Callable[[Query], Sequence[Offer]]:
    """Return a search that only helps to explain: what goes wrong in it is not worth an error of its own."""

    def again(query: Query) -> Sequence[Offer]:
        try:
            return search(query).offers
        except GpuplugError:
            return ()

    return again
