"""The part `spend`: what bills now, and what was spent by day, by GPU and by notebook; make-believe money apart."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from gpuplug import config
from gpuplug.frontends.panel.fields import moment, text, usd
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpuplug.frontends.panel.known import Known
    from gpuplug.ledger import Lease

SHOWN_DAYS = 30
DAY_S = 86_400


def figures(known: Known) -> dict[str, Any] | None:
    """Return the figures; None when the ledger cannot be read.

    Raises:
        UsageError: the standing budget is no amount.
    """
    if known.leases is None:
        return None
    paid = [lease for lease in known.leases if lease.price.micros]
    simulated = [lease for lease in paid if lease.simulated]
    return {
        "real": _lot(known.now, [lease for lease in paid if not lease.simulated], config.standing_budget()),
        "simulated": _lot(known.now, simulated, None) if simulated else None,
    }


def midnight(now: float) -> float:
    """Return when the UTC day of `now` began."""
    return now // DAY_S * DAY_S


def _lot(now: float, leases: Sequence[Lease], budget: Money | None) -> dict[str, Any]:
    today = midnight(now)
    month = dt.datetime.fromtimestamp(now, dt.timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    billing = [lease for lease in leases if lease.billing]
    return {
        "usd_per_hour": usd(sum((lease.rate for lease in billing), ZERO)),
        "today_usd": usd(_sum(leases, now, today)),
        "month_usd": usd(_sum(leases, now, month.timestamp())),
        "budget_day_usd": usd(budget),
        "budget_month_usd": None,
        "by_day": [_day(leases, now, today - back * DAY_S) for back in range(SHOWN_DAYS - 1, -1, -1)],
        "by_gpu": _by(leases, now, "gpu", lambda lease: lease.gpu),
        "by_notebook": _by(leases, now, "notebook", lambda lease: lease.notebook),
        "pods": len(billing),
        "at": moment(now),
    }


def _sum(leases: Sequence[Lease], now: float, since: float) -> Money:
    return sum((lease.cost(now, since) for lease in leases), ZERO)


def _day(leases: Sequence[Lease], now: float, begin: float) -> dict[str, Any]:
    end = min(now, begin + DAY_S)
    lived = [lease for lease in leases if lease.created < end and (lease.ended is None or lease.ended > begin)]
    spent = _sum(lived, end, begin)
    return {"day": dt.datetime.fromtimestamp(begin, dt.timezone.utc).date().isoformat(), "usd": usd(spent)}


def _by(leases: Sequence[Lease], now: float, name: str, group: Callable[[Lease], str]) -> list[dict[str, Any]]:
    """Return what each group has cost in the shown days, the dearest first."""
    since = midnight(now) - (SHOWN_DAYS - 1) * DAY_S
    sums: dict[str, Money] = {}
    for lease in leases:
        sums[group(lease)] = sums.get(group(lease), ZERO) + lease.cost(now, since)
    spent = sorted(sums.items(), key=lambda pair: (-pair[1].micros, pair[0]))
    return [{name: text(what), "usd": usd(amount)} for what, amount in spent if amount.micros]
