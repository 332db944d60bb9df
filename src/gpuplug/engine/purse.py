"""What a running cell spends: its time on the clock that never jumps, at the price that the ledger knows now, and bytes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gpuplug.engine.budgets import LEVELS
from gpuplug.errors import GpuplugError
from gpuplug.ledger import Passed

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.engine.budgets import Budgets
    from gpuplug.engine.linking import Live
    from gpuplug.types import Clock, Money

SWITCH_GRACE_S = 60.0  # the instance's own switch comes after this process has had its chance to bring results home
_LOOK_S = 5.0


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
        self._counted = self._looked = clock.monotonic()
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
        return self._spent >= self.amount.micros

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
        for warning in self._budgets.warnings():
            self._say(warning)


def cell_bytes(live: Live) -> Passed:
    """Return the bytes that have passed since the way of the last cell began."""
    sent, fetched = live.meter.passed
    return Passed(sent - live.mark[0], fetched - live.mark[1])
