"""What the standing budgets leave: how long an instance at its price may run, whoever else spends from this ledger."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.config import Limit, Standing, Terms
from gpuplug.errors import BudgetError, ConsentError, GpuplugError, LedgerError, UsageError
from gpuplug.ledger import PERIODS, Allowance, BytePrices, Lease, Ledger, SpendLine, State, spend_lines, zone
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gpuplug.engine.linking import Live
    from gpuplug.engine.planning import Plan
    from gpuplug.engine.talk import Talk
    from gpuplug.types import Clock

LEASE_SLACK_S = 60  # how late an instance may end itself
_UNPROVEN_S = 960.0  # what is not proven gone is taken to bill for so long at least: the usual lease and a minute
INSTANCE = "instance"
LEVELS = (50, 80, 95)  # per cent of a budget, at which it is warned
FULL = 100


@dataclass(frozen=True, slots=True)
class Used:
    """A standing budget and what became of it: `since` is when its day or month began, or its instance was rented.

    `spent` is metered. `promised` is what running instances may still cost before they end by themselves.
    """

    limit: Limit
    since: float
    until: float
    spent: Money
    promised: Money

    @property
    def percent(self) -> int:
        """How much of it is spent, in whole percent, rounded down."""
        return self.spent.micros * 100 // self.limit.amount.micros


class Budgets:
    """The standing budgets over one ledger. Reads their files each time: another process may have changed them."""

    def __init__(self, ledger: Ledger, clock: Clock, home: Path, project: Path) -> None:
        self.ledger = ledger
        self.clock = clock
        self._home = home
        self._project = project

    def standing(self) -> Standing:
        """Return the budgets that stand now.

        Raises:
            UsageError, BudgetError: one cannot be read: nothing may be rented.
        """
        return config.standing_budgets(self._home, self._project)

    def used(self) -> list[Used]:
        """Return each standing budget with what is spent of it; that of an instance with the dearest one that is open.

        Raises:
            UsageError, BudgetError: one cannot be read.
        """
        now = self._now()
        return [
            self._of_one(limit) if limit.per == INSTANCE else self._used(limit, now) for limit in self.standing().limits
        ]

    def line(self) -> str:
        """Return what was spent today, and of each budget, in a few words; also when one cannot be read."""
        try:
            used = [each for each in self.used() if each.limit.per != INSTANCE]
        except (UsageError, BudgetError) as error:
            return f"today {self._today()}; {error.message}"
        words = {"day": "today", "month": "this month"}
        parts = [f"{words[each.limit.per]} {each.spent} of {each.limit.amount}" for each in used]
        return ", ".join(parts) or f"today {self._today()}"

    @property
    def zone(self) -> str:
        """The time zone in which days and months begin."""
        return zone(self._now())

    def begin(self, since: int | dt.date) -> float:
        """Return the local midnight that a date begins with, or the one so many days ago."""
        date = since if isinstance(since, dt.date) else self.clock.now().astimezone().date() - dt.timedelta(days=since)
        return dt.datetime.combine(date, dt.time.min).timestamp()

    def spend(self, since: int | dt.date, by: str) -> list[SpendLine]:
        """Return what was metered since a date, or since the midnight so many days ago, as lines by `by`."""
        begin = self.begin(since)
        return spend_lines(self.ledger.leases(begin), self.ledger.cells(), self._now(), begin, by)

    def warnings(self) -> list[str]:
        """Return what is to be said of budgets that have come to 50, 80, 95 or 100 per cent: each once.

        Raises:
            UsageError, BudgetError: one cannot be read.
            LedgerError: it cannot be written down that it was said.
        """
        said: list[str] = []
        for used in self.used():
            reached = [level for level in (*LEVELS, FULL) if used.percent >= level]
            if reached and self.ledger.notices.first(str(used.limit), used.since, reached[-1]):
                said.append(f"{reached[-1]} % of the budget of {used.limit} is spent: {used.spent}")
        return said

    def warn(self, say: Callable[[str], None]) -> None:
        """Say the warnings that are due; what cannot be read is said in their place, so that nothing of a cell is lost."""
        try:
            for warning in self.warnings():
                say(warning)
        except GpuplugError as error:
            say(error.message)

    def byte_prices(self, lease: Lease) -> BytePrices:
        """Return what the host of `lease` bills for bytes."""
        return self.ledger.traffic.prices(lease.label)

    def price_of(self, lease: Lease) -> Money:
        """Return what `lease` costs per hour by the ledger now; another process may have seen it rise."""
        return self.ledger.lease(lease.label).price

    def expect(self, live: Live, cell: str, budget: Money) -> None:
        """Write down what the results of a cell that begins may cost while they wait, so that a rest ends when that is spent.

        A ledger that cannot be written stops no cell: then it is asked about the rest.
        """
        with contextlib.suppress(LedgerError):
            before = self.ledger.lease(live.lease.label).cost(self._now())
            self.ledger.waiting.expect(cell, live.lease.label, Allowance(before, budget))

    def change(self, changes: Mapping[str, Money | None], talk: Talk | None) -> None:
        """Set standing budgets in the user's own file, or lift one (None).

        What is typed in a notebook comes with its `talk`: a person must agree to whatever lets more be spent than before.

        Raises:
            ConsentError: nobody agreed.
            BudgetError: the file cannot be read or written.
        """
        own = config.standing_budgets(self._home)
        raised = [
            f"{_text(per, amount)} (now {own.of(per) or 'none'})"
            for per, amount in changes.items()
            if _raises(own, per, amount)
        ]
        if raised and talk is not None:
            self._ask(", ".join(raised), changes, talk)
        config.keep(self._home, changes)

    def _ask(self, what: str, changes: Mapping[str, Money | None], talk: Talk) -> None:
        typed = " ".join(f"{_typed(amount)}/{per}" for per, amount in changes.items())
        if not talk.can_ask:
            raise ConsentError(
                f"a notebook may lower a budget, and only a person may raise it: {what}; nobody can be asked here",
                hint=f"in a shell: gpuplug budget {typed}",
            )
        if not talk.ask(f"let this be spent without asking: {what}?"):
            raise ConsentError("the budgets are as they were", hint="%gpu budget")

    def terms(self, what: str, price: Money, terms: Terms) -> Terms:
        """Return `terms` with the hard end at which an instance at `price` per hour can have spent what is left.

        Raises:
            BudgetError: less is left than it can cost before it ends by itself.
        """
        seconds, limit = self._affordable(price, terms.hard, "")
        if limit is None:
            return terms
        least = terms.lease + LEASE_SLACK_S
        if seconds < least:
            raise self._too_little(what, price, least, limit)
        return Terms(terms.lease, min(terms.hard, int(seconds)))

    def check(self, lease: Lease) -> None:
        """Return when the budgets bear `lease` to its hard end; the ledger calls it while nobody else can write.

        Raises:
            BudgetError: another process has taken what was left.
        """
        if lease.simulated or not lease.price.micros:
            return
        seconds, limit = self._affordable(lease.price, lease.hard_s, lease.label)
        if limit is not None and seconds < lease.hard_s - LEASE_SLACK_S:
            raise BudgetError(
                f"another notebook has just taken from the budget of {limit} what {lease.gpu} would need",
                hint="run the cell again",
            )

    def check_longer(self, lease: Lease, seconds: float) -> None:
        """Return when the budgets bear `lease` for so many seconds beyond its hard end.

        Raises:
            BudgetError: one would be passed.
        """
        wanted = lease.hard_end + seconds - self._now()
        affordable, limit = self._affordable(lease.price, wanted, lease.label) if _counts(lease) else (wanted, None)
        if limit is not None and affordable < wanted - LEASE_SLACK_S:
            raise BudgetError(
                f"#{lease.instance_id} can run for {affordable / 60:.0f} min more within the budget of {limit}, not {wanted / 60:.0f} min",
                hint=f"a shorter time, or in a shell: gpuplug budget {_twice(limit)}",
            )

    def left(self, lease: Lease) -> tuple[float, Limit | None]:
        """Return how many seconds `lease` has until its hard end or until a budget is spent, and which one is.

        Raises:
            BudgetError: nothing is left.
        """
        now = self._now()
        until = min(lease.running_since or now, now) + lease.hard_s
        seconds, limit = self._affordable(lease.price, max(until - now, LEASE_SLACK_S), lease.label)
        if limit is not None and seconds < 1:
            raise self._spent(self._used(limit, now, lease.label) if limit.per != INSTANCE else self._of_one(limit))
        return seconds, limit

    def spent_for(self, lease: Lease) -> BudgetError | None:
        """Return what to say when a standing budget that binds `lease` is spent, by whichever instance; None before.

        Raises:
            UsageError, BudgetError: one cannot be read.
        """
        if not _counts(lease):
            return None
        now = self._now()
        for limit in self.standing().limits:
            alone = Used(limit, lease.created, now, lease.cost(now), ZERO)
            used = alone if limit.per == INSTANCE else self._used(limit, now)
            if used.spent >= limit.amount:
                return self._spent(used)
        return None

    def within(self, plan: Plan, live: Live, talk: Talk) -> Plan:
        """Return `plan` with no more budget than is left of the standing ones; the instance ends then too.

        Raises:
            BudgetError: nothing is left.
        """
        seconds, limit = self.shorten(live)
        left = live.lease.price.for_seconds(round(seconds, 3))
        if limit is None or left >= plan.options.budget:
            return plan
        talk.note(f"{left} of the budget of {limit} is left: that is this cell's budget")
        return replace(plan, options=replace(plan.options, budget=left))

    def shorten(self, live: Live) -> tuple[float, Limit | None]:
        """Bring the hard end of an instance forward to where a standing budget is spent; return what `left` does."""
        lease = self.ledger.lease(live.lease.label)
        if not _counts(lease):
            return 0.0, None
        seconds, limit = self.left(lease)
        if limit is not None:
            live.session.request("terms", {"hard_s": seconds})
            lived = self._now() - (lease.created if lease.begun is None else lease.begun)
            self.ledger.amend(lease.label, hard_s=min(lease.hard_s, int(lived + seconds)))
        return seconds, limit

    def _affordable(self, price: Money, wanted_s: float, label: str) -> tuple[float, Limit | None]:
        """Return after how many of `wanted_s` a limit is reached at `price`, and which; `label` is the lease that it is about."""
        found: tuple[float, Limit | None] = (wanted_s, None)
        if not price.micros:
            return found
        for limit in self.standing().limits:
            seconds = self._until_spent(limit, price, wanted_s, label)
            if seconds < found[0]:
                found = (seconds, limit)
        return found

    def _until_spent(self, limit: Limit, price: Money, wanted_s: float, label: str) -> float:
        at = now = self._now()
        if limit.per == INSTANCE:
            cost = self.ledger.lease(label).cost(now) if label else ZERO
            return max(0.0, (limit.amount - cost).micros * 3600 / price.micros)
        while at < now + wanted_s:
            used = self._used(limit, at, label)
            left = limit.amount - used.spent - used.promised
            seconds = max(0.0, left.micros * 3600 / price.micros)
            if at + seconds < used.until:
                return at - now + seconds
            at = used.until
        return wanted_s

    def _of_one(self, limit: Limit) -> Used:
        """Return what the dearest open instance has used of the limit of each."""
        now = self._now()
        costs = [(lease.cost(now), lease.created) for lease in self.ledger.open_leases() if _counts(lease)]
        cost, since = max(costs, default=(ZERO, now))
        return Used(limit, since, now, cost, ZERO)

    def _used(self, limit: Limit, at: float, label: str = "") -> Used:
        """Return what is used of `limit` in its period around `at`, now or later; the lease `label` is promised nothing."""
        now = self._now()
        since, until = PERIODS[limit.per](at)
        others = (lease for lease in self.ledger.open_leases() if lease.label != label and _counts(lease))
        promised = sum((self._promised(lease, max(at, now), until) for lease in others), ZERO)
        return Used(limit, since, until, self.ledger.spent(since), promised)

    def _promised(self, lease: Lease, since: float, until: float) -> Money:
        """Return what `lease` may still cost in that time if nobody is in touch with it any more."""
        now = self._now()
        if lease.state is State.STOPPED:
            return lease.rate.for_seconds(round(max(0.0, until - since)))
        running = min(lease.running_since or now, now)
        end = max(running + lease.hard_s, now + _UNPROVEN_S)
        return lease.price.for_seconds(round(max(0.0, min(end, until) - since)))

    def _too_little(self, what: str, price: Money, least_s: float, limit: Limit) -> BudgetError:
        new = Used(limit, 0.0, 0.0, ZERO, ZERO)
        used = new if limit.per == INSTANCE else self._used(limit, self._now())
        if used.spent >= limit.amount:
            return self._spent(used)
        left = max(ZERO, limit.amount - used.spent - used.promised)
        others = f", {used.promised} is promised to what runs" if used.promised.micros else ""
        return BudgetError(
            f"{what} at {price}/h can cost {price.for_seconds(least_s)} before it ends by itself ({least_s / 60:.0f} min), "
            f"and {left} is left of the budget of {limit} ({used.spent} is spent{others})",
            hint=f"--for 5m, a cheaper one, or in a shell: gpuplug budget {_twice(limit)}",
        )

    def _spent(self, used: Used) -> BudgetError:
        when = (
            "" if used.limit.per == INSTANCE else f"; the next {used.limit.per} begins at midnight {zone(self._now())}"
        )
        return BudgetError(
            f"{used.spent} of the standing budget of {used.limit} is spent ({used.limit.source}){when}",
            hint=f"in a shell: gpuplug budget {_twice(used.limit)}",
        )

    def _today(self) -> Money:
        return self.ledger.spent(PERIODS["day"](self._now())[0])

    def _now(self) -> float:
        return self.clock.now().timestamp()


def _counts(lease: Lease) -> bool:
    return not lease.simulated and lease.price.micros > 0


def _raises(own: Standing, per: str, amount: Money | None) -> bool:
    """Tell whether more may be spent, or with fewer questions, once `per` is limited to `amount`."""
    known = own.of(per)
    if known is None:
        return amount is not None and per != INSTANCE and not own.speaks
    return amount is None or amount > known.amount


def _text(per: str, amount: Money | None) -> str:
    return f"no limit for each {per}" if amount is None else str(Limit(amount, per, ""))


def _typed(amount: Money | None) -> str:
    return "off" if amount is None else amount.exact().rstrip("0").rstrip(".")


def _twice(limit: Limit) -> str:
    """Return double the limit as a user would type it."""
    return f"{_typed(limit.amount + limit.amount)}/{limit.per}"
