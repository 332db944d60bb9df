"""The ledger's rows as types, and what a lease has cost so far."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gpuplug.types import ZERO, Money


class State(enum.Enum):
    """Where a lease stands; only `GONE` and `FAILED` are final, and both need proof."""

    INTENT = "intent"  # committed, the provider was not asked yet
    UNKNOWN = "unknown"  # asked, and its fate is not known: found by its label or waited out
    BOUND = "bound"  # the provider gave an id
    READY = "ready"  # proven and reached
    DESTROYING = "destroying"  # its end was asked for and is not proven
    GONE = "gone"  # proven: absent from two listings and from a direct reading
    FAILED = "failed"  # cleanly refused: it never existed


FINAL = frozenset({State.GONE, State.FAILED})


@dataclass(frozen=True, slots=True)
class Lease:
    """One instance from intent to proof of its end. Times are seconds since 1970 in UTC; prices are per hour.

    `host_key` is the pinned public line; the private keys lie in files of their own, named by `label`.
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
    running: float | None = None
    ended: float | None = None
    note: str = ""

    def cost(self, now: float, since: float = 0.0) -> Money:
        """Return what it has cost between `since` and `now`: disk until it ran, then the full price."""
        if self.state is State.FAILED:
            return ZERO
        end = min(now, self.ended if self.ended is not None else now)
        ran = min(self.running if self.running is not None else end, end)
        idle = max(0.0, ran - max(self.created, since))
        busy = max(0.0, end - max(ran, since))
        return self.stopped_price.for_seconds(round(idle, 3)) + self.price.for_seconds(round(busy, 3))

    @property
    def billing(self) -> bool:
        """Whether it may cost money now: everything that is not proven gone or never made."""
        return self.state not in FINAL and self.price.micros > 0


@dataclass(frozen=True, slots=True)
class CellRow:
    """One cell that ran: when, where, how it ended, what its seconds cost."""

    id: str
    label: str
    notebook: str
    started: float
    seconds: float
    cost: Money
    status: str
