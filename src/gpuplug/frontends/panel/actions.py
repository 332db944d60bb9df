"""What the panel's actions do: one engine, one pod, blocking; each runs in a thread of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.errors import ProviderError
from gpuplug.frontends.panel.pods import HOME
from gpuplug.ledger import FINAL

if TYPE_CHECKING:
    from gpuplug.config import Options
    from gpuplug.engine import Engine
    from gpuplug.frontends.panel.operations import OperationTalk
    from gpuplug.frontends.panel.quotes import Quote


def rent(engine: Engine, quote: Quote, talk: OperationTalk) -> None:
    """Rent what was quoted and reach it: COSTS MONEY."""
    live = engine.rent(quote.offer, quote.options, talk)
    talk.note(f"#{live.lease.instance_id} is ready")


def destroy(engine: Engine, label: str, talk: OperationTalk) -> None:
    """Ask for the end of a pod and prove it.

    Raises:
        ProviderError: it is not proven gone.
    """
    ended = engine.end(label, talk.note)
    if ended.state not in FINAL:
        raise ProviderError(
            f"#{ended.instance_id or label} is not proven gone",
            billing=f"take it as billing {ended.rate}/h",
            hint="destroy it again, or look at the platform's own console",
        )


def stop(engine: Engine, label: str, talk: OperationTalk) -> None:
    """Let a pod rest: ITS DISK BILLS ON."""
    for lease in engine.stop(_named("stop", label), talk.note):
        talk.note(f"#{lease.instance_id} rests; its disk bills {lease.rate}/h")


def start(engine: Engine, label: str, talk: OperationTalk) -> None:
    """Start a pod that rests and reach it: COSTS MONEY."""
    for live in engine.start(_named("start", label), talk):
        talk.note(f"#{live.lease.instance_id} is ready; {HOME}")


def extend(engine: Engine, label: str, seconds: int, talk: OperationTalk) -> None:
    """Put off the hard end of a pod by `seconds`."""
    for lease in engine.extend(seconds, _named("extend", label), talk):
        talk.note(f"#{lease.instance_id} ends by itself {lease.hard_s / 3600:.1f} h after it was rented")


def adopt(engine: Engine, label: str, talk: OperationTalk) -> None:
    """Count and end from here what another computer rented."""
    for lease in engine.adopt(_named("adopt", label)):
        talk.note(f"#{lease.instance_id} is counted here now")


def _named(verb: str, label: str) -> Options:
    return replace(config.parse("", verb), words=(label,))
