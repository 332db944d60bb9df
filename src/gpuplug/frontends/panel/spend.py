"""The part `spend`: what bills now, and what was spent by day, by GPU and by notebook; make-believe money apart."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from gpuplug import config
from gpuplug.frontends.panel.fields import moment, text, usd
from gpuplug.ledger import PERIODS
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpuplug.config import Standing
    from gpuplug.frontends.panel.known import Known
    from gpuplug.ledger import Lease

SHOWN_DAYS = 30


def figures(known: Known) -> dict[str, Any] | None:
    """Return the figures; None when the ledger cannot be read.

    Raises:
        UsageError, BudgetError: the standing budgets cannot be read.
    """
    if known.leases is None:
        return None
    paid = [lease for lease in known.leases if lease.price.micros]
    simulated = [lease for lease in paid if lease.simulated]
    return {
        "real": _lot(
            known.now, [lease for lease in paid if not lease.simulated], config.standing_budgets(config.home())
        ),
        "simulated": _lot(known.now, simulated, config.Standing()) if simulated else None,
    }


def shown_days(now: float) -> list[tuple[float, float]]:
    """Return the begin and the end of each local day that is shown, oldest first."""
    days = [PERIODS["day"](now)]
    while len(days) < SHOWN_DAYS:
        days.append(PERIODS["day"](days[-1][0] - 1))
    return days[::-1]


def _lot(now: float, leases: Sequence[Lease], standing: Standing) -> dict[str, Any]:
    days = shown_days(now)
    month, _ = PERIODS["month"](now)
    day_limit, month_limit = standing.of("day"), standing.of("month")
    billing = [lease for lease in leases if lease.billing]
    spent = [(lease, lease.cost(now, days[0][0])) for lease in leases]
    return {
        "usd_per_hour": usd(sum((lease.rate for lease in billing), ZERO)),
        "today_usd": usd(_sum(leases, now, days[-1][0])),
        "month_usd": usd(_sum(leases, now, month)),
        "budget_day_usd": usd(day_limit.amount if day_limit else None),
        "budget_month_usd": usd(month_limit.amount if month_limit else None),
        "by_day": [_day(leases, begin, min(now, end)) for begin, end in days],
        "by_gpu": _by(spent, "gpu", lambda lease: lease.gpu),
        "by_notebook": _by(spent, "notebook", lambda lease: lease.notebook),
        "pods": len(billing),
        "at": moment(now),
    }


def _sum(leases: Sequence[Lease], now: float, since: float) -> Money:
    return sum((lease.cost(now, since) for lease in leases), ZERO)


def _day(leases: Sequence[Lease], begin: float, end: float) -> dict[str, Any]:
    lived = [lease for lease in leases if lease.created < end and (lease.ended is None or lease.ended > begin)]
    spent = _sum(lived, end, begin)
    return {"day": dt.datetime.fromtimestamp(begin, dt.timezone.utc).astimezone().date().isoformat(), "usd": usd(spent)}


def _by(spent: Sequence[tuple[Lease, Money]], name: str, group: Callable[[Lease], str]) -> list[dict[str, Any]]:
    """Return what each group has cost in the shown days, the dearest first."""
    sums: dict[str, Money] = {}
    for lease, amount in spent:
        sums[group(lease)] = sums.get(group(lease), ZERO) + amount
    dearest = sorted(sums.items(), key=lambda pair: (-pair[1].micros, pair[0]))
    return [{name: text(what), "usd": usd(amount)} for what, amount in dearest if amount.micros]
