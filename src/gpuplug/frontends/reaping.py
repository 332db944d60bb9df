"""`gpuplug reap`: end what nobody uses and prove it, now or by a timer of this computer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpuplug.errors import ProviderError, UsageError
from gpuplug.frontends import asdata, findings

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Options
    from gpuplug.engine import Engine
    from gpuplug.engine.reconciling import Finding


class UnsettledError(ProviderError):
    """Something may bill that should not. `shown` is the whole answer all the same, as text or as data."""

    def __init__(self, message: str, *, billing: str, shown: str) -> None:
        super().__init__(message, billing=billing, hint="gpuplug reap again, or look at the provider's console")
        self.shown = shown


def reap(engine: Engine, options: Options, say: Callable[[str], None]) -> str:
    """Look at everything that may bill, end what is left alone, and say of each what came of it; or see to the timer.

    Raises:
        UsageError: no timer can be installed here, or both are asked for.
        UnsettledError: an end is not proven, the fate of a create is not known, or a platform could not be asked.
    """
    if options.install and options.uninstall:
        raise UsageError("--install and --uninstall at once make no sense", hint="gpuplug reap --install")
    if options.install or options.uninstall:
        from gpuplug.frontends import timers  # noqa: PLC0415 - once in a computer's life

        place = timers.Place(os.environ)
        return timers.install(place) if options.install else timers.uninstall(place)
    found = engine.reap(say)
    now = engine.clock.now().timestamp()
    shown = asdata.text([_data(each) for each in found]) if options.json else _text(engine, found, now)
    if open_ones := findings.unsettled(found):
        count = f"{len(open_ones)} finding{'' if len(open_ones) == 1 else 's'}"
        raise UnsettledError(
            f"{count} not settled" if options.json else f"{count} not settled:\n{shown}",
            billing="take as billing what is not proven gone",
            shown=shown,
        )
    return shown


def _text(engine: Engine, found: list[Finding], now: float) -> str:
    billing = len(engine.billing())
    count = f"{billing} instance{'' if billing == 1 else 's'} of this computer billing"
    return "\n".join([*(findings.line(each, now) for each in found), count])


def _data(finding: Finding) -> dict[str, object]:
    lease, instance = finding.lease, finding.instance
    return {
        "found": finding.found.value,
        "platform": finding.platform,
        "id": lease.instance_id if lease else instance.id if instance else "",
        "label": lease.label if lease else instance.label if instance else "",
        "notebook": lease.notebook if lease else None,
        "why": finding.why,
        "cost_usd": finding.cost.exact() if lease else None,
        "billing": lease.billing if lease else None,
    }
