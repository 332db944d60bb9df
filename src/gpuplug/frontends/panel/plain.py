"""The panel as plain text: where nothing else can be drawn, in a terminal, and in a saved notebook."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpuplug.outputs import table
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN_OFFERS = 5


def text(state: Mapping[str, Any], prices: Mapping[str, Any]) -> str:
    """Return spend, alerts, pods and the cheapest offers, each with its moment."""
    blocks = [_spend(state["spend"]), _alerts(state["alerts"]), _pods(state["pods"]), _prices(prices)]
    return "\n".join(["gpuplug panel, " + _time(state["now"]), *(block for block in blocks if block)])


def price(usd: str | None) -> str:
    """Return exact dollars as people read them; a dash when they are not known."""
    return "-" if usd is None else str(Money.dollars(Decimal(usd)))


def _time(moment: str) -> str:
    return moment[:19].replace("T", " ") + " UTC"


def _error(part: Mapping[str, Any]) -> str:
    return f" (not read since: {part['error']['text']})" if part["error"] else ""


def _spend(part: Mapping[str, Any]) -> str:
    if part["figures"] is None:
        return f"spend: not known{_error(part)}"
    lots = [("", part["figures"]["real"]), ("simulated: ", part["figures"]["simulated"])]
    return "\n".join(words + _lot(lot) for words, lot in lots if lot)


def _lot(lot: Mapping[str, Any]) -> str:
    budget = f" of {price(lot['budget_day_usd'])}" if lot["budget_day_usd"] else ""
    pods = f"{lot['pods']} instance{'' if lot['pods'] == 1 else 's'} billing"
    return f"{pods}, {price(lot['usd_per_hour'])}/h now, {price(lot['today_usd'])}{budget} today, {price(lot['month_usd'])} this month"


def _alerts(part: Mapping[str, Any]) -> str:
    return "\n".join(f"! {alert['text']}; settled when: {alert['settles']}" for alert in part["items"] or ())


def _pods(part: Mapping[str, Any]) -> str:
    if part["items"] is None:
        return f"instances: not read yet{_error(part)}"
    rows = [
        (
            f"#{pod['number'] or pod['id']}",
            pod["gpu"],
            pod["platform"],
            pod["state_text"],
            price(pod["usd_per_hour"]),
            price(pod["cost_usd"]),
        )
        for pod in part["items"]
    ]
    return table(("id", "GPU", "platform", "state", "$/h", "cost"), rows) if rows else ""


def _prices(part: Mapping[str, Any]) -> str:
    if part["items"] is None:
        return f"prices: not read yet{_error(part)}"
    rows = [
        (row["id"], row["gpu"], price(row["usd_per_hour"]), row["region"], row["cloud"] or "")
        for row in part["items"][:_SHOWN_OFFERS]
    ]
    shown = table(("offer", "GPU", "$/h", "region", "cloud"), rows) if rows else "no offers"
    return f"{shown}\n{part['total']} offers, read {_time(part['at'])}{_error(part)}"
