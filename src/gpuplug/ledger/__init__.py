"""The SQLite ledger: what was meant to be rented, what is, and what it cost. The only door to sqlite3.

A row is committed with `synchronous=FULL` before the provider is asked for anything, so that no crash forgets a rent.
The parts are loaded at first use: `%load_ext` only glances at the file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuplug.ledger.gauges import Gauge, GaugeBook
    from gpuplug.ledger.glance import nothing_today
    from gpuplug.ledger.orders import Order, OrderBook
    from gpuplug.ledger.periods import PERIODS, zone
    from gpuplug.ledger.prices import PriceBook, Sample, Seen
    from gpuplug.ledger.progress import Caller, Progress
    from gpuplug.ledger.refusals import Refusal, RefusalBook
    from gpuplug.ledger.rows import FINAL, HOLD_S, CellRow, Lease, Rate, State
    from gpuplug.ledger.spending import Parts, SpendLine, spend_lines
    from gpuplug.ledger.store import Ledger
    from gpuplug.ledger.traffic import BytePrices, Passed, Toll
    from gpuplug.ledger.waiting import Allowance, WaitingBook

_PARTS = {
    "gauges": ("Gauge", "GaugeBook"),
    "glance": ("nothing_today",),
    "orders": ("Order", "OrderBook"),
    "periods": ("PERIODS", "zone"),
    "prices": ("PriceBook", "Rate", "Sample", "Seen"),
    "progress": ("Caller", "Progress"),
    "refusals": ("Refusal", "RefusalBook"),
    "rows": ("FINAL", "HOLD_S", "CellRow", "Lease", "Rate", "State"),
    "spending": ("Parts", "SpendLine", "spend_lines"),
    "store": ("Ledger",),
    "traffic": ("BytePrices", "Passed", "Toll"),
    "waiting": ("Allowance", "WaitingBook"),
}
_PART_OF = {name: part for part, names in _PARTS.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: the type checker reads the imports above
    if name not in _PART_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PART_OF[name]}"), name)


__all__ = [
    "FINAL",
    "HOLD_S",
    "PERIODS",
    "Allowance",
    "BytePrices",
    "Caller",
    "CellRow",
    "Gauge",
    "GaugeBook",
    "Lease",
    "Ledger",
    "Order",
    "OrderBook",
    "Parts",
    "Passed",
    "PriceBook",
    "Progress",
    "Rate",
    "Refusal",
    "RefusalBook",
    "Sample",
    "Seen",
    "SpendLine",
    "State",
    "Toll",
    "WaitingBook",
    "nothing_today",
    "spend_lines",
    "zone",
]
