"""`%gpu spend`: what was spent, by what one asks for, as text, CSV and data; make-believe money apart."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from gpuplug.engine import billing
from gpuplug.frontends import asdata
from gpuplug.outputs import table
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpuplug.config import Options
    from gpuplug.engine import Engine
    from gpuplug.engine.billing import Checked
    from gpuplug.ledger import SpendLine

_BAR = 30
_KINDS = ("compute", "disk", "stopped", "bytes")


def spend(engine: Engine, options: Options, _say: Callable[[str], None]) -> str:
    """Return the spend by the ledger since a day; what a machine downloads by itself only the platform counts."""
    if options.check:
        return _check(engine, options)
    found = engine.budgets.spend(options.since, options.by)
    if options.json:
        return asdata.text({**_totals(engine), "by": options.by, "lines": [_data(line) for line in found]})
    if options.csv:
        return _as_csv(found, options.by)
    real, simulated = _apart(found)
    text = [_table(real, options.by)] if real else []
    text.append(_summary(engine, real, options))
    if simulated:
        text += ["", "simulated, which costs nothing and is in no sum above:", _table(simulated, options.by)]
    return "\n".join(text)


def _check(engine: Engine, options: Options) -> str:
    """Return the ledger beside the platforms' bills. Only when asked for: it needs keys, the net, and bills come late."""
    since = billing.whole_days(engine.budgets.begin(options.since))
    found = billing.check(engine.ledger, engine.provider, engine.clock.now().timestamp(), since)
    if options.json:
        return asdata.text([_checked_data(each) for each in found])
    rows = [
        (
            each.what,
            "" if each.ours is None else str(each.ours),
            "" if each.theirs is None else str(each.theirs),
            "" if each.difference is None else _signed(each.difference),
            ", ".join(note for note in (each.trouble, "simulated" if each.simulated else "") if note),
        )
        for each in found
    ]
    notes = "whole days of UTC; the platform's amount has what the machine itself downloaded too, and may lack the last minutes"
    if not rows:
        return "nothing was rented in this time, so there is nothing to compare"
    return "\n".join([table(("instance", "ledger", "platform", "difference", ""), rows), notes])


def _signed(amount: Money) -> str:
    return f"-{Money(-amount.micros)}" if amount < ZERO else f"+{amount}"


def _checked_data(each: Checked) -> dict[str, Any]:
    amounts = {"ledger_usd": each.ours, "platform_usd": each.theirs, "difference_usd": each.difference}
    exact = {name: None if amount is None else amount.exact() for name, amount in amounts.items()}
    return {"what": each.what, **exact, "trouble": each.trouble, "simulated": each.simulated}


def _totals(engine: Engine) -> dict[str, Any]:
    return {"today_usd": engine.spent_since(0).exact(), "days": 30, "days_usd": engine.spent_since(30).exact()}


def _apart(found: Sequence[SpendLine]) -> tuple[list[SpendLine], list[SpendLine]]:
    return [line for line in found if not line.simulated], [line for line in found if line.simulated]


def total(found: Sequence[SpendLine]) -> Money:
    """Return the sum of real money."""
    return sum((line.parts.total for line in found if not line.simulated), ZERO)


def _table(found: Sequence[SpendLine], by: str) -> str:
    most = max(line.parts.total for line in found).micros or 1
    rows = [
        (
            line.what,
            str(line.parts.total),
            *(str(getattr(line.parts, kind)) for kind in _KINDS),
            "#" * round(_BAR * line.parts.total.micros / most),
        )
        for line in found
    ]
    return table((by, "spent", "compute", "disk", "stopped disk", "bytes", ""), rows)


def _summary(engine: Engine, real: Sequence[SpendLine], options: Options) -> str:
    since = f"in the last {options.since} days" if isinstance(options.since, int) else f"since {options.since}"
    return (
        f"{engine.budgets.line()}; {total(real)} {since}, by this computer's ledger "
        f"(days begin at midnight {engine.budgets.zone}; what a machine itself downloads, its image and data sets, its host "
        "may bill too: that cannot be counted from here, and is in `spend --check`)"
    )


def _data(line: SpendLine) -> dict[str, Any]:
    parts = {f"{kind}_usd": getattr(line.parts, kind).exact() for kind in _KINDS}
    return {"what": line.what, "usd": line.parts.total.exact(), **parts, "simulated": line.simulated}


def _as_csv(found: Sequence[SpendLine], by: str) -> str:
    """Return the lines as CSV; what a spreadsheet would take for a formula is made text."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([by, "usd", *(f"{kind}_usd" for kind in _KINDS), "simulated"])
    for line in found:
        what = f"'{line.what}" if line.what[:1] in "=+-@\t\r" else line.what
        amounts = [line.parts.total.exact(), *(getattr(line.parts, kind).exact() for kind in _KINDS)]
        writer.writerow([what, *amounts, "simulated" if line.simulated else ""])
    return file.getvalue().rstrip("\n")
