"""Who is in touch with an instance is written into the ledger, so that no other process takes it for left alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from gpuplug.engine.gauging import readings
from gpuplug.errors import LedgerError
from gpuplug.ledger import Passed
from gpuplug.streams.metering import ByteMeter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.ledger import Ledger
    from gpuplug.types import Clock

NOTED_S = 60.0  # a contact in the ledger is at most so much older than the real one
IN_TOUCH_S = 180.0  # who was heard of less long ago is in touch


class Contacts:
    """The contacts of one lease, and its bytes: noted once a minute, and when a cell begins or ends.

    Used by one thread at a time.
    """

    def __init__(self, ledger: Ledger, label: str, clock: Clock, meter: ByteMeter | None = None) -> None:
        self._ledger = ledger
        self._label = label
        self._clock = clock
        self._meter = meter or ByteMeter()
        self._noted: tuple[float, int] | None = None

    def waited(self) -> None:
        """Note that somebody waits for it to come up."""
        self._note(0)

    def beat(self, health: Mapping[str, Any]) -> None:
        """Note the answer to a heartbeat; raises nothing, because the next one comes soon."""
        busy = health.get("busy")
        waiting = health.get("unfetched", 0)
        if not all(isinstance(count, int) and 0 <= count < 1 << 30 for count in (busy, waiting)):
            busy, waiting = 1, 0
        # Results that nobody has are no reason to take an instance for left alone either.
        self._note(busy + waiting)
        self._gauge(health)

    def _gauge(self, health: Mapping[str, Any]) -> None:
        told = readings(health)
        if told is not None:
            age_s, gauges = told
            with contextlib.suppress(LedgerError):  # nothing but a display is older for it
                self._ledger.gauges.keep(self._label, self._clock.now().timestamp() - age_s, gauges)

    def _note(self, busy: int) -> None:
        now = self._clock.monotonic()
        if self._noted is not None and self._noted[1] == busy and now - self._noted[0] < NOTED_S:
            return
        try:
            with self._meter.noting() as passed:
                self._ledger.touch(self._label, busy, passed=Passed(*passed))
        except LedgerError:
            return  # the instance counts its own contacts; what needs the ledger will say what is wrong with it
        self._noted = now, busy
