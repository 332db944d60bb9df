"""Sandbox time: one monotonic clock that may run faster than the real one and can be moved forward."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NS = 1_000_000_000


class ScaledClock:
    """Seconds since the market opened, `speed` times as fast as `source`.

    Args:
        speed: sandbox seconds per real second, above 0.
        source: monotonic seconds; injected by tests.
        epoch: Unix time at which the market opens.
    """

    def __init__(
        self,
        speed: float = 1.0,
        source: Callable[[], float] = time.monotonic,
        epoch: float | None = None,
    ) -> None:
        if speed <= 0:
            msg = f"speed must be above 0, not {speed}"
            raise ValueError(msg)
        self.speed = speed
        self._source = source
        self._zero = source()
        self.epoch = time.time() if epoch is None else epoch
        self._jumped = 0.0
        self._jump = asyncio.Event()

    def now(self) -> float:
        """Return sandbox seconds since the market opened."""
        return (self._source() - self._zero) * self.speed + self._jumped

    def now_ns(self) -> int:
        """Return `now` in whole nanoseconds, for exact billing."""
        return int(self.now() * NS)

    def wall(self) -> float:
        """Return the Unix time that the market believes it is."""
        return self.epoch + self.now()

    def rewind(self) -> None:
        """Take all jumps back; only for a market in which nothing is under way."""
        self._jumped = 0.0

    def advance(self, seconds: float) -> None:
        """Jump forward; whoever waits for a moment that is now past wakes up."""
        self._jumped += seconds
        self._jump.set()
        self._jump = asyncio.Event()

    async def until(self, moment: float) -> None:
        """Return once `now` has reached `moment`."""
        while (left := moment - self.now()) > 0:
            jump = self._jump
            try:
                await asyncio.wait_for(jump.wait(), left / self.speed)
            except asyncio.TimeoutError:
                continue
