"""Searching the Vast.ai market: the filter, the provider's own GPU names, and the ranking of what came back."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from gpuplug.errors import UnknownNameError
from gpuplug.providers.vast import rows
from gpuplug.types import OfferList, gpu_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpuplug.types import GpuWish, Offer, Query

# The server returns no more than 64 whatever is asked, and has no second page.
MOST_OFFERS = 64
# A reply that ignores the limit must not cost seconds.
_MOST_ROWS = 1000
_LEAST_DISK_GB = 8


def disk_gb(query_gb: int) -> int:
    """Return the size of the disk that is rented for a wish: the provider makes none below 8 GB."""
    return max(_LEAST_DISK_GB, query_gb)


def resolve(wish: GpuWish, known: Sequence[str]) -> list[str]:
    """Return the provider's own spellings of the wished GPU.

    Raises:
        UnknownNameError: it has none; names the nearest.
    """
    by_key: dict[str, list[str]] = {}
    for name in known:
        by_key.setdefault(gpu_key(name), []).append(name)
    wanted = gpu_key(wish.name)
    if wanted in by_key:
        return by_key[wanted]
    parts = [key for key in by_key if wanted and wanted in key]
    near = parts or difflib.get_close_matches(wanted, by_key, 3, 0.6)
    names = ", ".join(by_key[key][0] for key in near[:5])
    raise UnknownNameError(f"no GPU {wish.name!r} on vast", hint=f"did you mean {names}?" if names else "")


def body(query: Query, wish: GpuWish | None, known: Sequence[str]) -> dict[str, object]:
    """Return the search for one wish. A dict, never a string query: those lose their filters silently.

    Raises:
        UnknownNameError: none of the `known` names is the wished GPU.
    """
    size = disk_gb(query.disk_gb)
    wanted: dict[str, object] = {
        "verified": {"eq": True},
        "external": {"eq": False},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "reliability2": {"gte": query.min_reliability},
        "disk_space": {"gte": size},
        "order": [["dph_total", "asc"]],
        "type": "on-demand",
        "limit": MOST_OFFERS,
        # Part of the price: without it the disk comes on top.
        "allocated_storage": float(size),
    }
    if wish is not None:
        names = resolve(wish, known)
        wanted["gpu_name"] = {"eq": names[0]} if len(names) == 1 else {"in": names}
        wanted["num_gpus"] = {"eq": wish.count}
    return wanted


def read(found: Sequence[object], query: Query, wish: GpuWish | None, *, simulated: bool) -> tuple[list[Offer], int]:
    """Return the offers that make sense and fit, and the number of rows that were dropped."""
    taken = found[:_MOST_ROWS]
    size = disk_gb(query.disk_gb)
    read_rows = (rows.offer(row, size, simulated=simulated) for row in taken)
    kept = [offer for offer in read_rows if offer is not None and _fits(offer, query, wish)]
    return kept, len(found) - len(kept)


def _fits(offer: Offer, query: Query, wish: GpuWish | None) -> bool:
    if wish is not None and not wish.matches(offer.gpu, offer.gpu_count):
        return False
    return offer.reliability >= query.min_reliability


def rank(offers: Iterable[Offer], dropped: int) -> OfferList:
    """Return every offer once, cheapest first; what looks wrong comes last, so that a lie cannot win by its price."""
    unique = {offer.id: offer for offer in offers}
    ordered = sorted(unique.values(), key=lambda offer: (bool(offer.suspicious), offer.price, offer.id))
    return OfferList(tuple(ordered), dropped)
