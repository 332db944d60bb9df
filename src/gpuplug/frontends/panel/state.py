"""The state of docs/panel.md, made of what is known; asks nobody and changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gpuplug.errors import GpuplugError
from gpuplug.frontends.panel import alerts, spend
from gpuplug.frontends.panel.fields import moment, trouble
from gpuplug.frontends.panel.jobs import jobs
from gpuplug.frontends.panel.known import Failure
from gpuplug.frontends.panel.pods import pods
from gpuplug.ledger import FINAL
from gpuplug.providers import KNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.frontends.panel.known import Known
    from gpuplug.types import Traits

VERSION = 1
PARTS = ("platforms", "pods", "jobs", "spend", "alerts", "operations")
_STALE_PODS_S = 60.0
# What grows by itself, or only says when it was looked at: no change that anybody must be told.
_RUNNING = frozenset({"at", "cost_usd", "cost_at", "checked", "lease_ends", "today_usd", "month_usd"})
_RUNNING_LISTS = frozenset({"by_day", "by_gpu", "by_notebook"})


def parts(known: Known) -> dict[str, dict[str, Any]]:
    """Return every part but the prices."""
    return {
        "platforms": _part(_platforms(known), known.now),
        "pods": _pods(known),
        "jobs": _part(jobs(known), known.now if known.leases is not None else None, failure=known.ledger_failure),
        "spend": _spend(known),
        "alerts": _part(alerts.alerts(known), known.now),
        "operations": _part(list(known.operations), known.now),
    }


def whole(now: float, source: str, made: Mapping[str, dict[str, Any]], revision: int) -> dict[str, Any]:
    """Return the state with its parts as they were made."""
    return {"version": VERSION, "now": moment(now), "source": source, "revision": revision, **made}


def fingerprint(part: object) -> str:
    """Return what is equal for two makings of a part between which nothing has changed but time."""
    return json.dumps(_still(part), sort_keys=True)


def _still(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: len(each) if name in _RUNNING_LISTS and each else _still(each)
            for name, each in value.items()
            if name not in _RUNNING
        }
    return [_still(each) for each in value] if isinstance(value, list) else value


def _part(
    items: object,
    at: float | None,
    *,
    stale_after_s: float | None = None,
    loading: bool = False,
    failure: Failure | None = None,
    name: str = "items",
) -> dict[str, Any]:
    error = trouble(failure.error) | {"since": moment(failure.since)} if failure else None
    return {"at": moment(at), "stale_after_s": stale_after_s, "loading": loading, "error": error, name: items}


def _pods(known: Known) -> dict[str, Any]:
    """Return the pods; they are as old as the oldest list of those that are asked for: by a key, or by what is not over."""
    asked = {*known.keys, *(lease.provider for lease in known.leases or () if lease.state not in FINAL)}
    listings = [listing for name, listing in known.listings.items() if name in asked]
    read = [listing.at for listing in listings if listing.at is not None]
    failures = [listing.failure for listing in listings if listing.failure]
    rows = pods(known)
    return _part(
        rows,
        None if rows is None else min(read, default=known.now),
        stale_after_s=_STALE_PODS_S if read else None,
        loading=any(listing.asking for listing in listings),
        failure=known.ledger_failure or next(iter(failures), None),
    )


def _spend(known: Known) -> dict[str, Any]:
    at = known.now if known.leases is not None else None
    try:
        return _part(spend.figures(known), at, failure=known.ledger_failure, name="figures")
    except GpuplugError as error:
        return _part(None, None, failure=Failure(error, known.now), name="figures")


def _platforms(known: Known) -> list[dict[str, Any]]:
    names = [name for name in KNOWN if not name.endswith(":")]
    return [_platform(name, known.traits.get(name), known.keys.get(name)) for name in names]


def _platform(name: str, traits: Traits | None, key_from: str | None) -> dict[str, Any]:
    pauses = None
    if traits is not None:
        pauses = "with a volume" if traits.stop and traits.volumes else "yes" if traits.stop else "no"
    return {
        "platform": name,
        "summary": KNOWN[name].summary,
        "key": key_from is not None,
        "key_from": key_from,
        "simulated": traits.simulated if traits else None,
        "free": traits.free if traits else None,
        "pauses": pauses,
        "console_url": traits.console_url or None if traits else None,
    }
