"""The billing oracle: what an instance has cost, per second, in whole micro-dollars.

It knows nothing of HTTP or of states: it is told when the GPU and the disk begin and cease to cost money.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

NS_PER_HOUR = 3_600_000_000_000


class Meter:
    """Two switches, GPU and disk, each with a price in micro-dollars per hour.

    The sum is kept exactly (micro-dollars x nanoseconds), so it does not depend on how often anyone looks.
    Moments are nanoseconds of one clock and must not go back.
    """

    def __init__(self, now_ns: int, *, gpu: int, disk: int) -> None:
        self.gpu_price = gpu
        self.disk_price = disk
        self._gpu_on = False
        self._disk_on = False
        self._exact = 0
        self._since = now_ns
        self._past: list[tuple[int, int, int, int]] = []

    def switch(self, now_ns: int, *, gpu: bool, disk: bool) -> None:
        """From `now_ns` on, bill these and nothing else."""
        self._settle(now_ns)
        self._gpu_on = gpu
        self._disk_on = disk

    def reprice(self, now_ns: int, *, gpu: int | None = None, disk: int | None = None) -> None:
        """From `now_ns` on, GPU and disk cost so many micro-dollars per hour; None leaves a price as it is."""
        self._settle(now_ns)
        self.gpu_price = self.gpu_price if gpu is None else gpu
        self.disk_price = self.disk_price if disk is None else disk

    @property
    def rate(self) -> int:
        """Micro-dollars per hour at this moment; 0 when nothing bills."""
        return self._gpu_on * self.gpu_price + self._disk_on * self.disk_price

    def micros(self, now_ns: int) -> int:
        """Return what has been spent until `now_ns`, rounded half up to a whole micro-dollar."""
        exact = self._exact + self.rate * (now_ns - self._since)
        return (exact + NS_PER_HOUR // 2) // NS_PER_HOUR

    def between(self, start_ns: int, end_ns: int) -> tuple[Fraction, Fraction]:
        """Return the micro-dollars that GPU and disk cost from one moment to another, which may not be in the future."""
        rates = (self._gpu_on * self.gpu_price, self._disk_on * self.disk_price)
        gpu = disk = 0
        for since, until, gpu_rate, disk_rate in [*self._past, (self._since, max(end_ns, self._since), *rates)]:
            length = max(0, min(until, end_ns) - max(since, start_ns))
            gpu += length * gpu_rate
            disk += length * disk_rate
        return Fraction(gpu, NS_PER_HOUR), Fraction(disk, NS_PER_HOUR)

    def _settle(self, now_ns: int) -> None:
        if now_ns < self._since:
            msg = f"time went back by {self._since - now_ns} ns"
            raise ValueError(msg)
        self._exact += self.rate * (now_ns - self._since)
        if self.rate and now_ns > self._since:
            rates = (self._gpu_on * self.gpu_price, self._disk_on * self.disk_price)
            self._past.append((self._since, now_ns, *rates))
        self._since = now_ns


def disk_price(storage_cost: float, disk_gb: float) -> int:
    """Return micro-dollars per hour of a disk, from dollars per GB and month of 30 days."""
    return round(storage_cost * disk_gb * 1_000_000 / 720)


def dollars(micros: int) -> str:
    """Write an amount as dollars with four digits or more: `0.0123`, `1.204567`."""
    text = f"{micros // 1_000_000}.{micros % 1_000_000:06d}"
    return text.removesuffix("00")


def verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the meter endpoint says: what bills now, what was spent, and the `rows` of all that was rented."""
    micros = sum(row["spend_micros"] for row in rows)
    return {
        "billing_now": sum(row["billing"] for row in rows),
        "spend": dollars(micros),
        "spend_micros": micros,
        "instances": rows,
    }
