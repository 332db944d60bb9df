"""A market in memory: what exists, what its lists show, what it bills. The truth that the protocol is judged by.

Times are seconds of the world's clock, prices micro-dollars an hour.
"""

from __future__ import annotations

import base64
import gzip
import math
import re
from dataclasses import dataclass, field

from gpuplug.types import LABEL_PREFIX

SWITCH_S = 20.0  # the switch looks every 5 s, then gives the job 5 s, then asks until it is heard
KEY = "sim-0123456789abcdef0123456789abcdef"
_BLOB = re.compile(r"printf %s ([A-Za-z0-9+/=]+)\|base64 -d\|gunzip")
_TERM = re.compile(r"^GP_(LEASE|HARD|BUDGET)=(\d+)$", re.MULTILINE)


@dataclass(slots=True)
class Terms:
    """When the instance's own switch ends it, in seconds; read from the start command that was really sent."""

    lease: float = math.inf
    hard: float = math.inf
    budget: float = math.inf

    @classmethod
    def read(cls, command: str) -> Terms:
        blob = _BLOB.search(command)
        script = gzip.decompress(base64.b64decode(blob[1])).decode() if blob else ""
        found = {name.lower(): float(value) for name, value in _TERM.findall(script)}
        return cls(**{name: value for name, value in found.items() if value > 0})


@dataclass(frozen=True, slots=True)
class Order:
    """What a create asks for. `price` is what it costs while it runs, and while it boots or rests."""

    label: str
    command: str
    price: tuple[int, int]
    keeps: bool


@dataclass(slots=True)
class Results:
    """What a cell leaves on a machine: how long the switch waits for somebody to fetch it, in seconds, and when it rests instead.

    `bill` is what the machine had cost when the cell began, in micro-dollars.
    """

    keep_s: float
    least_s: float  # so much must be left of that for a rest; infinite where it cannot rest
    bill: float
    until: float


@dataclass(slots=True)
class Machine:
    """One rented instance as it really is."""

    id: str
    label: str
    dialect: str
    born: float
    rate: int
    rest_rate: int
    boots_at: float
    shown_from: float
    terms: Terms
    keeps: bool
    began: float = 0.0
    contact: float = 0.0
    busy_until: float = 0.0  # when the cell that runs there ends
    results: Results | None = None  # of its last cell, which nobody has fetched
    resting: bool = False
    ended: float | None = None
    asked: list[float] = field(default_factory=list)
    bills: list[tuple[float, int]] = field(default_factory=list)
    rests: set[float] = field(default_factory=set)  # since when it rested, each time

    def bill(self, now: float, *, resting: bool = True) -> float:
        """Return what it has cost until `now`, in micro-dollars: the meter that the ledger is compared with.

        Without `resting` only while it ran or booted: that a disk bills on was the user's own wish.
        """
        end = now if self.ended is None else min(now, self.ended)
        until = [since for since, _ in self.bills[1:]] + [end]
        return sum(
            rate * max(0.0, min(stop, end) - since) / 3600
            for (since, rate), stop in zip(self.bills, until, strict=True)
            if resting or since not in self.rests
        )

    def running(self, now: float) -> bool:
        return self.ended is None and not self.resting and now >= self.boots_at

    def idle_s(self, now: float) -> float:
        """Return for how long it has run with nobody in touch; 0 while it boots or rests."""
        end = now if self.ended is None else self.ended
        return 0.0 if self.resting else max(0.0, end - self.used)

    @property
    def used(self) -> float:
        """When it was last of use to anybody: the last contact, or the end of the last cell."""
        return max(self.contact, self.began, self.busy_until)

    def deadline(self) -> float:
        """Return when the switch ends it, as things stand; it waits for whoever fetches results."""
        return min(max(self.lease_end, self.results.until if self.results else 0.0), self._paid)

    @property
    def lease_end(self) -> float:
        return self.used + self.terms.lease

    @property
    def rests_at(self) -> float:
        """When the agent lays it to rest with what nobody has fetched."""
        kept = self.results
        rests = kept is not None and self.lease_end < self._paid and kept.until - self.lease_end >= kept.least_s
        return self.lease_end + SWITCH_S if rests else math.inf

    @property
    def _paid(self) -> float:
        return self.began + min(self.terms.hard, self.terms.budget)


@dataclass(frozen=True, slots=True)
class Traits:
    """How this market behaves for a whole run: lags in seconds, and by how much prices have moved since the search."""

    lag_s: float = 0.0
    read_lags: bool = False
    end_lag_s: float = 0.0
    boot_s: float = 15.0
    drift: float = 1.0
    armed: bool = True
    shared: bool = False  # the account has somebody else's instances too


