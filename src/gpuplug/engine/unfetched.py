"""Results that nobody has fetched when the lease ends: what the instance does with them, and what that costs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gpuplug.engine.settling import REST_S
from gpuplug.providers import pausable

if TYPE_CHECKING:
    from gpuplug.config import Options
    from gpuplug.engine.linking import Live
    from gpuplug.types import Money, Traits


def terms(live: Live, options: Options, budget_s: float | None) -> dict[str, Any] | None:
    """Return how the agent is to keep the results of a cell that may run for `budget_s`; None: not at all.

    While they wait the instance costs what it does while it runs, so that `budget_s` is how long they may wait.
    """
    lease, provider = live.lease, live.provider
    if options.unfetched == "destroy" or budget_s is None or not provider.traits.self_destroy:
        return None
    rest = None
    if options.unfetched == "stop" and provider.traits.stop:
        least_s = REST_S * lease.stopped_price.micros / lease.price.micros
        rest = asdict(pausable(provider).self_stop) | {
            "least_s": least_s,
            "volume": not provider.traits.stop_keeps_disk,
        }
    return {"keep_s": budget_s, "rest": rest}


def rests(stopped: Money, options: Options, traits: Traits) -> Money | None:
    """Return what a rest costs per hour where the machine that `options` ask for can rest and keep what is on it."""
    keeps = traits.stop_keeps_disk or options.volume or options.network_volume
    return stopped if traits.stop and keeps else None


def waiting(price: Money, options: Options, stopped: Money | None) -> str:
    """Say what becomes of results that nobody has when the lease is over, and what that costs at most."""
    if options.unfetched == "destroy":
        return "results that nobody has fetched by then are lost (--unfetched destroy)"
    most = min(options.budget, price.for_seconds(options.terms.hard))
    text = f"results that nobody has fetched by then wait as long as {most} pays for cell and wait"
    if options.unfetched == "wait" or stopped is None or stopped.for_seconds(REST_S) > most:
        return text
    day = stopped.for_seconds(REST_S)
    return (
        f"results that nobody has fetched by then rest on the disk at {day} a day until %gpu start or %gpu down, "
        f"or until {most} is spent for cell and rest; then they are lost"
    )
