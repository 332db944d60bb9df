"""What a machine must have, and the machines that can be rented."""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass
from decimal import Decimal

from gpuplug import gpus
from gpuplug.types.money import SECONDS_PER_HOUR, ZERO, Money

_CODE = 3  # letters of a country or continent

gpu_key = gpus.key


@dataclass(frozen=True, slots=True)
class GpuWish:
    """One acceptable GPU and how many of it: a model (`RTX_4090`), a family (`A100`) or a size (`24GB`)."""

    name: str
    count: int = 1

    def matches(self, model: str, count: int, vram_mb: int = 0) -> bool:
        """Tell whether `count` GPUs called `model`, with `vram_mb` MiB each (0: not known), satisfy this wish."""
        return self.count == count and gpus.satisfies(self.name, model, vram_mb)


class Cloud(enum.Enum):
    """Who runs the machines: a data center under contract, or private hosts."""

    SECURE = "secure"
    COMMUNITY = "community"


@functools.lru_cache(maxsize=4096)
def cuda_version(text: str) -> tuple[int, int] | None:
    """Return `12.4` as (12, 4); None when `text` is no CUDA version."""
    match = re.fullmatch(r"(\d{1,2})(?:\.(\d{1,2}))?(?:\.\d+)?", text.strip())
    return (int(match[1]), int(match[2] or 0)) if match else None


@dataclass(frozen=True, slots=True)
class Query:
    """What a machine must have. `gpus` is in order of preference; empty means any.

    `cloud` None means either. `spot` asks for machines that a higher bid can take away, and for nothing else.
    `cuda` is the least that the driver must do ("12.4"). `region` holds country codes or names, any of which will do.
    `hours` and `data_gb`, which is sent there, take part in the order of the offers only.
    `volume_gb` asks for a disk that outlives a stop, `network_volume` for the machines that can mount that one.
    """

    gpus: tuple[GpuWish, ...] = ()
    disk_gb: int = 20
    min_reliability: float = 0.95
    cloud: Cloud | None = None
    spot: bool = False
    min_down_mbps: float = 0.0
    cuda: str = ""
    region: tuple[str, ...] = ()
    hours: float = 1.0
    data_gb: float = 0.0
    volume_gb: int = 0
    network_volume: str = ""

    def unmet(self, offer: Offer) -> tuple[str, ...]:
        """Return the names of the floors that `offer` is under.

        Reliability and CUDA count only where the provider tells them; a net, region or cloud that is not told does
        not meet what was asked for.
        """
        least = cuda_version(self.cuda)
        has = cuda_version(offer.cuda)
        return tuple(
            name
            for name, under in (
                ("min_reliability", 0 < offer.reliability < self.min_reliability),
                ("min_down_mbps", offer.down_mbps < self.min_down_mbps),
                ("cuda", least is not None and has is not None and has < least),
                ("region", bool(self.region) and not any(within(offer.region, place) for place in self.region)),
                ("cloud", self.cloud is not None and offer.cloud is not self.cloud),
                ("spot", offer.spot is not self.spot),
            )
            if under
        )

    def preference(self, offer: Offer) -> int:
        """Return which of the wished GPUs `offer` is, from 0; their number when it is none of them, 0 when any will do."""
        for index, wish in enumerate(self.gpus):
            if wish.matches(offer.gpu, offer.gpu_count, offer.vram_mb):
                return index
        return len(self.gpus)

    def total(self, offer: Offer) -> Money:
        """Return the true price of `offer` for the stated hours: GPU, disk, and the bytes of the stated data."""
        running = offer.price if self.hours == 1 else offer.price.for_seconds(self.hours * SECONDS_PER_HOUR)
        if not self.data_gb or not offer.down_price_per_gb.micros:
            return running
        return running + Money(round(Decimal(offer.down_price_per_gb.micros) * Decimal(str(self.data_gb))))


def within(region: str, place: str) -> bool:
    """Tell whether a provider's `region` ("Texas, US", "EU-RO-1") is the `place`: a code is one of its words whole."""
    have, wanted = region.casefold(), place.casefold().strip()
    if len(wanted) <= _CODE:
        return wanted in re.split(r"[^a-z0-9]+", have)
    return wanted in have


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine that can be rented now.

    `price` is the true price per hour: GPU and the disk that the query asked for; of a spot offer, at `min_bid`.
    `min_bid` is the least that must be bid per hour for the whole machine, without its disk. `disk_price` is what of
    `price` is the disk's, `stopped_price` what it costs at rest.
    `id` may be short-lived; `machine` is the provider's lasting name of the same machine. `places` are the provider's
    names of where it is to be made; empty: wherever there is one.
    """

    provider: str
    id: str
    machine: str
    gpu: str
    gpu_count: int
    price: Money
    vram_mb: int = 0
    reliability: float = 0.0
    down_mbps: float = 0.0
    up_mbps: float = 0.0
    down_price_per_gb: Money = ZERO
    up_price_per_gb: Money = ZERO
    disk_price: Money = ZERO
    stopped_price: Money = ZERO
    cuda: str = ""
    region: str = ""
    places: tuple[str, ...] = ()
    direct_ports: int = 0
    cloud: Cloud | None = None
    spot: bool = False
    min_bid: Money = ZERO
    simulated: bool = False
    suspicious: str = ""


@dataclass(frozen=True, slots=True)
class OfferList:
    """What a search found, and how many rows were dropped because they made no sense."""

    offers: tuple[Offer, ...]
    dropped: int = 0
