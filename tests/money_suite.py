"""What the money protocol and an adapter promise together, for every adapter.

It lives here and not in `gpuplug.testing`: the engine stands above that room, is one and ours, and a stranger's adapter
owes nothing that `ProviderSuite` does not ask. These promises show that what the suite asks is enough.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import pytest

from gpuplug.config import Options
from gpuplug.engine.renting import Renting, Wish
from gpuplug.errors import GpuplugError, ProviderError, UnknownOutcomeError
from gpuplug.ledger import Lease, Ledger, State
from gpuplug.testing import FakeClock, ProviderSuite
from gpuplug.testing.answers import LAUNCH_FAULTS, over_http
from gpuplug.testing.stage import IMAGE, until
from gpuplug.testing.wire import Asked, Deliver, Told, changed, lost_after

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpuplug.providers import Provider
    from gpuplug.testing.stage import Stage

WISH = Wish("nb", "", Options(image=IMAGE))


class Points:
    """Every place where Ctrl-C can strike: before and after each call of the adapter, and in each wait."""

    def __init__(self, strike_at: int = 0) -> None:
        self.passed = 0
        self._strike_at = strike_at

    def here(self) -> None:
        self.passed += 1
        if self.passed == self._strike_at:
            raise KeyboardInterrupt


class Interrupted(FakeClock):
    """A clock whose waits are points."""

    def __init__(self, points: Points) -> None:
        super().__init__()
        self._points = points

    def sleep(self, seconds: float) -> None:
        self._points.here()
        super().sleep(seconds)


class Between:
    """An adapter with a point before and after each call; the reply to a launch may be lost."""

    def __init__(self, provider: Provider, points: Points, *, loses: bool) -> None:
        self._provider = provider
        self._points = points
        self._loses = loses

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever an adapter has
        found = getattr(self._provider, name)
        return (lambda *args: self._call(name, *args)) if callable(found) else found

    def _call(self, name: str, *args: object) -> object:
        self._points.here()
        told = getattr(self._provider, name)(*args)
        self._points.here()
        if name == "launch" and self._loses:
            raise UnknownOutcomeError("the reply was lost")
        return told


class Books:
    """One ledger and the protocol over it."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.ledger = Ledger(folder, clock)
        self._keys, self._clock = folder / "keys", clock
        self.renting = Renting(self.ledger, self._keys, clock)

    def life(self, provider: Provider, stage: Stage) -> Lease:
        """Rent what is offered, and end it."""
        return self.end(provider, self.renting.rent(provider, stage.offer(), WISH))

    def end(self, provider: Provider, lease: Lease) -> Lease:
        return self.renting.destroy(provider, lease, lambda _: None)

    def recorded(self) -> set[str]:
        return {lease.label for lease in self.ledger.open_leases()}

    def settle(self, stage: Stage) -> None:
        """Do as the next process would: end everything that is on record, and see that nothing is left."""
        assert {stage.market.existing()[one] for one in stage.ours()} <= self.recorded()
        self.renting = Renting(self.ledger, self._keys, self._clock)
        for lease in self.ledger.open_leases():
            self.end(stage.provider, lease)
        until(lambda: not stage.ours(), "end of all")
        assert self.recorded() == set()


@contextlib.contextmanager
def books(folder: Path, clock: FakeClock) -> Iterator[Books]:
    made = Books(folder, clock)
    try:
        yield made
    finally:
        made.ledger.close()


class MoneySuite(ProviderSuite):
    """Promises of the money protocol over one adapter."""

    @pytest.mark.parametrize("loses", [False, True], ids=["answered", "lost"])
    def test_an_interrupt_at_any_point_leaves_nothing_that_is_not_on_record(
        self,
        stage: Stage,
        tmp_path: Path,
        loses: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        counted = Points()
        with books(tmp_path / "whole", Interrupted(counted)) as whole:
            provider = cast("Provider", Between(stage.provider, counted, loses=loses))
            assert whole.life(provider, stage).state is State.GONE
        for number in range(1, counted.passed + 1):
            points = Points(number)
            provider = cast("Provider", Between(stage.provider, points, loses=loses))
            with books(tmp_path / str(number), Interrupted(points)) as cut:
                with pytest.raises(KeyboardInterrupt):
                    cut.life(provider, stage)
                cut.settle(stage)

    @over_http
    def test_a_lost_reply_to_a_rent_is_bound_by_its_label(self, stage: Stage, tmp_path: Path) -> None:
        with books(tmp_path, stage.clock) as made:
            offer = stage.offer()
            with stage.wire.striking(lost_after):
                lease = made.renting.rent(stage.provider, offer, WISH)
            assert lease.state is State.BOUND
            assert stage.market.existing() == {lease.instance_id: lease.label}
            assert made.end(stage.provider, lease).state is State.GONE

    @over_http
    def test_whatever_a_rent_is_answered_nothing_bills_in_the_end(self, stage: Stage, tmp_path: Path) -> None:
        for number, fault in enumerate(LAUNCH_FAULTS.values()):
            offer = stage.offer()
            with books(tmp_path / str(number), stage.clock) as made:
                with stage.wire.striking(fault), contextlib.suppress(ProviderError):
                    made.renting.rent(stage.provider, offer, WISH)
                stage.pass_time(stage.provider.traits.list_lag_s)
                made.settle(stage)

    @over_http
    def test_gone_is_said_only_when_it_is_true(self, stage: Stage, tmp_path: Path) -> None:
        with books(tmp_path, stage.clock) as made:
            accepted: list[Told] = []

            def keep(told: Told) -> Told:
                accepted.append(told)
                return told

            lease = made.renting.rent(stage.provider, stage.offer(), WISH)
            with stage.wire.striking(changed(keep)):
                made.end(stage.provider, lease)
            lease = made.renting.rent(stage.provider, stage.offer(), WISH)

            def lies(asked: Asked, deliver: Deliver) -> Told:
                return accepted[0] if asked.method == "DELETE" else deliver()

            with stage.wire.striking(lies, times=None), contextlib.suppress(GpuplugError):
                assert made.end(stage.provider, lease).state is State.DESTROYING
            assert stage.ours() == [lease.instance_id]
            assert made.end(stage.provider, lease).state is State.GONE
            assert stage.ours() == []
