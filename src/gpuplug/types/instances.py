"""How an instance is made, how it is shown and reached, and what its provider can do."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from gpuplug.types.injected import Secret
    from gpuplug.types.money import Money

LABEL_PREFIX = "gp-"


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

    `scopes` are the key's rights in the provider's own words; empty where it does not tell them. `lacks` are those
    that renting and ending need and the key certainly does not have. `told` is the provider's own wall time when it
    answered.
    """

    balance: Money | None = None
    scopes: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    told: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Billed:
    """What the platform's own books say that an instance has cost; `label` where they tell it."""

    instance_id: str
    amount: Money
    label: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What proves both ends to each other: our key for this instance, and the host key that is pinned.

    `user_key` is a private ed25519 key in OpenSSH form; `host_key` is one line, "ssh-ed25519 AAAA...".
    """

    user_key: Secret
    host_key: str


@dataclass(frozen=True, slots=True)
class SelfStop:
    """How an instance lets itself rest: `method` on `url` with `body` as JSON and the key in the variable `key_variable`.

    `url` holds `$` and the variable `id_variable`, both of the environment that the provider gives the container.
    """

    url: str
    id_variable: str
    key_variable: str
    method: str
    body: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Traits:
    """What a provider can do, as data: the engine, the panel, the suite and the README's table read it.

    `identity` says whether `connect` needs keys. `stop`, `account` and `bills` say that the adapter has the powers
    `Pausable`, `Accountable` and `Invoicing`.
    `spot` machines get a signal `notice_s` seconds before they are taken away. `market` prices are
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
    bills: bool = False
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
