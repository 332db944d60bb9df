"""What RunPod's disks cost; its API tells the price of GPUs only."""

from __future__ import annotations

from decimal import Decimal

from gpuplug.types import ZERO, Money

# Dollars for a GB and month: the container's disk (gone, and free, when it is stopped), and the pod's own volume.
_CONTAINER = Decimal("0.10")
_VOLUME = Decimal("0.10")
_VOLUME_STOPPED = Decimal("0.20")
_HOURS_A_MONTH = 730


def running(gpus: Decimal, disk_gb: int | Decimal, volume_gb: int | Decimal) -> Money:
    """Return what a running pod costs an hour, given the dollars that its GPUs cost an hour."""
    return Money.dollars(gpus + (disk_gb * _CONTAINER + volume_gb * _VOLUME) / _HOURS_A_MONTH)


def stopped(volume_gb: int | Decimal) -> Money:
    """Return what a stopped pod costs an hour: a network volume bills in any case, and is no part of this."""
    return Money.dollars(volume_gb * _VOLUME_STOPPED / _HOURS_A_MONTH) if volume_gb else ZERO
