"""What RunPod has free, from either of its APIs, as offers: one for each GPU type and cloud."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from gpuplug import gpus
from gpuplug.errors import UnknownNameError
from gpuplug.providers._reading import clean, integer, mapping, number, price
from gpuplug.providers.runpod import orders, prices, rows
from gpuplug.types import Cloud, Money, Offer, OfferList, cuda_version, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpuplug.types import GpuWish, Query

_DEAREST = 100_000
_MOST_GPUS = 1024
_MOST_ROWS = 2000
_VERSION = re.compile(r"\d{1,3}\.\d{1,3}")
_STOCKED = frozenset({"LOW", "MEDIUM", "HIGH"})
_SHOWN_CENTERS = 3
_NVIDIA = "nvidia"
_MAKERS = frozenset({_NVIDIA, "amd", "unknown"})


@dataclass(frozen=True, slots=True)
class Stock:
    """One GPU type in one cloud. `price` and `bid` are dollars for one GPU and hour; `centers` are where it is free."""

    gpu_id: str
    name: str
    cloud: Cloud
    memory_gb: int
    price: Decimal | None
    free: bool
    most: int = _MOST_GPUS
    bid: Decimal | None = None
    centers: tuple[str, ...] = ()
    cuda: str = ""


def from_catalog(row: object, cloud: Cloud) -> Stock | None:
    """Read a row of the REST catalog that was asked for `cloud`; None when it is no GPU of ours or not in that cloud."""
    fields = mapping(row)
    kind = cloud.value
    if not _is_nvidia(fields) or fields.get(kind) is not True:
        return None
    gpu_id, name = clean(fields.get("id"), 100), clean(fields.get("name"), 60)
    if not gpu_id or not name:
        return None
    return Stock(
        gpu_id=gpu_id,
        name=name,
        cloud=cloud,
        memory_gb=integer(fields.get("memory"), 0, 1 << 14) or 0,
        price=number(mapping(fields.get("price")).get(kind), 0, _DEAREST),
        free=clean(fields.get("availability")) in _STOCKED,
        most=integer(mapping(fields.get("maxCount")).get(kind), 0, _MOST_GPUS) or 0,
        centers=_centers(fields.get("dataCenters")),
        cuda=_newest(fields.get("cudaVersions")),
    )


def from_graphql(row: object, cloud: Cloud, center: str) -> Stock | None:
    """Read a row of the GraphQL API's `gpuTypes`, which was asked for `center` or for any ("")."""
    fields = mapping(row)
    lowest = mapping(fields.get(cloud.value))
    if not _is_nvidia(fields) or fields.get(f"{cloud.value}Cloud") is not True:
        return None
    gpu_id, name = clean(fields.get("id"), 100), clean(fields.get("displayName"), 60)
    if not gpu_id or not name:
        return None
    stock = lowest.get("stockStatus")
    return Stock(
        gpu_id=gpu_id,
        name=name,
        cloud=cloud,
        memory_gb=integer(fields.get("memoryInGb"), 0, 1 << 14) or 0,
        price=number(lowest.get("uninterruptablePrice"), 0, _DEAREST),
        free=isinstance(stock, str) and stock.upper() in _STOCKED,
        most=integer(fields.get(f"maxGpuCount{cloud.value.capitalize()}Cloud"), 0, _MOST_GPUS) or 0,
        bid=number(lowest.get("minimumBidPrice"), 0, _DEAREST),
        centers=(center,) if center else (),
    )


def clouds(query: Query) -> tuple[Cloud, ...]:
    """Return the clouds that may be rented from."""
    return (Cloud.SECURE, Cloud.COMMUNITY) if query.cloud is None else (query.cloud,)


def check_names(found: Sequence[Stock], query: Query) -> None:
    """Raise UnknownNameError for a wished GPU that neither a row nor the catalogue knows; it names the nearest."""
    names = {name: stock.name for stock in found for name in (stock.name, rows.short_name(stock.gpu_id))}
    for wish in query.gpus:
        if not names or gpus.meant(wish.name) or any(_is(stock, wish) for stock in found):
            continue
        near = ", ".join(gpus.nearest(wish.name, tuple(names)))
        raise UnknownNameError(
            f"no GPU {wish.name!r} on runpod", hint=f"did you mean {near}?" if near else "%gpu prices"
        )


