"""Results that nobody has fetched when the lease ends: what the instance does with them, what that costs, how they come home."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gpuplug.engine.settling import REST_S
from gpuplug.errors import AgentError, GpuplugError, LedgerError, LinkError
from gpuplug.ledger import Allowance
from gpuplug.providers import pausable

if TYPE_CHECKING:
    from gpuplug.config import Options
    from gpuplug.engine.linking import Live
    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Ledger
    from gpuplug.types import Money, Traits

NOTHING = "nothing waits there"
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


def expect(live: Live, ledger: Ledger, cell: str, budget: Money, now: float) -> None:
    """Write into the ledger what the results of `cell` may cost, so that a rest ends when that is spent.

    A ledger that cannot be written stops no cell: then it is asked about the rest.
    """
    with contextlib.suppress(LedgerError):
        before = ledger.lease(live.lease.label).cost(now)
        ledger.waiting.expect(cell, live.lease.label, Allowance(before, budget))


def fetched(live: Live, ledger: Ledger, cell: str) -> None:
    """Tell the instance that the results of `cell` are here; when it cannot be told it keeps them, which is safe."""
    try:
        live.session.request("fetched", {"cell": cell})
    except LinkError:
        return
    with contextlib.suppress(LedgerError):
        ledger.waiting.fetched(cell)


def catch_up(live: Live, ledger: Ledger, options: Options, talk: Talk) -> None:
    """Do as `fetch` does before the first cell of a session, where results can wait; what fails stays where it is, and is said."""
    if live.caught_up or not live.provider.traits.self_destroy:
        return
    try:
        fetch(live, ledger, options, talk)
    except GpuplugError as error:
        talk.note(
            f"what earlier cells left on #{live.lease.instance_id} could not be fetched, and stays: {error.message}"
        )


def fetch(live: Live, ledger: Ledger, options: Options, talk: Talk) -> str:
    """Show and bring home the results that wait on a machine, variables into `live.arrived`; say what came.

    Blocks while they come.

    Only for who has a page to show them on and the notebook's folder to put them in: they are not kept any longer then.

    Raises:
        AgentError: the agent answers nonsense.
        LinkError: the link is down.
    """
    from gpuplug.engine import recording  # noqa: PLC0415 - one direction only
    from gpuplug.engine.running import Ran, Show, bring_home  # noqa: PLC0415 - one direction only

    reply = live.session.request("unfetched")
    live.caught_up = True
    if reply.header.get("ok") is not True:
        return NOTHING  # an agent of an earlier version, which keeps no results
    waiting = json.loads(reply.payload)
    if not isinstance(waiting, list) or not all(isinstance(cell, str) for cell in waiting):
        raise AgentError("the agent names no list of cells whose results wait")
    if waiting:
        talk.note(f"bringing home what {len(waiting)} earlier cell{'s' if len(waiting) > 1 else ''} left there")
    files = 0
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
        files += len(bring_home(live, options, ran, talk))
        live.arrived |= ran.values
        fetched(live, ledger, cell)
        recording.settled(ledger, live.lease, ran)
    done = sum(ran.status != "unknown" for ran in cells.values())
    if not done:
        return "nothing came home" if cells else NOTHING
    return f"results of {done} cell{'s' if done > 1 else ''} came home, {files} file{'' if files == 1 else 's'}"
