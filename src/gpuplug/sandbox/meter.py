"""The billing oracle: what an instance has cost, per second, in whole micro-dollars.

It knows nothing of HTTP or of states: it is told when the GPU and the disk begin and cease to cost money.
"""

from __future__ import annotations

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

    def switch(self, now_ns: int, *, gpu: bool, disk: bool) -> None:
        """From `now_ns` on, bill these and nothing else."""
        self._settle(now_ns)
        self._gpu_on = gpu
        self._disk_on = disk

    def reprice(self, now_ns: int, gpu: int) -> None:
        """From `now_ns` on, the GPU costs `gpu` micro-dollars per hour."""
        self._settle(now_ns)
        self.gpu_price = gpu

    @property
    def rate(self) -> int:
        """Micro-dollars per hour at this moment; 0 when nothing bills."""
        return self._gpu_on * self.gpu_price + self._disk_on * self.disk_price

    def micros(self, now_ns: int) -> int:
        """Return what has been spent until `now_ns`, rounded half up to a whole micro-dollar."""
        exact = self._exact + self.rate * (now_ns - self._since)
        return (exact + NS_PER_HOUR // 2) // NS_PER_HOUR

    def _settle(self, now_ns: int) -> None:
        if now_ns < self._since:
            msg = f"time went back by {self._since - now_ns} ns"
            raise ValueError(msg)
        self._exact += self.rate * (now_ns - self._since)
        self._since = now_ns


def disk_price(storage_cost: float, disk_gb: float) -> int:
    """Return micro-dollars per hour of a disk, from dollars per GB and month of 30 days."""
    return round(storage_cost * disk_gb * 1_000_000 / 720)


def dollars(micros: int) -> str:
    """Write an amount as dollars with four digits or more: `0.0123`, `1.204567`."""
    text = f"{micros // 1_000_000}.{micros % 1_000_000:06d}"
    return text.removesuffix("00")
