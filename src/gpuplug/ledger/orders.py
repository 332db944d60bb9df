"""How each instance was ordered and what its offer told: what a later cell's options are compared with."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from gpuplug.ledger.pages import Pages

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders(label TEXT PRIMARY KEY, told TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What an instance was ordered with, and what its offer told; "" and 0 stand for what it did not tell."""

    image: str
    disk_gb: int
    volume_gb: int = 0
    network_volume: str = ""
    cloud: str = ""
    region: str = ""
    reliability: float = 0.0
    down_mbps: float = 0.0


_FIELDS = frozenset(field.name for field in dataclasses.fields(Order))


class OrderBook(Pages):
    """The ledger's pages about orders."""

    def keep(self, label: str, order: Order) -> None:
        """Write down how the instance called `label` is ordered. May be repeated."""
        with self._writing() as connection:
            row = (label, json.dumps(dataclasses.asdict(order)))
            connection.execute("INSERT OR REPLACE INTO orders VALUES(?,?)", row)

    def of(self, label: str) -> Order | None:
        """Return how it was ordered; None when that was never written down, or by another version."""
        rows = self._reading("SELECT told FROM orders WHERE label=?", label)
        told = json.loads(rows[0][0]) if rows else {}
        return Order(**told) if set(told) == _FIELDS else None
