"""Network volumes: storage that lives in one data center, outlives every pod, and always bills."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read at run time by the dataclass
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.meter import dollars
from gpuplug.sandbox.runpod.catalogue import CENTER_BY_ID
from gpuplug.sandbox.runpod.problems import bad

if TYPE_CHECKING:
    from gpuplug.sandbox.meter import Meter

HOURS_PER_MONTH = 730
CONTAINER_RATE = 0.10
VOLUME_RATE_RUNNING, VOLUME_RATE_STOPPED = 0.10, 0.20
# The first terabyte costs more; the fast kind has a rate of its own.
NETWORK_RATE, NETWORK_RATE_ABOVE, FAST_RATE = 0.07, 0.05, 0.14
TERABYTE = 1000


def monthly(rate: float, size: float) -> int:
    """Return micro-dollars per hour of `size` GB at `rate` dollars per GB and month."""
    return round(rate * size * 1_000_000 / HOURS_PER_MONTH)


def network_price(size: int, kind: str) -> int:
    """Return micro-dollars per hour of a network volume."""
    if kind == "HIGH_PERFORMANCE":
        return monthly(FAST_RATE, size)
    return monthly(NETWORK_RATE, min(size, TERABYTE)) + monthly(NETWORK_RATE_ABOVE, max(0, size - TERABYTE))


def check_place(center: str, kind: str) -> None:
    """Raise Problem where a data center has no such storage."""
    if center not in CENTER_BY_ID:
        raise bad(f"data center {center!r} does not exist")
    if kind not in CENTER_BY_ID[center].volumes:
        raise bad(f"data center {center} does not support {kind} network volumes")


@dataclass(slots=True)
class Volume:
    """One network volume; `size` GB."""

    id: str
    name: str
    size: int
    center: str
    kind: str
    meter: Meter
    folder: Path
    created: float
    gone: bool = False

    def row(self) -> dict[str, Any]:
        """Return it as REST v2 does."""
        return {"id": self.id, "name": self.name, "size": self.size, "dataCenter": self.center, "type": self.kind}

    def verdict(self, now_ns: int) -> dict[str, Any]:
        """Return what the meter endpoint says of it."""
        micros = self.meter.micros(now_ns)
        return {
            "platform": "runpod",
            "id": self.id,
            "label": self.name,
            "gpu": None,
            "num_gpus": 0,
            "machine_id": None,
            "state": "destroyed" if self.gone else "volume",
            "intended": "volume",
            "started": self.created,
            "billing": self.meter.rate > 0,
            "rate_micros": self.meter.rate,
            "spend": dollars(micros),
            "spend_micros": micros,
        }
