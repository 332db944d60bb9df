"""The nouns of the domain: money, offers, instances, keys, clocks. No input or output happens here."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import re
import time
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Protocol

from gpuplug import gpus

LABEL_PREFIX = "gp-"
SECONDS_PER_HOUR = 3600
_MICROS = 1_000_000
_LEAST_SHOWN = 51
_CODE = 3  # letters of a country or continent


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An exact amount in micro-dollars; prices per hour use it too."""

    micros: int

    @classmethod
    def dollars(cls, amount: str | int | Decimal) -> Money:
        """Round `amount` US dollars to the nearest micro-dollar (half to even).

        Raises:
            ValueError: it is no finite number.
        """
        try:
            value = Decimal(amount)
        except InvalidOperation:
            msg = f"{amount!r} is not an amount of dollars"
            raise ValueError(msg) from None
        if not value.is_finite():
            msg = f"{amount!r} is not an amount of dollars"
            raise ValueError(msg)
        return cls(int((value * _MICROS).to_integral_value(ROUND_HALF_EVEN)))

    def for_seconds(self, seconds: float) -> Money:
        """Return what `seconds` cost at this price per hour."""
        exact = Decimal(self.micros) * Decimal(str(seconds)) / SECONDS_PER_HOUR
        return Money(int(exact.to_integral_value(ROUND_HALF_EVEN)))

    def __add__(self, other: Money) -> Money:
        return Money(self.micros + other.micros)

    def __sub__(self, other: Money) -> Money:
        return Money(self.micros - other.micros)

    def __str__(self) -> str:
        """Dollars with two digits, below a dollar with up to four where they say something.

        `$1.20`, `$0.05`, `$0.255`, `$0.0046`; what rounds to nothing is `<$0.0001`.
        """
        value = Decimal(self.micros) / _MICROS
        if 0 < self.micros < _LEAST_SHOWN:
            return "<$0.0001"
        dollars, _, digits = f"{value:.{2 if abs(self.micros) >= _MICROS else 4}f}".partition(".")
        return f"${dollars}.{digits.rstrip('0'):0<2}"

    def exact(self) -> str:
        """Return all six digits without the sign `$`: `0.004600`."""
        return f"{Decimal(self.micros) / _MICROS:.6f}"


ZERO = Money(0)


class Secret:
    """A key or token that cannot be printed by accident; `reveal()` at the one place of use."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret text."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)


class Clock(Protocol):
    """Time as it is injected everywhere; tests pass one that they move by hand."""

    def now(self) -> dt.datetime:
        """Return the aware wall time in UTC: for people and records."""
        ...

    def monotonic(self) -> float:
        """Return seconds for measuring and deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`."""
        ...


class SystemClock:
    """The clock of this computer."""

    def now(self) -> dt.datetime:
        """Return the aware wall time in UTC."""
        return dt.datetime.now(dt.timezone.utc)

    def monotonic(self) -> float:
        """Return seconds for measuring and deadlines."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`."""
        time.sleep(seconds)


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
    `min_bid` is the least that must be bid per hour for the whole machine, without its disk.
    `id` may be short-lived; `machine` is the provider's lasting name of the same machine.
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
    stopped_price: Money = ZERO
    cuda: str = ""
    region: str = ""
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


@dataclass(frozen=True, slots=True)
class StartParams:
    """What the start command must do on the instance before anything else.

    `host_key` is a private key in OpenSSH form, made for this one instance and replaced by one made on the
    instance at first contact. `nonce` marks the line in the container log that names the host key which is
    really in use. `lease_s` and `hard_s` are counted on the instance's own uptime.
    """

    host_key: Secret
    user_key: str
    nonce: str
    lease_s: int
    hard_s: int
    budget_s: int


@dataclass(frozen=True, slots=True)
class Spec:
    """How the instance is to be made. `bid` is what a spot offer is rented for per hour, without its disk.

    A volume, new (`volume_gb`) or of the account (`network_volume`, its id), is mounted where the provider does it.
    """

    image: str
    disk_gb: int
    max_price: Money
    start: StartParams
    bid: Money | None = None
    volume_gb: int = 0
    network_volume: str = ""


class InstanceState(enum.Enum):
    """What the provider says of an instance."""

    BOOTING = "booting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where SSH may answer; `via` is `direct` or `proxy`."""

    host: str
    port: int
    user: str = "root"
    via: str = "direct"


_TARGET = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,63})@)?"
    r"(?:\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class SshTarget:
    """A machine as one types it after `ssh`; no user and port 0 leave both to the user's ssh configuration."""

    host: str
    user: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> SshTarget:
        """Read `[user@]host[:port]`; an IPv6 address stands in brackets.

        Raises:
            ValueError: it is no such thing.
        """
        found = _TARGET.fullmatch(text)
        if found is None or (found["port"] and not 1 <= int(found["port"]) <= 65535):  # noqa: PLR2004 - TCP's last port
            msg = f"{text!r} is not [user@]host[:port]"
            raise ValueError(msg)
        return cls(found["address"] or found["name"], found["user"] or "", int(found["port"] or 0))


@dataclass(frozen=True, slots=True)
class Instance:
    """One rented machine as the provider reports it; `price` per hour is what it bills now.

    A `spot` instance that is stopped though nobody here stopped it was preempted.
    """

    provider: str
    id: str
    label: str
    state: InstanceState
    price: Money
    gpu: str = ""
    gpu_count: int = 0
    machine: str = ""
    status: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    started: dt.datetime | None = None
    spot: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What a key opens. `balance` is prepaid money that is left; None where the provider does not tell.

    `told` is the provider's own wall time when it answered.
    """

    balance: Money | None = None
    scopes: tuple[str, ...] = ()
    told: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What proves both ends to each other: our key for this instance, and the host key that is pinned.

    `user_key` is a private ed25519 key in OpenSSH form; `host_key` is one line, "ssh-ed25519 AAAA...".
    """

    user_key: Secret
    host_key: str


@dataclass(frozen=True, slots=True)
class Traits:
    """What a provider can do, as data: the engine, the panel, the suite and the README's table read it.

    `identity` says whether `connect` needs keys. `stop` and `account` say that the adapter has the powers `Pausable`
    and `Accountable`. `spot` machines get a signal `notice_s` seconds before they are taken away. `market` prices are
    set by each host, others are the provider's list. `keyless_prices` can be read without an account. `searches` is
    how many may be made in how many seconds, by all processes together ((0, 0): no limit). `volumes` can be mounted:
    where they can, `stop` needs one. Each started `increment_s` is billed whole. With `stop_keeps_disk` the
    container's own disk outlives a stop, not only volumes. `ready_s` is the usual wait until SSH answers; `list_lag_s`
    is how long a new instance may be absent from the list; `verify_gap_s` is the time between the two listings that
    prove an instance gone. Where nothing `boots` the machine is there already: one that does not answer now will not
    by waiting.
    """

    free: bool = False
    boots: bool = True
    identity: bool = True
    stop: bool = False
    account: bool = False
    spot: bool = False
    market: bool = False
    keyless_prices: bool = False
    volumes: bool = False
    logs: bool = False
    self_destroy: bool = False
    notice_s: float = 0.0
    increment_s: float = 1.0
    stop_keeps_disk: bool = True
    searches: tuple[int, float] = (0, 0.0)
    list_lag_s: float = 0.0
    verify_gap_s: float = 0.0
    ready_s: float = 60.0
    console_url: str = ""
    simulated: bool = False
    key_names: tuple[str, ...] = field(default=())