def offers(found: Iterable[Stock], query: Query, count: int, center: str, *, simulated: bool) -> list[Offer]:
    """Return the offers with `count` GPUs that fit `query`; with a `center`, only those that are free there."""
    wishes = [wish for wish in query.gpus if wish.count == count]
    made: list[Offer] = []
    for stock in found:
        if not stock.free or stock.most < count or (center and center not in stock.centers):
            continue
        if query.spot and stock.bid is None:
            continue
        wish = next((wish for wish in wishes if _is(stock, wish)), None)
        if wish is not None or not query.gpus:
            made.append(_offer(stock, query, count, _spelling(stock, wish), center, simulated=simulated))
    return made


def rank(found: Iterable[Offer], dropped: int) -> OfferList:
    """Return every offer once, cheapest first; what looks wrong comes last."""
    unique = {(offer.id, offer.gpu_count): offer for offer in found}
    ordered = sorted(unique.values(), key=lambda offer: (bool(offer.suspicious), offer.price, offer.id))
    return OfferList(tuple(ordered), dropped)


def senseless(found: Sequence[object]) -> int:
    """Return how many rows name no GPU type at all, or none of a known maker."""
    return sum(not clean(mapping(row).get("id")) or _maker(row) not in _MAKERS for row in found)


def bounded(found: Sequence[object]) -> Sequence[object]:
    """Return no more rows than a sensible answer has."""
    return found[:_MOST_ROWS]


def _is(stock: Stock, wish: GpuWish) -> bool:
    return any(_named(stock, name, wish) for name in (stock.name, stock.gpu_id))


def _named(stock: Stock, name: str, wish: GpuWish) -> bool:
    return wish.matches(name, wish.count, stock.memory_gb * 1024)


def _spelling(stock: Stock, wish: GpuWish | None) -> str:
    """The wish must find itself in the offer again, in whichever of the provider's two spellings it came."""
    by_id = wish is not None and not _named(stock, stock.name, wish)
    return rows.short_name(stock.gpu_id) if by_id else stock.name


def _cuda(stock: Stock, query: Query) -> str:
    """Return what may be counted on: the floor that is sent along with the order, or less where no host has so much.

    The newest version is that of the best host of this kind, and any host may come.
    """
    has, least = cuda_version(stock.cuda), cuda_version(query.cuda)
    return stock.cuda if has and least and has < least else query.cuda


def _offer(stock: Stock, query: Query, count: int, gpu: str, center: str, *, simulated: bool) -> Offer:
    each = stock.bid if query.spot else stock.price
    total = Decimal(0) if each is None else each * count
    name = f"{stock.gpu_id}/{stock.cloud.name}"
    places = tuple(one for one in stock.centers if any(within(one, place) for place in query.region))
    return Offer(
        provider="runpod",
        id=name,
        # No machine has a lasting name here: the next one of the same kind may be any.
        machine="",
        gpu=gpu,
        gpu_count=count,
        price=prices.running(total, orders.disk_gb(query.disk_gb), query.volume_gb),
        vram_mb=stock.memory_gb * 1024,
        disk_price=prices.running(Decimal(0), orders.disk_gb(query.disk_gb), query.volume_gb),
        stopped_price=prices.stopped(query.volume_gb),
        cuda=_cuda(stock, query),
        region=center or ", ".join(places) or _region(stock.centers),
        places=places,
        cloud=stock.cloud,
        spot=query.spot,
        min_bid=Money.dollars(total) if query.spot else Money(0),
        simulated=simulated,
        suspicious=price(None if each is None else total)[1],
    )


def _is_nvidia(fields: object) -> bool:
    return _maker(fields) == _NVIDIA


def _maker(row: object) -> str:
    return clean(mapping(row).get("manufacturer")).casefold()


def _centers(listed: object) -> tuple[str, ...]:
    if not isinstance(listed, list):
        return ()
    free = (mapping(row) for row in listed if clean(mapping(row).get("availability")) in _STOCKED)
    return tuple(name for row in free if (name := clean(row.get("id"), 40)))


def _region(centers: tuple[str, ...]) -> str:
    more = len(centers) - _SHOWN_CENTERS
    return ", ".join(centers[:_SHOWN_CENTERS]) + (f" and {more} more" if more > 0 else "")


def _newest(listed: object) -> str:
    """Return the newest version of CUDA that a free machine has."""
    if not isinstance(listed, list):
        return ""
    told = [clean(mapping(row).get("version"), 8) for row in listed if mapping(row).get("available") is True]
    # Version 12.10 is newer than 12.9.
    return max((version for version in told if _VERSION.fullmatch(version)), key=_order, default="")


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
