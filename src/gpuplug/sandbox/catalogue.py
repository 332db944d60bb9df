"""What the market has on its shelves: GPU models and, from a seed, the machines that carry them."""

from __future__ import annotations

import random
from dataclasses import dataclass

MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """One GPU model: `vram` MiB, `power` W, `flops` TFLOPS, `bandwidth` GB/s, prices in dollars per GPU and hour."""

    name: str
    vram: int
    arch: int
    flops: float
    dlperf: float
    bandwidth: float
    power: int
    low: float
    high: float
    machines: int
    counts: tuple[int, ...] = (1,)


MODELS: tuple[Model, ...] = (
    Model("RTX 4090", 24564, 890, 82.6, 106.6, 1008, 450, 0.25, 0.60, 78, (1, 1, 1, 2, 4)),
    Model("RTX 3090", 24576, 860, 35.6, 41.0, 936, 350, 0.10, 0.28, 34, (1, 1, 2, 4)),
    Model("RTX 5090", 32607, 1200, 104.8, 190.3, 1792, 575, 0.38, 0.95, 26, (1, 1, 2, 8)),
    Model("RTX 4080S", 16376, 890, 52.2, 68.2, 736, 320, 0.16, 0.33, 8),
    Model("RTX 4070 Ti", 12282, 890, 40.1, 50.0, 504, 285, 0.10, 0.22, 8),
    Model("RTX 3060", 12288, 860, 12.7, 15.1, 360, 170, 0.05, 0.12, 12, (1, 1, 4)),
    Model("RTX A6000", 49140, 860, 38.7, 46.9, 768, 300, 0.36, 0.70, 12, (1, 2, 4)),
    Model("RTX 6000Ada", 49140, 890, 91.1, 98.0, 960, 300, 0.60, 1.10, 8, (1, 4)),
    Model("L40S", 46068, 890, 91.6, 96.4, 864, 350, 0.55, 1.05, 10, (1, 2, 8)),
    Model("A100 SXM4", 81920, 800, 19.5, 125.0, 2039, 400, 0.75, 1.50, 12, (1, 4, 8)),
    Model("A100 PCIE", 81920, 800, 19.5, 112.0, 1935, 300, 0.60, 1.30, 10, (1, 2)),
    Model("H100 SXM", 81559, 900, 66.9, 330.0, 3352, 700, 1.60, 2.90, 12, (1, 2, 8)),
    Model("H100 PCIE", 81559, 900, 51.2, 240.0, 2000, 350, 1.45, 2.50, 6),
    Model("H200", 143771, 900, 66.9, 350.0, 4800, 700, 2.20, 3.80, 5, (1, 8)),
    Model("Tesla T4", 15360, 750, 8.1, 10.2, 320, 70, 0.08, 0.18, 8),
    Model("Tesla V100", 16384, 700, 15.7, 22.7, 900, 300, 0.13, 0.30, 6, (1, 8)),
    Model("A10", 23028, 860, 31.2, 34.0, 600, 150, 0.15, 0.32, 5),
)
BY_NAME = {model.name: model for model in MODELS}
_PLACES = (
    *("Guangxi, CN", "Texas, US", "California, US", "Quebec, CA", "Norway, NO", "Poland, PL", "Sweden, SE"),
    *("Germany, DE", "Netherlands, NL", "Taiwan, TW", "Japan, JP", "Ukraine, UA", "Utah, US", ", KR"),
)
_DRIVERS = (
    *(("535.183.01", 12.2), ("550.127.05", 12.4), ("560.35.03", 12.6), ("570.133.20", 12.8)),
    ("580.95.05", 13.0),
)
_PROCESSORS = ("AMD EPYC 7763", "AMD EPYC 9354", "Xeon Gold 6248", "AMD Ryzen 9 7950X", "Core i9-13900K")


