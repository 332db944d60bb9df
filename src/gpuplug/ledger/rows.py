"""The ledger's rows as types, and what a lease has cost so far."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gpuplug.ledger.traffic import Toll, in_money
from gpuplug.types import ZERO, Money


class State(enum.Enum):
    """Where a lease stands; only `GONE` and `FAILED` are final, and both need proof."""

    INTENT = "intent"  # committed, the provider was not asked yet
    UNKNOWN = "unknown"  # asked, and its fate is not known: found by its label or waited out
    BOUND = "bound"  # the provider gave an id
    READY = "ready"  # proven and reached
    STOPPED = "stopped"  # it rests by the user's wish: its disk stays and bills
    ADOPTED = "adopted"  # another computer rented it; here its cost is counted and its end asked for
    DESTROYING = "destroying"  # its end was asked for and is not proven
    GONE = "gone"  # proven: absent from two listings and from a direct reading
    FAILED = "failed"  # cleanly refused: it never existed


FINAL = frozenset({State.GONE, State.FAILED})
HOLD_S = (
    35.0  # longer than a create may take; others leave alone for so long what a process is renting, or has died renting
)


MS_PER_HOUR = 3_600_000


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _divided(exact: int) -> int:
    """Return `exact` by the milliseconds of an hour, half to even: `round(Fraction(...))` for a tenth of its time."""
    whole, rest = divmod(exact, MS_PER_HOUR)
    return whole + (2 * rest > MS_PER_HOUR or (2 * rest == MS_PER_HOUR and whole % 2 == 1))


@dataclass(frozen=True, slots=True)
class Rate:
    """What an instance costs per hour from `since` on, until the next rate."""

    since: float
    price: Money


@dataclass(frozen=True, slots=True)
class Lease:
    """One instance from intent to proof of its end. Times are seconds since 1970 in UTC; prices are per hour.

    `price` is what it costs while it runs, `stopped_price` while it boots or rests, `rates` what it really cost and
    when. `host_key` is the pinned public line, `sent_key` the one that the start command puts in place; the private
    keys lie in files of their own, named by `label`. `bid` is zero unless a higher one can take the machine away.

    `contact` is when a process of this computer was last in touch with it, or waited for it; None when that is not
    known. `busy` is how many cells ran or waited there then. `begun` is since when its hard end counts; None until it
    is reached. While it is being rented, `owner` does it, under `token`, until `expires`. `tolls` is what its bytes cost.
    """

    label: str
    provider: str
    notebook: str
    name: str
    state: State
    gpu: str
    gpu_count: int
    machine: str
    price: Money
    stopped_price: Money
    host_key: str
    nonce: str
    lease_s: int
    hard_s: int
    created: float
    instance_id: str = ""
    rotated: bool = False
    simulated: bool = False
    ended: float | None = None
    note: str = ""
    sent_key: str = ""
    vram_mb: int = 0
    cuda: str = ""
    bid: Money = ZERO
    rates: tuple[Rate, ...] = ()
    contact: float | None = None
    busy: int = 0
    begun: float | None = None
    owner: str = ""
    token: str = ""
    expires: float = 0.0
    tolls: tuple[Toll, ...] = ()

    def cost(self, now: float, since: float = 0.0) -> Money:
        """Return what it has cost between `since` and `now`: each rate for as long as it held, and the bytes.

        Costs of times that follow each other add up to the cost of the whole, to the micro-dollar.
        """
        return self._until(now) - self._until(min(since, now))

    def _until(self, at: float) -> Money:
        if self.state is State.FAILED:
            return ZERO
        end = at if self.ended is None else min(at, self.ended)
        exact = sum(rate.price.micros * span for rate, span in self.spans(end))
        return Money(_divided(exact)) + self.bytes_cost(at)

    def bytes_cost(self, until: float) -> Money:
        """Return what the bytes have cost that passed before."""
        return in_money(sum(toll.exact for toll in self.tolls if toll.at < until)) if self.tolls else ZERO

    def spans(self, end: float) -> list[tuple[Rate, int]]:
        """Return each rate and for how many milliseconds it held until `end`."""
        rates = self.rates or (Rate(self.created, self.stopped_price),)
        ends = [*(later.since for later in rates[1:]), end]
        return [(rate, max(0, _ms(min(until, end)) - _ms(rate.since))) for rate, until in zip(rates, ends, strict=True)]

    @property
    def rate(self) -> Money:
        """What it costs per hour now."""
        return self.rates[-1].price if self.rates else self.stopped_price

    @property
    def running_since(self) -> float | None:
        """Since when it has been seen to cost more than its disk, without a rest; None when it was not."""
        since = None
        for rate in self.rates:
            since = None if rate.price <= self.stopped_price else since if since is not None else rate.since
        return since

    @property
    def hard_end(self) -> float:
        """When its own switch ends it, whoever is in touch; counted from a restart anew."""
        return (self.created if self.begun is None else self.begun) + self.hard_s

    @property
    def lease_end(self) -> float | None:
        """When its own switch ends it if nobody gets in touch and no cell runs; None when the last contact is not known."""
        return None if self.contact is None else self.contact + self.lease_s

    def held(self, now: float) -> bool:
        """Tell whether some process is renting it at this moment; one whose time is over has died or fallen asleep."""
        return self.token != "" and now < self.expires <= now + HOLD_S

    @property
    def billing(self) -> bool:
        """Whether it may cost money now: everything that is not proven gone or never made."""
        return self.state not in FINAL and self.price.micros > 0


@dataclass(frozen=True, slots=True)
class CellRow:
    """One cell that ran: when, where, how it ended, what its seconds and its bytes cost."""

    id: str
    label: str
    notebook: str
    started: float
    seconds: float
    cost: Money
    status: str
