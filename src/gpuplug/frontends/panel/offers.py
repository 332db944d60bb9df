"""`prices`: what can be rented, as the panel shows it, and how prices went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuplug.frontends.panel.fields import LONG_TEXT_LIMIT, moment, text, trouble, usd
from gpuplug.market import board_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuplug.frontends.panel.known import Failure
    from gpuplug.market import Board, Series
    from gpuplug.types import Offer, Query

_SAMPLES = 60
_FOREIGN = ("gpu", "cuda", "region", "suspicious")
_KEPT = (
    "platform",
    "gpu_count",
    "vram_gb",
    "usd_per_hour",
    "disk_usd_per_hour",
    "sent_usd_per_gb",
    "reliability",
    "down_mbps",
    "up_mbps",
    "cloud",
    "spot",
    "simulated",
)


def offer_id(offer: Offer) -> str:
    """Return the name under which the panel knows an offer."""
    return f"{offer.provider}/{offer.id}"


def prices(board: Board, query: Query, history: Sequence[Series], at: float) -> dict[str, Any]:
    """Return the board that was read at `at`, cheapest true price first, suspicious offers last."""
    data = board_data(board, query)
    rows = [_row(offer, row) for offer, row in zip(board.offers, data["offers"], strict=True)]
    used = {row["series"] for row in rows}
    return {
        "at": moment(at - board.age_s),
        "total": len(rows),
        "dropped": board.dropped,
        "hours": query.hours,
        "disk_gb": query.disk_gb,
        "items": rows,
        "series": {key: _series(each) for each in history if (key := _series_key(each)) in used},
        "troubles": [text(each, LONG_TEXT_LIMIT) for each in board.troubles],
    }


def frame(
    body: dict[str, Any] | None, failure: Failure | None, stale_after_s: float, *, loading: bool
) -> dict[str, Any]:
    """Return `prices` with what is to be said of its age and its errors; `body` None: never read."""
    empty: dict[str, Any] = {
        "at": None,
        "items": None,
        "series": {},
        "total": None,
        "dropped": 0,
        "hours": None,
        "disk_gb": None,
        "troubles": [],
    }
    error = trouble(failure.error) | {"since": moment(failure.since)} if failure else None
    return {**(body or empty), "stale_after_s": stale_after_s, "loading": loading, "error": error}


def _row(offer: Offer, data: dict[str, Any]) -> dict[str, Any]:
    gpu, cloud = text(offer.gpu), data["cloud"] or ""
    return {
        "id": text(offer_id(offer)),
        **{name: data[name] for name in _KEPT},
        **{name: text(data[name]).strip(" ,") for name in _FOREIGN},
        "series": f"{offer.provider}|{gpu}|{cloud}|{int(offer.spot)}",
    }


def _series_key(each: Series) -> str:
    return f"{each.platform}|{text(each.gpu)}|{each.cloud}|{int(each.spot)}"


def _series(each: Series) -> dict[str, Any]:
    samples = each.samples[-_SAMPLES:]
    return {
        "samples": [[moment(sample.at), usd(sample.low)] for sample in samples],
        "low_usd": usd(min(sample.low for sample in each.samples)),
    }
