"""The verbs' answers as JSON for programs: amounts are exact dollars as text, times are seconds since 1970 in UTC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gpuplug import config
from gpuplug.errors import BudgetError, UsageError

if TYPE_CHECKING:
    from gpuplug import ledger
    from gpuplug.engine import Engine
    from gpuplug.engine.budgets import Used
    from gpuplug.engine.doctor import Finding
    from gpuplug.engine.inventory import Row


def text(value: object) -> str:
    """Return `value` as JSON on one line: what no other program can take for two answers."""
    return json.dumps(value)


def status(engine: Engine) -> dict[str, Any]:
    """Return platforms, what bills, today's spend and the limit; never a key."""
    try:
        used, trouble = engine.budgets.used(), None
    except (UsageError, BudgetError) as error:  # what bills must be told all the same
        used, trouble = [], error.message
    day = next((each.limit.amount for each in used if each.limit.per == "day"), None)
    platforms = [
        {"platform": name, "key_from": key.source, "address": config.base_url(name)}
        for name in config.enabled()
        if (key := config.find_key(name))
    ]
    return {
        "platforms": platforms,
        "billing": [lease(engine, each) for each in engine.billing()],
        "today_usd": engine.spent_since(0).exact(),
        "budget_usd_per_day": day.exact() if day else None,
        "budgets": [budget(each) for each in used],
        "budgets_trouble": trouble,
    }


def budget(used: Used) -> dict[str, Any]:
    """Return a standing budget and what became of it; `promised_usd` is what running instances may still cost."""
    return {
        "per": used.limit.per,
        "limit_usd": used.limit.amount.exact(),
        "set_by": used.limit.source,
        "since": used.since,
        "spent_usd": used.spent.exact(),
        "promised_usd": used.promised.exact(),
    }


def lease(engine: Engine, each: ledger.Lease) -> dict[str, Any]:
    """Return what the ledger knows of one instance."""
    return {
        "id": each.instance_id,
        "label": each.label,
        "platform": each.provider,
        "gpu": each.gpu,
        "gpu_count": each.gpu_count,
        "notebook": each.notebook,
        "name": each.name,
        "state": each.state.value,
        "billing": each.billing,
        "usd_per_hour": each.price.exact(),
        "cost_usd": engine.cost(each).exact(),
        "created": each.created,
        "ended": each.ended,
        "simulated": each.simulated,
    }


def row(each: Row) -> dict[str, Any]:
    """Return one instance as the provider lists it, with the ledger's cost; `listed` is false when it does not."""
    instance, known = each.instance, each.lease
    price = instance.price if instance else known.price if known else None
    return {
        "id": instance.id if instance else known.instance_id if known else "",
        "label": instance.label if instance else known.label if known else "",
        "platform": instance.provider if instance else known.provider if known else "",
        "gpu": instance.gpu if instance else known.gpu if known else "",
        "notebook": known.notebook if known else None,
        "listed": instance is not None,
        "state": instance.state.value if instance else known.state.value if known else "",
        "usd_per_hour": price.exact() if price else None,
        "cost_usd": each.cost.exact() if known else None,
    }


def finding(each: Finding) -> dict[str, Any]:
    """Return one thing that the doctor looked at."""
    return {"what": each.what, "fine": each.fine, "text": each.text, "hint": each.hint or None}
