"""Results that nobody has fetched when the lease ends: what the instance does with them, what that costs, how they come home."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gpuplug.errors import AgentError, LinkError
from gpuplug.providers import pausable

if TYPE_CHECKING:
    from gpuplug.config import Options
    from gpuplug.engine.linking import Live
    from gpuplug.engine.talk import Talk
    from gpuplug.types import Money, Traits

STORED_S = 86_400  # an instance rests only if so long a rest is paid for
_QUIET_S = 10.0


def terms(live: Live, options: Options, budget_s: float | None) -> dict[str, Any] | None:
    """Return how the agent is to keep the results of a cell that may run for `budget_s`; None: not at all.

    While they wait the instance costs what it does while it runs, so that `budget_s` is how long they may wait.
    """
    lease, provider = live.lease, live.provider
    if options.unfetched == "destroy" or budget_s is None or not provider.traits.self_destroy:
        return None
    rest = None
    if options.unfetched == "stop" and provider.traits.stop:
        least_s = STORED_S * lease.stopped_price.micros / lease.price.micros
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
    if options.unfetched == "wait" or stopped is None or stopped.for_seconds(STORED_S) > most:
        return text
    day = stopped.for_seconds(STORED_S)
    return f"results that nobody has fetched by then rest on the disk at {day} a day until %gpu start or %gpu down"


def fetched(live: Live, cell: str) -> None:
    """Tell the instance that the results of `cell` are here; when it cannot be told it keeps them, which is safe."""
    try:
        live.session.request("fetched", {"cell": cell})
    except LinkError:
        return


def fetch(live: Live, options: Options, talk: Talk) -> None:
    """Show and bring home the results that wait on a machine, variables into `live.arrived`. Blocks while they come.

    Only for who has a page to show them on and the notebook's folder to put them in: they are not kept any longer then.

    Raises:
        AgentError: the agent answers nonsense.
        LinkError: the link is down.
    """
    from gpuplug.engine.running import Ran, Show, bring_home  # noqa: PLC0415 - one direction only

    reply = live.session.request("unfetched")
    if reply.header.get("ok") is not True:
        return  # an agent of an earlier version, which keeps no results
    waiting = json.loads(reply.payload)
    if not isinstance(waiting, list) or not all(isinstance(cell, str) for cell in waiting):
        raise AgentError("the agent names no list of cells whose results wait")
    cells = {cell: Ran(cell) for cell in waiting}
    shows = {cell: Show(live, ran, talk) for cell, ran in cells.items()}
    while any(ran.status == "unknown" for ran in cells.values()):
        event = live.session.next_event(_QUIET_S)
        if event is None:
            break
        if event.cell in shows:
            shows[event.cell].event(event)
    for cell, ran in cells.items():
        shows[cell].finish()
        if ran.status == "unknown":
            talk.note(f"cell {cell} still runs, or its output is lost")
            continue
        bring_home(live, options, ran, talk)
        live.arrived |= ran.values
        fetched(live, cell)
