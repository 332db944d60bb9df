"""Offers and their history as plain text and as data for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuplug import gpus
from gpuplug.outputs import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuplug.market.asking import Board
    from gpuplug.market.history import Series
    from gpuplug.types import Offer, Query

_MIB = 1024
_SPANS = ((60, "min"), (3600, "h"), (86_400, "d"))


def offers_table(offers: Sequence[Offer], query: Query) -> str:
    """Return offers as a table, in the order given; the total stands there when hours or data were stated."""
    stated = (query.hours, query.data_gb) != (1, 0)
    head = ["offer", "GPU", "VRAM", "$/h", "disk $/h", "$/GB sent"]
    head += [_total_head(query)] if stated else []
    head += ["reliability", "down Mbit/s", "CUDA", "region", "cloud", ""]
    return table(head, [_row(offer, query, stated=stated) for offer in offers])


def _total_head(query: Query) -> str:
    return f"{query.hours:g} h" + (f" + {query.data_gb:g} GB" if query.data_gb else "")


def _row(offer: Offer, query: Query, *, stated: bool) -> list[str]:
    marks = (
        f"suspicious: {offer.suspicious}" if offer.suspicious else "",
        "spot" if offer.spot else "",
        "simulated" if offer.simulated else "",
    )
    row = [
        f"{offer.provider} {offer.id}",
        f"{offer.gpu_count} x {offer.gpu}" if offer.gpu_count > 1 else offer.gpu,
        f"{_vram_gb(offer)} GB" if _vram_gb(offer) else "",
        str(offer.price),
        str(offer.disk_price),
        str(offer.down_price_per_gb),
    ]
    row += [str(query.total(offer))] if stated else []
    return [
        *row,
        f"{offer.reliability:.3f}" if offer.reliability else "",
        f"{offer.down_mbps:.0f}" if offer.down_mbps else "",
        offer.cuda,
        offer.region,
        offer.cloud.value if offer.cloud else "",
        ", ".join(mark for mark in marks if mark),
    ]


def _vram_gb(offer: Offer) -> int:
    """Return the memory of one GPU as it is sold, or as the driver reports it where the model is not known."""
    sizes = {gpu.vram_gb for gpu in gpus.identify(offer.gpu, offer.vram_mb)}
    return sizes.pop() if len(sizes) == 1 else round(offer.vram_mb / _MIB)


def board_data(board: Board, query: Query) -> dict[str, Any]:
    """Return offers as data; amounts are exact dollars as text, sizes and speeds carry their unit in the name."""
    return {
        "offers": [_offer_data(offer, query) for offer in board.offers],
        "hours": query.hours,
        "data_gb": query.data_gb,
        "disk_gb": query.disk_gb,
        "dropped": board.dropped,
        "age_s": round(board.age_s, 1),
        "troubles": list(board.troubles),
        "without": list(board.without),
    }


def _offer_data(offer: Offer, query: Query) -> dict[str, Any]:
    return {
        "platform": offer.provider,
        "offer": offer.id,
        "machine": offer.machine,
        "gpu": offer.gpu,
        "gpu_count": offer.gpu_count,
        "vram_gb": _vram_gb(offer),
        "architecture": next((gpu.architecture for gpu in gpus.identify(offer.gpu, offer.vram_mb)), ""),
        "usd_per_hour": offer.price.exact(),
        "disk_usd_per_hour": offer.disk_price.exact(),
        "stopped_usd_per_hour": offer.stopped_price.exact(),
        "sent_usd_per_gb": offer.down_price_per_gb.exact(),
        "fetched_usd_per_gb": offer.up_price_per_gb.exact(),
        "total_usd": query.total(offer).exact(),
        "reliability": offer.reliability or None,
        "down_mbps": offer.down_mbps or None,
        "up_mbps": offer.up_mbps or None,
        "cuda": offer.cuda,
        "region": offer.region,
        "cloud": offer.cloud.value if offer.cloud else None,
        "spot": offer.spot,
        "simulated": offer.simulated,
        "suspicious": offer.suspicious,
    }


def history_text(found: Sequence[Series]) -> str:
    """Return each series as one line: the lowest prices as bars, and their range."""
    return table(("GPU", "low $/h", "", "now", "median", "samples"), [_series_row(each) for each in found])


def _series_row(each: Series) -> list[str]:
    lows = [sample.low for sample in each.samples]
    last = each.samples[-1]
    reach = f"{min(lows)} to {max(lows)}" if min(lows) != max(lows) else str(lows[0])
    return [each.title, reach, each.sparkline(), str(last.low), str(last.median), f"{len(lows)} in {_age(each)}"]


def _age(each: Series) -> str:
    seconds = each.samples[-1].at + each.samples[-1].span - each.samples[0].at
    unit, name = next((pair for pair in reversed(_SPANS) if seconds >= 2 * pair[0]), _SPANS[0])
    return f"{max(1, round(seconds / unit))} {name}"


def history_data(found: Sequence[Series]) -> list[dict[str, Any]]:
    """Return each series as data."""
    return [
        {
            "platform": each.platform,
            "gpu": each.gpu,
            "cloud": each.cloud or None,
            "spot": each.spot,
            "samples": [
                {
                    "at": sample.at,
                    "seconds": sample.span,
                    "low_usd_per_hour": sample.low.exact(),
                    "median_usd_per_hour": sample.median.exact(),
                    "offers": sample.offers,
                }
                for sample in each.samples
            ],
        }
        for each in found
    ]
