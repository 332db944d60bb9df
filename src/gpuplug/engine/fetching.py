"""How results that waited on an instance come home, and how it is told that they have."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from gpuplug.engine import recording, running
from gpuplug.errors import AgentError, GpuplugError, LedgerError, LinkError

if TYPE_CHECKING:
    from gpuplug.config import Options
    from gpuplug.engine.linking import Live
    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Ledger

NOTHING = "nothing waits there"
_QUIET_S = 10.0


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
    cells = {cell: running.Ran(cell) for cell in waiting}
    shows = {cell: running.Show(live, ran, talk) for cell, ran in cells.items()}
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
        files += len(running.bring_home(live, options, ran, talk))
        live.arrived |= ran.values
        fetched(live, ledger, cell)
        recording.settled(ledger, live.lease, ran)
    done = sum(ran.status != "unknown" for ran in cells.values())
    if not done:
        return "nothing came home" if cells else NOTHING
    return f"results of {done} cell{'s' if done > 1 else ''} came home, {files} file{'' if files == 1 else 's'}"
