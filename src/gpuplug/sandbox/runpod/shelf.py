"""The market's stock from a seed: which GPUs are free where, and at what price."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.runpod.catalogue import CENTER_BY_ID, CUDA_VERSIONS, DATA_CENTERS, DRIVERS, GPUS, GpuModel

if TYPE_CHECKING:
    from collections.abc import Iterable

SECURE, COMMUNITY = "SECURE", "COMMUNITY"
LEVELS = ((8, "HIGH"), (3, "MEDIUM"), (1, "LOW"), (0, "NONE"))
# Where there is always something free, so that a market of any seed can be used.
_ALWAYS = ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3090", "NVIDIA RTX A5000")


@dataclass(slots=True)
class Pool:
    """The GPUs of one model in one cloud and data center (None: a community host); `free` of them nobody has."""

    model: GpuModel
    cloud: str
    center: str | None
    country: str
    machine_id: str
    cuda: str
    free: int
    stock: int
    largest: int

    @property
    def driver(self) -> str:
        """Version of the GPU driver."""
        return DRIVERS[self.cuda]

    def has(self, count: int) -> int:
        """Return how many pods of `count` GPUs fit now."""
        return self.free // count if count <= self.largest else 0


@dataclass(slots=True)
class Price:
    """Micro-dollars per GPU and hour; 0 where the cloud does not have the model."""

    secure: int
    community: int
    secure_spot: int
    community_spot: int

    def of(self, cloud: str, *, spot: bool = False) -> int:
        """Return the price in one cloud."""
        if cloud == SECURE:
            return self.secure_spot if spot else self.secure
        return self.community_spot if spot else self.community


@dataclass(frozen=True, slots=True)
class Wish:
    """What a pod needs of its machine."""

    gpu: str
    count: int
    clouds: tuple[str, ...]
    centers: tuple[str, ...] = ()
    cuda: tuple[str, ...] = CUDA_VERSIONS


class Shelf:
    """All pools and prices; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.pools: list[Pool] = []
        self.prices: dict[str, Price] = {}
        self.restock()

    def restock(self) -> None:
        """Begin anew: first prices, everything free."""
        rng = random.Random(self._seed * 31 + 7)  # noqa: S311 - repeatable, not secret
        self.prices = {model.id: _price(rng, model) for model in GPUS}
        self.pools = [pool for model in GPUS for pool in _pools(rng, model)]

    def find(self, wish: Wish) -> Pool | None:
        """Return a pool that has what is wished, the fullest first; None when there is none."""
        fitting = [pool for pool in self.matching(wish) if pool.has(wish.count)]
        return max(fitting, key=lambda pool: (-wish.clouds.index(pool.cloud), pool.free), default=None)

    def set_price(self, gpu: str, micros: int) -> int:
        """Let a model cost so much per GPU and hour in both clouds from now on; return how many models that were."""
        if gpu not in self.prices:
            return 0
        self.prices[gpu].secure = self.prices[gpu].community = micros
        return 1

    def set_stock(self, gpu: str, free: int) -> int:
        """Let every pool of a model have so many free GPUs; return how many pools that were."""
        pools = [pool for pool in self.pools if pool.model.id == gpu]
        for pool in pools:
            pool.free = free
        return len(pools)

    def matching(self, wish: Wish) -> list[Pool]:
        """Return the pools that carry the model where it is wished, free or not."""
        return [
            pool
            for pool in self.pools
            if pool.model.id == wish.gpu
            and pool.cloud in wish.clouds
            and (not wish.centers or pool.center in wish.centers)
            and pool.cuda in wish.cuda
        ]


def level(pools: Iterable[Pool], count: int) -> str:
    """Return NONE, LOW, MEDIUM or HIGH: how many pods of `count` GPUs would find a place."""
    places = sum(pool.has(count) for pool in pools)
    return next(name for least, name in LEVELS if places >= least)


def _price(rng: random.Random, model: GpuModel) -> Price:
    factor = rng.uniform(0.92, 1.12)

    def cents(dollars: float, share: float = 1.0) -> int:
        return round(dollars * factor * share * 100) * (MICROS // 100)

    share = rng.uniform(0.5, 0.7)
    return Price(
        secure=cents(model.secure),
        community=cents(model.community),
        secure_spot=cents(model.secure, share),
        community_spot=cents(model.community, share),
    )


def _pools(rng: random.Random, model: GpuModel) -> list[Pool]:
    pools = []
    centers: list[tuple[str, str | None]] = [(SECURE, center.id) for center in DATA_CENTERS]
    for index, (cloud, center) in enumerate([*centers, (COMMUNITY, None)]):
        largest = model.max_secure if cloud == SECURE else model.max_community
        always = model.id in _ALWAYS and index in {0, 4, len(centers)}
        stock = rng.choice((0, 0, 1, 4, 16, 40))
        cuda = rng.choice(CUDA_VERSIONS if model.maker == "NVIDIA" else CUDA_VERSIONS[:1])
        machine_id = f"{rng.getrandbits(60):012x}"[:12]
        if not largest:
            continue
        stock = max(stock, 24) if always else stock
        cuda = "12.8" if always else cuda
        country = rng.choice(DATA_CENTERS).country if center is None else CENTER_BY_ID[center].country
        pools.append(Pool(model, cloud, center, country, machine_id, cuda, stock, stock, largest))
    return pools