@dataclass(slots=True)
class Host:
    """One physical machine and its only listing; `price` and `min_bid` are micro-dollars per hour for all its GPUs.

    `generation` counts the offer ids that it had; `occupant` is the instance that holds the GPUs, or 0 for somebody
    else, or None when they are free.
    """

    machine_id: int
    host_id: int
    model: Model
    num_gpus: int
    gpus_in_machine: int
    price: int
    list_price: int
    min_bid: int
    storage_cost: float
    reliability: float
    verification: str
    datacenter: bool
    direct_ports: int
    inet_up: float
    inet_down: float
    inet_cost: float
    cuda: float
    driver: str
    cpu_name: str
    cpu_cores: int
    cpu_ram: int
    disk_space: float
    place: str | None
    address: str
    up_since_days: int
    days_left: int
    generation: int = 0
    asked_at: float = 0.0
    occupant: int | None = None


def _host(rng: random.Random, model: Model, machine_id: int) -> Host:
    count = rng.choice(model.counts)
    total = rng.choice([size for size in (1, 2, 4, 8) if size >= count])
    price = round(rng.uniform(model.low, model.high) * count * MICROS)
    driver, cuda = rng.choice(_DRIVERS if model.arch < 1200 else _DRIVERS[3:])  # noqa: PLR2004 - Blackwell
    cores = rng.choice((16, 32, 64, 96))
    return Host(
        machine_id=machine_id,
        host_id=rng.randrange(40_000, 420_000),
        model=model,
        num_gpus=count,
        gpus_in_machine=total,
        price=price,
        list_price=price,
        min_bid=round(price * rng.uniform(0.4, 0.8)),
        storage_cost=rng.choice((0.1, 0.15, 0.2, 0.3)),
        reliability=round(rng.uniform(0.955, 0.9995), 7),
        verification="verified" if rng.random() < 0.85 else "unverified",  # noqa: PLR2004 - share of verified hosts
        datacenter=rng.random() < 0.3,  # noqa: PLR2004 - share of datacenters
        direct_ports=rng.choice((10, 50, 100, 249)),
        inet_up=round(rng.uniform(80, 4000), 1),
        inet_down=round(rng.uniform(200, 8000), 1),
        inet_cost=rng.choice((0.0, 0.001953125, 0.0048828125, 0.01953125)),
        cuda=cuda,
        driver=driver,
        cpu_name=rng.choice(_PROCESSORS),
        cpu_cores=cores,
        cpu_ram=cores * rng.choice((2012, 4024, 8048)),
        disk_space=round(rng.uniform(80, 3000), 3),
        place=rng.choice(_PLACES),
        address=f"203.0.113.{rng.randrange(1, 255)}",
        up_since_days=rng.randrange(10, 900),
        days_left=rng.randrange(20, 400),
    )


def _set_traps(hosts: list[Host]) -> None:
    """Turn the first hosts of some models into offers that a careful client avoids or copes with."""
    first = {model.name: [h for h in hosts if h.model is model] for model in MODELS}
    broken, no_ports, nowhere, bogus, old = (
        first["RTX 4090"][0],
        first["RTX 3090"][0],
        first["RTX 4090"][1],
        first["H100 SXM"][0],
        first["Tesla T4"][0],
    )
    broken.verification, broken.reliability, broken.num_gpus = "deverified", 0.61, 1
    broken.price, broken.min_bid = 90_000, 40_000
    no_ports.direct_ports, no_ports.verification, no_ports.num_gpus = 0, "verified", 1
    no_ports.price, no_ports.min_bid, no_ports.reliability = 95_000, 50_000, 0.991
    nowhere.place = None
    bogus.verification, bogus.price, bogus.min_bid, bogus.num_gpus = "unverified", 50_000, 10_000, 1
    old.cuda, old.driver = 11.4, "470.256.02"
    for host in (broken, no_ports, bogus):
        host.list_price = host.price


def stock(seed: int) -> list[Host]:
    """Return the machines of the market; the same seed gives the same machines."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
    numbers = rng.sample(range(1000, 60_000), sum(model.machines for model in MODELS))
    hosts = [_host(rng, model, numbers.pop()) for model in MODELS for _ in range(model.machines)]
    _set_traps(hosts)
    return hosts