class Market:
    """All machines of one account, on every platform."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.now = 0.0
        self.machines: dict[str, Machine] = {}
        self.late: list[Machine] = []
        self.listed: dict[str, list[Machine]] = {}
        self._whole: set[str] = set()
        self._hidden_until = 0.0
        self._number = 7000
        if traits.shared:
            for dialect in ("vast", "runpod"):
                self.create(dialect, Order("somebody-else", "", (1, 1), keeps=False)).shown_from = 0.0

    def alive(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if machine.ended is None]

    def ours(self) -> list[Machine]:
        return [machine for machine in self.alive() if machine.label.startswith(LABEL_PREFIX)]

    def restless(self) -> bool:
        """Tell whether something is still to come up, or to be listed."""
        return bool(self.late) or any(machine.shown_from > self.now for machine in self.alive())

    def strangers(self) -> list[Machine]:
        """Return the instances that are none of ours, dead ones too."""
        return [machine for machine in self.machines.values() if not machine.label.startswith(LABEL_PREFIX)]

    def tick(self, now: float) -> None:
        """Let everything happen that was due until `now`: machines that come up late, switches that fire."""
        self.now = now
        for machine in [each for each in self.late if each.born <= now]:
            self.late.remove(machine)
            self.machines[machine.id] = machine
        for machine in self.machines.values():
            if machine.ended is not None or machine.resting or now < machine.boots_at:
                continue
            if machine.bills[-1][1] != machine.rate:
                machine.bills.append((machine.boots_at, machine.rate))
            if self.traits.armed and machine.keeps and now >= machine.rests_at:
                self.rest(machine, machine.rests_at)
            elif self.traits.armed and now >= machine.deadline() + SWITCH_S:
                machine.ended = machine.deadline() + SWITCH_S

    def create(self, dialect: str, order: Order, *, after: float = 0.0) -> Machine:
        """Make what is ordered, now or `after` seconds."""
        self._number += 1
        born = self.now + after
        boots = born + self.traits.boot_s
        made = Machine(
            id=str(self._number) if dialect == "vast" else f"pod{self._number}",
            label=order.label,
            dialect=dialect,
            born=born,
            rate=round(order.price[0] * self.traits.drift),
            rest_rate=order.price[1],
            boots_at=boots,
            shown_from=self.now + max(after, self.traits.lag_s),
            terms=Terms.read(order.command),
            keeps=order.keeps,
            began=boots,
            bills=[(born, order.price[1])],
        )
        if after:
            self.late.append(made)
        else:
            self.machines[made.id] = made
        return made

    def end(self, machine: Machine) -> None:
        if machine.ended is None:
            machine.ended = self.now

    def rest(self, machine: Machine, since: float | None = None) -> None:
        since = self.now if since is None else since
        machine.resting = True
        machine.rests.add(since)
        machine.bills.append((since, machine.rest_rate))

    def wake(self, machine: Machine) -> None:
        """Start it anew: what was agreed with the switch counts from now on."""
        machine.resting = False
        machine.boots_at = machine.began = self.now + self.traits.boot_s
        machine.contact = machine.busy_until = 0.0
        if machine.results is not None:
            machine.results.until = machine.boots_at + machine.results.keep_s

    def hide(self, seconds: float) -> None:
        """Let a replica answer that has lost everything, to reads of lists and of single machines, for `seconds`."""
        self._hidden_until = self.now + seconds

    def shown(self, dialect: str) -> list[Machine]:
        """Return what the list shows now: new ones late, ended ones for a while longer."""
        if self.now < self._hidden_until:
            return []
        return [each for each in self.machines.values() if each.dialect == dialect and self._listed(each)]

    def watch(self) -> None:
        """Keep in `listed` what the next whole list of each platform shows."""
        self.listed.clear()
        self._whole.clear()

    def note(self, dialect: str, shown: list[Machine], *, whole: bool) -> None:
        """Note one page that was shown."""
        if dialect not in self._whole:
            self.listed.setdefault(dialect, []).extend(shown)
            if whole:
                self._whole.add(dialect)

    def read(self, dialect: str, instance_id: str) -> Machine | None:
        """Return what a direct reading shows now."""
        machine = self.machines.get(instance_id)
        if machine is None or machine.dialect != dialect or self.now < self._hidden_until:
            return None
        if self.traits.read_lags:
            return machine if self._listed(machine) else None
        return machine if machine.ended is None else None

    def _listed(self, machine: Machine) -> bool:
        if self.now < machine.shown_from:
            return False
        return machine.ended is None or self.now < machine.ended + self.traits.end_lag_s
