"""Whether the instance that is there meets what was typed for this cell, as far as the ledger knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpuplug.engine import choosing
from gpuplug.types import Cloud, Offer

if TYPE_CHECKING:
    from gpuplug.config import Options
    from gpuplug.ledger import Lease, Order

# Floors by their names in a query, as they are typed.
_FLOORS = {
    "min_reliability": "--min-reliability",
    "min_down_mbps": "--min-net",
    "cuda": "--cuda",
    "region": "--region",
    "cloud": "--cloud",
    "spot": "--spot",
}
_ORDERED = ("--image", "--disk", "--volume", "--network-volume")
# What only the order tells; the rest is in the lease.
_IN_THE_ORDER = (*_ORDERED, "--min-reliability", "--min-net", "--region", "--cloud")


class Suit(NamedTuple):
    """What of the typed options it does not meet, as `--disk 50` with what it has, and of which that cannot be told."""

    unmet: dict[str, str]
    untold: tuple[str, ...]


def suit(lease: Lease, order: Order | None, options: Options) -> Suit:
    """Compare `lease`, which was ordered as `order` (None: not known), with the options in the line itself.

    The GPU counts also when it comes from the environment, as for a rent; but then not for what is free.
    """
    unmet: dict[str, str] = {}
    if _wants_another_gpu(lease, options):
        unmet["--gpu"] = f"{lease.gpu_count} x {lease.gpu}" if lease.gpu_count > 1 else lease.gpu
    if not lease.price.micros:
        return Suit(unmet, ())
    typed = {f"--{name.replace('_', '-')}" for name in options.typed}
    offer = _as_offer(lease, order)
    untold = [flag for flag in _IN_THE_ORDER if flag in typed] if order is None else []
    for name in choosing.query_of(options).unmet(offer):
        flag = _FLOORS[name]
        if flag not in typed or flag in untold:
            continue
        if choosing.is_known(offer, name):
            unmet[flag] = choosing.has(offer, name)
        else:
            untold.append(flag)
    if order is not None:
        unmet |= {flag: has for flag, has in _otherwise_ordered(order, options).items() if flag in typed}
    return Suit(unmet, tuple(untold))


def idle_options(platform: str, options: Options) -> str:
    """Say which of the typed options change nothing on a machine that nobody rents out; "" when there is none."""
    flags = [flag for flag in (*_FLOORS.values(), *_ORDERED) if flag.strip("-").replace("-", "_") in options.typed]
    means = "means" if len(flags) == 1 else "mean"
    return f"{platform} is no market: {' and '.join(flags)} {means} nothing there" if flags else ""


def _wants_another_gpu(lease: Lease, options: Options) -> bool:
    if not options.gpu or not (lease.price.micros or "gpu" in options.typed):
        return False
    return not any(wish.matches(lease.gpu, lease.gpu_count, lease.vram_mb) for wish in options.gpu)


def _otherwise_ordered(order: Order, options: Options) -> dict[str, str]:
    found: dict[str, str] = {}
    if order.image != options.image:
        found["--image"] = order.image
    if order.disk_gb < options.disk:
        found["--disk"] = f"{order.disk_gb} GB"
    if order.volume_gb < options.volume:
        found["--volume"] = f"{order.volume_gb} GB of volume" if order.volume_gb else "no volume"
    if order.network_volume != options.network_volume:
        found["--network-volume"] = order.network_volume or "no network volume"
    return found


def _as_offer(lease: Lease, order: Order | None) -> Offer:
    return Offer(
        lease.provider,
        lease.instance_id,
        lease.machine,
        lease.gpu,
        lease.gpu_count,
        lease.price,
        vram_mb=lease.vram_mb,
        reliability=order.reliability if order else 0.0,
        down_mbps=order.down_mbps if order else 0.0,
        cuda=lease.cuda,
        region=order.region if order else "",
        cloud=Cloud(order.cloud) if order and order.cloud else None,
        spot=bool(lease.bid.micros),
    )
