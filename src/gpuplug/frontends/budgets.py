"""`%gpu budget`: the standing budgets, what is left of each, and how they are changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.errors import BudgetError, UsageError
from gpuplug.frontends import asdata
from gpuplug.outputs import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Options
    from gpuplug.engine import Engine
    from gpuplug.engine.budgets import Used
    from gpuplug.engine.talk import Talk

NONE = "no standing budget: the first rent of each notebook asks"
_HOW = (
    "%gpu budget 5/day sets one, off/day lifts it; GPUPLUG_BUDGET and the file gpuplug.toml of a project can lower it"
)


def in_a_notebook(engine: Engine, options: Options, talk: Talk) -> str:
    """Show the budgets, or change them; a person must agree to what lets more be spent."""
    return _budget(engine, options, talk)


def in_a_shell(engine: Engine, options: Options, _say: Callable[[str], None]) -> str:
    """Show the budgets, or change them: whoever types in a shell has agreed."""
    return _budget(engine, options, None)


def _budget(engine: Engine, options: Options, talk: Talk | None) -> str:
    if options.words:
        engine.budgets.change(config.wanted(options.words), talk)
    used = engine.budgets.used()
    if options.json:
        return asdata.text([asdata.budget(each) for each in used])
    rows = [_row(each) for each in used]
    head = ("budget", "spent", "", "kept for what runs", "set by")
    return "\n".join([table(head, rows) if rows else NONE, _HOW])


def _row(each: Used) -> tuple[str, ...]:
    return (
        str(each.limit),
        str(each.spent),
        f"{each.percent} %",
        str(each.promised) if each.promised.micros else "",
        each.limit.source,
    )


def lines(engine: Engine) -> list[str]:
    """Return one line for each standing budget; what is wrong with them is such a line too."""
    try:
        used = engine.budgets.used()
    except (UsageError, BudgetError) as error:
        return [error.message]
    return [f"standing budget: {each.limit}, {each.spent} spent ({each.percent} %)" for each in used]
