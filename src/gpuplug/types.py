"""The nouns of the domain: money, offers, instances, keys, clocks. No input or output happens here."""

from __future__ import annotations

import datetime as dt
import enum
import re
import time
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Protocol

LABEL_PREFIX = "gp-"
SECONDS_PER_HOUR = 3600
_MICROS = 1_000_000
_LEAST_SHOWN = 51


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


def gpu_key(name: str) -> str:
    """Fold a GPU's name so that all spellings of one model are equal.

    `RTX_4090`, `"RTX 4090"`, `rtx4090` and `NVIDIA GeForce RTX 4090` all give `rtx4090`.
    """
    text = re.sub(r"\b(nvidia|geforce|amd|radeon)\b", "", name.casefold().replace("_", " "))
    return re.sub(r"[^a-z0-9]", "", text)


@dataclass(frozen=True, slots=True)
class GpuWish:
    """One acceptable GPU model and how many of it."""

    name: str
    count: int = 1

    def matches(self, model: str, count: int) -> bool:
        """Tell whether `count` GPUs called `model` in any spelling satisfy this wish."""
        return gpu_key(self.name) == gpu_key(model) and self.count == count


class Cloud(enum.Enum):
    """Who runs the machines: a data center under contract, or private hosts."""

    SECURE = "secure"
    COMMUNITY = "community"


@dataclass(frozen=True, slots=True)
class Query:
    """What a machine must have. `gpus` is in order of preference; empty means any.

    `cloud` None means either. `spot` asks for machines that a higher bid can take away, and for nothing else.
    """

    gpus: tuple[GpuWish, ...] = ()
    disk_gb: int = 20
    min_reliability: float = 0.95
    cloud: Cloud | None = None
    spot: bool = False


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
    """How the instance is to be made. `bid` is what a spot offer is rented for per hour, without its disk."""

    image: str
    disk_gb: int
    max_price: Money
    start: StartParams
    bid: Money | None = None


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
    set by each host, others are the provider's list. `keyless_prices` can be read without an account. Each started
    `increment_s` is billed whole. With `stop_keeps_disk` the container's own disk outlives a stop, not only volumes.
    `ready_s` is the usual wait until SSH answers; `list_lag_s` is how long a new instance may be absent from the list;
    `verify_gap_s` is the time between the two listings that prove an instance gone.
    """

    free: bool = False
    identity: bool = True
    stop: bool = False
    account: bool = False
    spot: bool = False
    market: bool = False
    keyless_prices: bool = False
    logs: bool = False
    self_destroy: bool = False
    notice_s: float = 0.0
    increment_s: float = 1.0
    stop_keeps_disk: bool = True
    list_lag_s: float = 0.0
    verify_gap_s: float = 0.0
    ready_s: float = 60.0
    console_url: str = ""
    simulated: bool = False
    key_names: tuple[str, ...] = field(default=())
