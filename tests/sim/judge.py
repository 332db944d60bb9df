"""The invariants of the money protocol, held against the truth after every step that can break one."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from sim.market import SWITCH_S
from sim.plan import STORIES

from gpuplug.ledger import FINAL, PERIODS, State

if TYPE_CHECKING:
    from sim.market import Machine
    from sim.world import World

    from gpuplug.ledger import Lease

_FINAL = frozenset(state.value for state in FINAL)
_ASKED = frozenset({State.STOPPED.value, State.ADOPTED.value})
_IN_USE = frozenset({State.BOUND.value, State.READY.value}) | _ASKED
_ROUND_S = 20.0
_SLACK = 120  # seconds of its price that a budget may be passed by
_MOST_LAG_S = 60.0  # what both adapters promise
_LONGEST_WAIT_S = 4_000.0
_DAY_S = 86_400.0 - 60
_MOST_REST_H = 37  # a day from when it is first seen, and half a day to the next look, whoever looks twice a day
_MOST_IDLE_S = 60.0  # beyond its lease


class Violation(AssertionError):  # noqa: N818 - it is no error of a program but a promise that was broken
    """A promise was broken; the text says which and how."""


class Row(NamedTuple):
    """What the ledger says of one lease, read behind the engine's back."""

    state: str
    instance_id: str
    held_until: float  # by the process that rents it; until then others leave it alone


