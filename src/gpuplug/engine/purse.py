"""What a running cell spends: its time on the clock that never jumps, at the price that the ledger knows now, and bytes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gpuplug.engine.budgets import LEVELS
from gpuplug.errors import BudgetError, GpuplugError
from gpuplug.ledger import Passed
from gpuplug.types import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Limit
    from gpuplug.engine.budgets import Budgets
    from gpuplug.engine.linking import Live
    from gpuplug.types import Clock, Money

SWITCH_GRACE_S = 60.0  # the instance's own switch comes after this process has had its chance to bring results home
_LOOK_S = 5.0
_STANDING_S = 15.0  # how often it is looked whether others have spent what stands for all
_MOST_JUMP_S = 300.0


class Purse:
    """A cell's budget: time from now on, bytes since its way began; without one nothing is counted.

    `say` is told each warning once.
    """

    def __init__(
        self, live: Live, budgets: Budgets, clock: Clock, amount: Money | None, say: Callable[[str], None]
    ) -> None:
        self._live, self._budgets, self._clock, self._say = live, budgets, clock, say
        self.amount = amount
        self._price = live.lease.price
        self._byte_prices = budgets.byte_prices(live.lease)
        self._waited = 0.0  # in micro-dollars, as all here
        self._counted = self._looked = self._looked_at_standing = self._began = clock.monotonic()
        self._began_at = clock.now()
        self._standing: BudgetError | None = None
        self._limits: tuple[Limit, ...] | None = None
        self._levels = list(LEVELS)

    @property
    def spent(self) -> bool:
        """Whether nothing is left. Counts on, and every few seconds looks whether the price has changed."""
        if self.amount is None:
            return False
        now = self._clock.monotonic()
        self._waited += self._price.micros * (now - self._counted) / 3600
        self._counted = now
        if now - self._looked >= _LOOK_S:
            self._looked = now
            # What cannot be read now changes nothing: the price and the limits known so far hold on.
            with contextlib.suppress(GpuplugError):
                self._look(self.amount)
        return self._standing is not None or self._spent >= self.amount.micros

    @property
    def why(self) -> BudgetError:
        """What to say once nothing is left."""
        if self._standing is not None:
            return self._standing
        amount = self.amount or ZERO
        twice = (amount + amount).exact().rstrip("0").rstrip(".")
        return BudgetError(f"the cell has spent its budget of {amount}", hint=f"--budget {twice}")

    @property
    def _spent(self) -> float:
        return self._waited + self._byte_prices.cost(cell_bytes(self._live)).micros

    def _look(self, amount: Money) -> None:
        price = self._budgets.price_of(self._live.lease)
        if price != self._price and price.micros:
            self._say(
                f"#{self._live.lease.instance_id} now costs {price}/h, not {self._price}/h; the cell's budget stays {amount}"
            )
            self._price = price
            left_s = max(0.0, (amount.micros - self._spent) * 3600 / price.micros)
            self._live.session.request("terms", {"budget_s": left_s + SWITCH_GRACE_S})
        while self._levels and self._spent * 100 >= self._levels[0] * amount.micros:
            level = self._levels.pop(0)
            if not self._levels or self._spent * 100 < self._levels[0] * amount.micros:
                self._say(f"{level} % of this cell's budget of {amount} is spent")
        if self._counted - self._looked_at_standing >= _STANDING_S:
            self._looked_at_standing = self._counted
            self._look_at_standing()

    def _look_at_standing(self) -> None:
        """Warn of the budgets that stand for all instances, and see whether one is spent: others spend from it too.

        One that has changed meanwhile is the instance's own hard end too: this process may not live to see it spent.
        """
        for warning in self._budgets.warnings():
            self._say(warning)
        # They are counted by the wall clock. What one that has jumped says must end no cell: the hard end still does.
        passed_s = (self._clock.now() - self._began_at).total_seconds()
        if abs(passed_s - (self._counted - self._began)) > _MOST_JUMP_S:
            return
        self._standing = self._budgets.spent_for(self._budgets.ledger.lease(self._live.lease.label))
        limits = self._budgets.standing().limits
        if self._standing is None and limits != self._limits:
            self._budgets.shorten(self._live)
            self._limits = limits


def cell_bytes(live: Live) -> Passed:
    """Return the bytes that have passed since the way of the last cell began."""
    sent, fetched = live.meter.passed
    return Passed(sent - live.mark[0], fetched - live.mark[1])
