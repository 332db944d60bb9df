"""What an agent tells of its GPUs, made sane: a host may send anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuplug.ledger import Gauge
from gpuplug.outputs import clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_GPUS = 64
_MOST_AGE_S = 3600.0
_FIGURES = 5
_LIMITS = (100.0, 1e8, 1e8, 1000.0, 1e5)  # percent, MiB, MiB, degrees Celsius, watts


def readings(health: Mapping[str, Any]) -> tuple[float, list[Gauge]] | None:
    """Return the age in seconds and the GPUs of an answer to a heartbeat; None when it tells none, or nonsense."""
    told = health.get("gauges")
    if not isinstance(told, dict) or not isinstance(told.get("gpus"), list):
        return None
    age_s = _figure(told.get("age"), _MOST_AGE_S)
    gauges = [gauge for row in told["gpus"][:_MOST_GPUS] if (gauge := _gauge(row)) is not None]
    return (age_s, gauges) if age_s is not None and gauges else None


def _gauge(row: object) -> Gauge | None:
    if not isinstance(row, list) or len(row) != 1 + _FIGURES:
        return None
    figures = (_figure(value, limit) for value, limit in zip(row[1:], _LIMITS, strict=True))
    return Gauge(clean_text(str(row[0])[:80]), *figures)


def _figure(value: object, limit: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= limit:
        return None
    return float(value)
