"""How the GPUs of an instance were doing when its kernel last asked: for whoever looks from another process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

from gpuplug.ledger.pages import Pages

SCHEMA = """
CREATE TABLE IF NOT EXISTS gauges(label TEXT PRIMARY KEY, at REAL NOT NULL, told TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One GPU; None where its driver does not tell."""

    name: str
    use_percent: float | None
    vram_used_mb: float | None
    vram_total_mb: float | None
    temperature_c: float | None
    power_w: float | None


class GaugeBook(Pages):
    """The ledger's pages about how GPUs are doing."""

    def keep(self, label: str, at: float, gauges: Sequence[Gauge]) -> None:
        """Write down the reading of the moment `at`, in seconds since 1970. May be repeated: the last one counts."""
        row = (label, at, json.dumps([asdict(each) for each in gauges]))
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO gauges VALUES(?,?,?)", row)

    def all(self) -> dict[str, tuple[float, list[Gauge]]]:
        """Return the last reading of each instance, with its moment."""
        rows = self._reading("SELECT label, at, told FROM gauges")
        return {label: (at, [Gauge(**each) for each in json.loads(told)]) for label, at, told in rows}
