"""The part `pods`: every instance as the ledger and its platform see it, and what may be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuplug.engine.recording import RUNNING
from gpuplug.frontends.panel.fields import moment, text, usd
from gpuplug.frontends.panel.known import Listing
from gpuplug.ledger import FINAL, State
from gpuplug.types import InstanceState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.frontends.panel.known import Known
    from gpuplug.ledger import Lease
    from gpuplug.types import Instance, Traits

KEPT_S = 600.0  # so long a pod that is proven gone stays in view
HOME = "results that wait there come home with its notebook's next cell, or with %gpu start in it"
_DAY_S = 86_400
_BY_LEDGER = {
    State.INTENT: "asked",
    State.UNKNOWN: "asked",
    State.BOUND: "booting",
    State.READY: "running",
    State.ADOPTED: "running",
    State.STOPPED: "stopped",
    State.DESTROYING: "destroying",
    State.GONE: "gone",
    State.FAILED: "failed",
}
_BY_PROVIDER = {
    InstanceState.BOOTING: "booting",
    InstanceState.RUNNING: "running",
    InstanceState.STOPPED: "stopped",
    InstanceState.FAILED: "failed",
    InstanceState.UNKNOWN: "unknown",
}
_WORDS = {
    "asked": "asked for; its fate is not known yet",
    "destroying": "destroying; not proven gone",
    "gone": "gone (verified)",
    "failed": "failed",
    "stopped": "stopped; its disk bills",
    "stranger": "of another computer",
    "unlisted": "not listed by the platform, and not proven gone",
    "unknown": "the platform does not say",
}
_ENDS = frozenset({"asked", "destroying", "gone"})


def pods(known: Known) -> list[dict[str, Any]] | None:
    """Return the pods, billing ones first; None when there is none to show and not every platform was read."""
    rows = [_row(known, lease, instance) for lease, instance in pairs(known)]
    unread = {name for name in known.keys if known.listings.get(name, Listing()).at is None}
    if not rows and (unread or known.leases is None):
        return None
    return sorted(rows, key=lambda row: (row["state"] == "gone", not row["billing"], row["created"] or "", row["id"]))


def pairs(known: Known) -> Iterator[tuple[Lease | None, Instance | None]]:
    """Yield what the ledger and the platforms know of each instance; either may be missing, never both."""
    leases = {lease.label: lease for lease in known.leases or ()}
    for lease in leases.values():
        if lease.ended is not None and known.now - lease.ended > KEPT_S:
            continue
        listing = known.listings.get(lease.provider)
        yield lease, listing.instances.get(lease.label) if listing else None
    for listing in known.listings.values():
        for label, instance in listing.instances.items():
            if label not in leases:
                yield None, instance


def state_of(known: Known, lease: Lease | None, instance: Instance | None) -> str:
    """Return the state of one pod as docs/panel.md names it."""
    if lease is None:
        return "stranger"
    by_ledger = _BY_LEDGER[lease.state]
    if by_ledger in _ENDS or lease.state in FINAL:
        return by_ledger
    if instance is not None:
        return _BY_PROVIDER[instance.state]
    return "unlisted" if _missing(known, lease) else by_ledger


def _missing(known: Known, lease: Lease) -> bool:
    """Tell whether the platform was read late enough to show `lease`, and did not."""
    listing, traits = known.listings.get(lease.provider), known.traits.get(lease.provider)
    if listing is None or listing.at is None or traits is None:
        return False
    return listing.at > lease.created + traits.list_lag_s


def _row(known: Known, lease: Lease | None, instance: Instance | None) -> dict[str, Any]:
    state = state_of(known, lease, instance)
    platform = lease.provider if lease else instance.provider if instance else ""
    listing = known.listings.get(platform)
    since = known.since.get(lease.label if lease else instance.label if instance else "")
    facts = _of_lease(known, lease, state) if lease else _of_stranger(instance)
    return {
        **facts,
        "number": text(instance.id if instance else lease.instance_id if lease else ""),
        "platform": platform,
        "gpu": text(lease.gpu if lease else instance.gpu if instance else ""),
        "mine": lease is not None,
        "state": state,
        "state_text": _words(state, lease, instance),
        "phase": text(instance.status) or None if instance and state in {"booting", "failed"} else None,
        "since": moment(since[1] if since and since[0] == state else lease.created if lease else None),
        "checked": moment(listing.at) if listing and (instance or state == "unlisted") else None,
        "runs": _runs(known, lease, state),
        "may": _may(state, lease, instance, known.traits.get(platform)),
    }


def _of_lease(known: Known, lease: Lease, state: str) -> dict[str, Any]:
    lasts = state not in {"gone", "failed", "stopped"}
    # A cell that runs is never ended by the lease, which counts from its end then.
    lease_end = lease.lease_end if lasts and lease.lease_s and not lease.busy else None
    return {
        "id": lease.label,
        "label": lease.label,
        "name": text(lease.name),
        "notebook": text(lease.notebook),
        "gpu_count": lease.gpu_count,
        "simulated": lease.simulated,
        "spot": lease.bid.micros > 0,
        "created": moment(lease.created),
        "usd_per_hour": usd(lease.rate) if lease.billing else "0.000000",
        "cost_usd": usd(lease.cost(known.now)),
        "cost_at": moment(known.now),
        "billing": lease.billing,
        "lease_s": lease.lease_s or None,
        "lease_ends": moment(lease_end),
        "hard_ends": moment(lease.hard_end) if lasts and lease.hard_s else None,
        "hard_s": lease.hard_s or None,
        "busy": lease.busy,
        "gauges": known.gauges.get(lease.label) if state == "running" else None,
    }


def _of_stranger(instance: Instance | None) -> dict[str, Any]:
    unknown = (
        "name",
        "notebook",
        "simulated",
        "cost_usd",
        "cost_at",
        "lease_s",
        "lease_ends",
        "hard_ends",
        "hard_s",
        "busy",
        "gauges",
    )
    row: dict[str, Any] = dict.fromkeys(unknown)
    if instance is None:
        return row
    started = instance.started.timestamp() if instance.started else None
    return row | {
        "id": text(instance.label),
        "label": text(instance.label),
        "gpu_count": instance.gpu_count,
        "spot": instance.spot,
        "created": moment(started),
        "usd_per_hour": usd(instance.price),
        "billing": instance.price.micros > 0,
    }


def _words(state: str, lease: Lease | None, instance: Instance | None) -> str:
    if state == "running" and lease and lease.state is State.BOUND:
        return "running; not reached yet"
    if state == "failed" and lease and lease.state in FINAL:
        return "never made" + (f": {text(lease.note)}" if lease.note else "")
    if state == "stopped" and lease and instance and lease.state is not State.STOPPED:
        return "stopped, and not by this computer; its disk bills"
    words = _WORDS.get(state, state)
    return words if instance or state in _WORDS else f"{words}, as far as the ledger knows"


def _runs(known: Known, lease: Lease | None, state: str) -> str | None:
    """Return the cell that runs there; the ledger of an instance that has ended or rests may still name its last one."""
    if lease is None or not lease.busy or state in {"gone", "failed", "stopped"}:
        return None
    return next((cell.id for cell in known.cells if cell.label == lease.label and cell.status == RUNNING), None)


def _may(state: str, lease: Lease | None, instance: Instance | None, traits: Traits | None) -> dict[str, Any]:
    may: dict[str, Any] = dict.fromkeys(("extend", "stop", "start", "destroy", "adopt", "ssh"))
    if lease is None:
        what = text(instance.id if instance else "")
        return may | {"adopt": {"text": f"count #{what} here and end it from here; another computer rented it"}}
    if lease.state in FINAL:
        return may
    named = f"#{text(lease.instance_id) or lease.label}"
    again = "ask again for the end of" if state == "destroying" else "destroy"
    may["destroy"] = {"text": f"{again} {named}: what is on it is lost; it bills until the platform shows it gone"}
    reachable = state == "running" and lease.state is not State.ADOPTED
    if reachable and lease.hard_s:
        may["extend"] = {"text": f"put off the hard end of {named}; it can cost {lease.price}/h longer"}
    if reachable and traits and traits.identity:
        may["ssh"] = {}
    if state == "running" and traits and traits.stop:
        rest = lease.stopped_price.for_seconds(_DAY_S)
        may["stop"] = {
            "usd_per_hour": usd(lease.stopped_price),
            "text": f"stop {named}: its GPU goes back, its disk stays and bills {rest} a day"
            + ("" if traits.stop_keeps_disk else "; refused when it has no volume"),
        }
    if state == "stopped" and lease.state is State.STOPPED and traits and traits.stop:
        may["start"] = {"usd_per_hour": usd(lease.price), "text": f"start {named} again at {lease.price}/h; {HOME}"}
    return may
