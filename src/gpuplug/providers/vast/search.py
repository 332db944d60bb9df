"""Searching the Vast.ai market: the filter, the provider's own GPU names, and the ranking of what came back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from gpuplug import gpus
from gpuplug.errors import UnknownNameError
from gpuplug.providers.vast import rows
from gpuplug.types import Cloud, OfferList, cuda_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gpuplug.types import GpuWish, Offer, Query

# The server returns no more than 64 whatever is asked, and has no second page.
MOST_OFFERS = 64
# A reply that ignores the limit must not cost seconds.
_MOST_ROWS = 10_000
_LEAST_DISK_GB = 8
_COUNTRY = 2  # letters of a country's code, which is all that the server can filter by


def disk_gb(query_gb: int) -> int:
    """Return the size of the disk that is rented for a wish: the provider makes none below 8 GB."""
    return max(_LEAST_DISK_GB, query_gb)


def resolve(wish: GpuWish, names: Callable[[], Sequence[str]]) -> list[str]:
    """Return the provider's own spellings of the wished GPU; none when the catalogue knows it and the provider not.

    `names` asks the provider for its names: only for a wish that the catalogue does not know.

    Raises:
        UnknownNameError: nobody knows it; names the nearest.
    """
    models = gpus.meant(wish.name)
    if models:
        return list(dict.fromkeys(name for gpu in models for name in gpu.named_by("vast")))
    offered = tuple(names())
    found = [name for name in offered if wish.matches(name, wish.count)]
    if not found:
        near = ", ".join(gpus.nearest(wish.name, offered))
        raise UnknownNameError(f"no GPU {wish.name!r} on vast", hint=f"did you mean {near}?" if near else "")
    return found


def body(query: Query, wish: GpuWish | None, names: Callable[[], Sequence[str]]) -> dict[str, object] | None:
    """Return the search for one wish; None when no offer can fit it.

    A dict, never a string query: those lose their filters silently.

    Raises:
        UnknownNameError: nobody knows the wished GPU.
    """
    size = disk_gb(query.disk_gb)
    wanted: dict[str, object] = {
        "verified": {"eq": True},
        "external": {"eq": False},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "reliability2": {"gte": query.min_reliability},
        "direct_port_count": {"gte": 1},
        "disk_space": {"gte": size},
        **_floors(query),
        "order": [["dph_total", "asc"]],
        "type": "bid" if query.spot else "on-demand",
        "limit": MOST_OFFERS,
        # Part of the price: without it the disk comes on top.
        "allocated_storage": float(size),
    }
    if wish is None:
        return wanted
    wanted["num_gpus"] = {"eq": wish.count}
    sizes = _sizes(wish)
    if sizes:
        wanted["gpu_ram"] = {"gte": min(low for low, _ in sizes), "lte": max(high for _, high in sizes)}
    spellings = resolve(wish, names)
    if not spellings:
        return None
    wanted["gpu_name"] = {"eq": spellings[0]} if len(spellings) == 1 else {"in": spellings}
    return wanted


def _sizes(wish: GpuWish) -> list[tuple[int, int]]:
    """Return what the driver reports for each size of the wished models; none when their names say it all."""
    models = gpus.meant(wish.name)
    told = {name for gpu in models for name in gpu.named_by("vast")}
    ambiguous = any(not told.isdisjoint(other.vast) for other in gpus.catalogue() if other not in models)
    return [gpus.reported(size) for size in sorted({gpu.vram_gb for gpu in models})] if ambiguous else []


def _floors(query: Query) -> dict[str, object]:
    found: dict[str, object] = {}
    if query.min_down_mbps:
        found["inet_down"] = {"gte": query.min_down_mbps}
    version = cuda_version(query.cuda)
    if version is not None:
        found["cuda_max_good"] = {"gte": float(f"{version[0]}.{version[1]}")}
    if query.region and all(len(place.strip()) == _COUNTRY for place in query.region):
        found["geolocation"] = {"in": [place.strip().upper() for place in query.region]}
    if query.cloud is not None:
        found["datacenter"] = {"eq": query.cloud is Cloud.SECURE}
    return found


def read(found: Sequence[object], query: Query, wish: GpuWish | None, *, simulated: bool) -> tuple[list[Offer], int]:
    """Return the offers that make sense and fit, and the number of rows that made no sense or were too many."""
    taken = found[:_MOST_ROWS]
    size = disk_gb(query.disk_gb)
    read_rows = [rows.offer(row, size, simulated=simulated, spot=query.spot) for row in taken]
    # The names of places are compared here; every other floor was asked for, so that a row under it makes no sense.
    asked = dataclasses.replace(query, region=())
    sensible = [offer for offer in read_rows if offer is not None and _fits(offer, asked, wish)]
    return [offer for offer in sensible if not query.unmet(offer)], len(found) - len(sensible)


def _fits(offer: Offer, query: Query, wish: GpuWish | None) -> bool:
    if wish is not None and not wish.matches(offer.gpu, offer.gpu_count, offer.vram_mb):
        return False
    return offer.direct_ports > 0 and offer.reliability >= query.min_reliability and not query.unmet(offer)


def rank(offers: Iterable[Offer], dropped: int) -> OfferList:
    """Return every offer once, cheapest first; what looks wrong comes last, so that a lie cannot win by its price."""
    unique = {offer.id: offer for offer in offers}
    ordered = sorted(unique.values(), key=lambda offer: (bool(offer.suspicious), offer.price, offer.id))
    return OfferList(tuple(ordered), dropped)
