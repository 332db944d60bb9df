"""A ledger, a cloud and a process that looks at what nobody may be using."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

from engine_kit import OFFER, Cloud
from test_engine_renting import WISH

from gpuplug.engine.reconciling import Finding, Found, Reconciler
from gpuplug.engine.renting import Renting
from gpuplug.errors import UnknownNameError
from gpuplug.ledger import Lease, Ledger, State
from gpuplug.testing import FakeClock
from gpuplug.types import Account

if TYPE_CHECKING:
    from pathlib import Path

    from gpuplug.providers import Provider

HOUR = 3600.0
DAY = 24 * HOUR


class TellingCloud(Cloud):
    """A cloud that tells the time."""

    def account(self) -> Account:
        true = FakeClock().now() + dt.timedelta(seconds=self.clock.monotonic())
        return Account(told=true)


class Stand:
    """A ledger, one or two clouds, and a process that looks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.ledger = Ledger(folder, self.clock)
        self.renting = Renting(self.ledger, folder / "keys", self.clock)
        self.cloud: Cloud = TellingCloud(self.clock)
        self.cloud.traits = replace(self.cloud.traits, account=True)
        self.said: list[str] = []
        self.reconciler = self.another()

    def another(self) -> Reconciler:
        """Return the reconciler of another process."""
        renting = Renting(self.ledger, self.folder / "keys", self.clock)
        return Reconciler(self.ledger, renting, self.provider, self.clock)

    def provider(self, name: str) -> Provider:
        if name != self.cloud.name:
            raise UnknownNameError(f"no platform {name!r}")
        return self.cloud

    def ready(self) -> Lease:
        """Rent an instance and reach it."""
        lease = self.renting.rent(self.cloud, OFFER, WISH)
        self.ledger.touch(lease.label, 0)
        return self.ledger.move(lease.label, State.READY, begun=self.clock.now().timestamp())

    def look(self, after: float = 0.0) -> list[Finding]:
        self.clock.advance(after)
        return self.reconciler.look(["cloud"])

    def found(self, after: float = 0.0) -> list[Found]:
        return [finding.found for finding in self.look(after)]