class Judge:
    """Compares what the processes have written and said with what really exists and bills."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._orders: dict[str, float] = {}
        self._final: set[str] = set()
        self._before: dict[str, Row] = {}
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()  # one in memory stays

    def rows(self) -> dict[str, Row]:
        """Return the ledger's leases by label, as they are committed."""
        if self._connection is None and self._world.ledger is not None:
            self._connection = self._world.ledger
        if self._connection is None:
            path = self._world.home / "ledger.sqlite3"
            if not path.exists():
                return {}
            self._connection = sqlite3.connect(path, isolation_level=None)
        assert not self._connection.in_transaction, "something is written and not committed"
        with contextlib.suppress(sqlite3.OperationalError):  # no table yet
            found = self._connection.execute("SELECT label, state, instance_id, expires FROM leases").fetchall()
            return {label: Row(*row) for label, *row in found}
        return {}

    def ordered(self, label: str) -> None:
        """A create has reached the provider: its intent was durable before, and it comes once."""
        row = self.rows().get(label)
        if row is None:
            self._break(f"{label} is ordered and no ledger knows of it")
        if label in self._orders:
            self._break(f"the create of {label} was repeated")
        self._orders[label] = self._world.now

    def written(self) -> None:
        """Something was committed: nothing may be called gone, or never made, that exists."""
        rows = self.rows()
        final = {label for label, row in rows.items() if row.state in _FINAL}
        for label in sorted(final - self._final):
            self._world.tell(f"{label[:8]} is {rows[label].state}")
            for machine in self._alive(label):
                if machine.id != rows[label].instance_id and self._beyond(machine):
                    continue
                self._break(f"{label} is called {rows[label].state} while #{machine.id} bills")
        self._final = final

    def _beyond(self, machine: Machine) -> bool:
        """Tell whether nobody could know of `machine`: made long after its order, or hidden by a clock that jumps.

        The next look must find it all the same.
        """
        return self._world.plan.jumps or machine.born > self._orders[machine.label] + _MOST_LAG_S

    def all_known(self) -> None:
        """Everything that exists with our label is in the ledger."""
        rows = self.rows()
        for machine in self._world.market.ours():
            if machine.label not in rows:
                self._break(f"#{machine.id} bills, and no ledger knows {machine.label!r}")

    def looked(self, seen: set[str], since: float) -> None:
        """An undisturbed reconcile that began at `since` is over: whatever its lists showed is counted as billing."""
        rows = self.rows()
        market = self._world.market
        exist = {machine.id for machine in market.ours()}
        ours = [machine for shown in market.listed.values() for machine in shown if machine.id in exist]
        for machine in ours:
            row = rows.get(machine.label)
            if row is None or row.state in _FINAL:
                self._break(f"#{machine.id} is listed and bills, and the ledger says {row.state if row else 'nothing'}")
            if machine.id not in seen:
                self._break(f"#{machine.id} bills and is not shown")
            if row.state == State.DESTROYING.value and not any(at >= since for at in machine.asked):
                self._break(f"#{machine.id} is to be destroyed, and nobody asks for it any more")
        for label in {machine.label for machine in ours}:
            left = [machine for machine in ours if machine.label == label and not machine.asked]
            if len(left) > 1 and rows[label].held_until <= self._world.clock.now().timestamp():
                self._break(f"{label} has {len(left)} instances, and the extra one is not ended")

    def reaps(self) -> None:
        """A look that nobody asked for begins: what it may end depends on how things stand now."""
        self._before = self.rows()

    def reaped(self, machine: Machine) -> None:
        """Such a look asks for the end of `machine`: nobody may be in touch with it, and nothing of use may run there."""
        row, now = self._before.get(machine.label), self._world.now
        if row is None or row.state not in _IN_USE or row.instance_id != machine.id or machine.ended is not None:
            return
        if row.state in _ASKED and not self._waited(machine):
            self._break(f"#{machine.id} is {row.state}, and was ended without a question")
        if row.state in _ASKED:
            return
        hard = machine.began + machine.terms.hard
        if now < min(machine.busy_until, hard):
            self._break(f"#{machine.id} was ended while a cell ran there")
        used = machine.used if machine.began <= now else max(machine.born, machine.contact)
        if now < min(used + machine.terms.lease, hard) and not self._world.plan.jumps:
            self._break(f"#{machine.id} was ended before its lease was over")

    def _waited(self, machine: Machine) -> bool:
        """Tell whether it rests with results, and somebody could see it rest for a day."""
        rested_s = self._world.now - max(machine.rests, default=math.inf)
        return machine.results is not None and rested_s >= _DAY_S and "results" in STORIES[self._world.plan.story]

    def rested(self) -> None:
        """For days in fair weather somebody has looked: what rests with results has cost no more than their budget, and a day.

        Nobody can say so of results that the ledger could not be told of.
        """
        if self._world.plan.jumps:
            return
        known = self._budgeted()
        for machine in self._world.market.ours():
            kept = machine.results
            if kept is None or not machine.resting or machine.label not in known:
                continue
            spent = machine.bill(self._world.now) - kept.bill
            if spent > self._world.options.budget.micros + machine.rest_rate * _MOST_REST_H:
                self._break(f"#{machine.id} rests, and its results have cost {spent:.0f} micro-dollars")

    def _budgeted(self) -> set[str]:
        """Return the labels of the instances whose results have a budget that the ledger knows."""
        if self._connection is None:
            return set()
        return {label for (label,) in self._connection.execute("SELECT label FROM waiting").fetchall()}

    def reconciled(self, since: float) -> None:
        """A minute after its start a process has accounted for all that is listed, and asked for each end that is due."""
        rows = self.rows()
        for machine in self._world.market.ours():
            row = rows.get(machine.label)
            if machine.shown_from > self._world.now - _ROUND_S:
                continue  # no list has had to show it yet
            if row is None or row.state in _FINAL:
                self._break(
                    f"#{machine.id} bills a minute later, and the ledger says {row.state if row else 'nothing'}"
                )
            if row.instance_id != machine.id and not machine.asked:
                self._break(f"#{machine.id} bills a minute later, and nobody knows whose it is: {row}")
            if row.state == State.DESTROYING.value and not any(at >= since for at in machine.asked):
                self._break(f"#{machine.id} is to be destroyed, and nobody has asked for it since the start")

    def usable(self, lease: Lease) -> None:
        """A cell may run on `lease`: it exists, and it is no dearer than was agreed to."""
        machine = self._world.market.machines.get(lease.instance_id)
        if machine is None or machine.label != lease.label:
            self._break(f"{lease.label} is handed out, and #{lease.instance_id} is not its instance")
        elif machine.rate > self._world.options.max_price.micros:
            self._break(f"#{machine.id} is handed out at {machine.rate} micro-dollars an hour, above the cap")

    def took(self, what: str, seconds: float) -> None:
        """A call to the engine has returned."""
        if seconds > _LONGEST_WAIT_S:
            self._break(f"{what} took {seconds:.0f} s")

    def switched(self) -> None:
        """Nobody was in touch for longer than any terms, and no key was accepted: the switches have ended everything."""
        if not self._world.market.traits.armed:
            return  # then only the account's credit is a limit, which is said
        for machine in self._world.market.ours():
            if machine.running(self._world.now):
                self._break(f"#{machine.id} bills on without a key that could end it, and its switch does not either")
        for machine in self._world.market.machines.values():
            if machine.ended is not None and machine.idle_s(self._world.now) > machine.terms.lease + _MOST_IDLE_S:
                self._break(f"#{machine.id} was idle for {machine.idle_s(self._world.now):.0f} s")

    def ended(self) -> None:
        """All is settled, in fair weather, by a new process: nothing is left, and nothing lived longer than it may."""
        self.all_known()
        rows = self.rows()
        for machine in self._world.market.ours():
            self._break(f"#{machine.id} still bills at the end; its lease is {rows[machine.label].state}")
        for label, row in rows.items():
            if row.state not in _FINAL:
                self._break(f"{label} is {row.state} at the end though nothing exists")
        for machine in self._world.market.strangers():
            if machine.ended is not None or machine.asked:
                self._break(f"#{machine.id} is somebody else's, and was ended")
        for machine in self._world.market.machines.values():
            self._within_terms(machine)
        self._within_days()

    def _within_terms(self, machine: Machine) -> None:
        """The switch that was really sent along ends it for want of contact, by its hard end, and for money."""
        terms, market = machine.terms, self._world.market
        if not market.traits.armed or machine.ended is None:  # strangers live on
            return
        options = self._world.options
        may_shorten = self._world.plan.day is not None or self._world.refused  # then a switch may be told to end it
        shorter = may_shorten and terms.hard <= options.terms.hard
        if terms.lease != options.terms.lease or not (terms.hard == options.terms.hard or shorter):
            self._break(f"#{machine.id} was sent the terms {terms}, not {options.terms}")
        waits_until = machine.results.until if machine.results else 0.0
        if not machine.resting and machine.ended > max(machine.lease_end, waits_until) + SWITCH_S:
            self._break(f"#{machine.id} lived on after its lease")
        most = options.budget.micros * market.traits.drift + _SLACK * machine.rate / 3600
        bill = machine.bill(self._world.now)
        rested = bool(machine.rests) or machine.boots_at > machine.ended
        if not rested and bill > most + machine.rest_rate:
            self._break(f"#{machine.id} cost {bill:.0f} micro-dollars, more than its budget of {options.budget}")

    def _within_days(self) -> None:
        """All instances together cost no more than the budget of each day, whoever rented them."""
        plan, world = self._world.plan, self._world
        if plan.day is None or plan.jumps or not plan.traits.armed:
            return
        ours = [each for each in world.market.machines.values() if each not in world.market.strangers()]
        began = world.clock.now().timestamp() - world.now
        at = began
        while at < began + world.now:
            since, at = (moment - began for moment in PERIODS["day"](at))
            bill = sum(machine.bill(at, resting=False) - machine.bill(since, resting=False) for machine in ours)
            most = plan.day.micros * plan.traits.drift + sum(self._unseen(machine) for machine in ours)
            if bill > most:
                self._break(f"a day cost {bill:.0f} micro-dollars, more than its budget of {plan.day}")
            at += began

    def _unseen(self, machine: Machine) -> float:
        """Return what a machine may cost that no ledger can know: a moment at its end, and all of what nobody reached."""
        lease_s = 0 if machine.contact else self._world.options.terms.lease
        return machine.rate * (lease_s + _SLACK) / 3600

    def _alive(self, label: str) -> list[Machine]:
        return [machine for machine in self._world.market.alive() if machine.label == label]

    def _break(self, text: str) -> NoReturn:
        raise Violation(f"{text} ({self._world.now:.1f} s)")
