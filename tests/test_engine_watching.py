"""The look beside the cells: one thread while anything bills, none after, and no word from it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import pytest
from cell_kit import notebook
from frontends_kit import kernel
from sandbox_kit import market, wait_until
from test_ledger import lease

from gpuplug.engine.reconciling import Finding, Reaper
from gpuplug.engine.watching import Watch
from gpuplug.errors import LedgerError
from gpuplug.ledger import Ledger, State
from gpuplug.testing import FakeClock
from gpuplug.types import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpuplug.types import Clock


class Looks:
    """Counts looks in place of asking providers; what happens in one is set by the test."""

    def __init__(self) -> None:
        self.looks = 0
        self.made = 0
        self.closed = 0
        self.billing = True
        self.failure: LedgerError | None = None
        self.asleep = threading.Event()
        self.sleeps = False
        self._clock: Clock = SystemClock()

    @property
    def reconciler(self) -> Looks:
        return self

    def __call__(self, _: Path, clock: Clock) -> Reaper:
        self.made += 1
        self._clock = clock
        return cast("Reaper", self)

    def anything(self) -> bool:
        if self.failure is not None:
            self.looks += 1
            raise self.failure
        return self.billing

    def open_questions(self) -> bool:
        return False

    def take_turn(self, _holder: str, _round_s: float) -> list[Finding]:
        self.looks += 1
        if self.sleeps:
            self.asleep.set()
            self._clock.sleep(3600)
        return []

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def watch(tmp_path: Path, looks: Looks) -> Iterator[Watch]:
    made = Watch(tmp_path, looks, round_s=0.005)
    yield made
    made.end()


def test_however_often_it_is_begun_there_is_one_thread(watch: Watch, looks: Looks) -> None:
    before = threading.active_count()
    for _ in range(20):
        watch.begin()
    wait_until(lambda: looks.looks > 3)
    assert threading.active_count() == before + 1
    assert looks.made == 1


def test_it_ends_when_nothing_bills_any_more_and_begins_again_when_something_does(watch: Watch, looks: Looks) -> None:
    watch.begin()
    wait_until(lambda: looks.looks > 0)
    looks.billing = False
    wait_until(lambda: not watch.running)
    assert looks.closed == 1
    looks.billing = True
    watch.begin()
    wait_until(lambda: looks.made == 2)


def test_a_ledger_that_fails_ends_it_not_and_prints_nothing(
    watch: Watch, looks: Looks, capfd: pytest.CaptureFixture[str]
) -> None:
    looks.failure = LedgerError("it is locked")
    watch.begin()
    wait_until(lambda: looks.looks > 3)
    looks.failure = None
    after = looks.looks + 3
    wait_until(lambda: looks.looks > after)
    assert capfd.readouterr() == ("", "")


def test_its_end_wakes_it_from_a_wait_of_an_hour(watch: Watch, looks: Looks) -> None:
    looks.sleeps = True
    watch.begin()
    assert looks.asleep.wait(30)
    watch.end()
    wait_until(lambda: not watch.running)
    assert looks.closed == 1
    watch.begin()
    assert not watch.running, "what was ended stays ended"


def test_of_two_processes_one_looks_in_a_minute(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = Ledger(tmp_path, clock)
    ledger.intend(lease(provider="nowhere", state=State.READY, created=clock.now().timestamp()))
    first, second = Reaper(tmp_path, clock), Reaper(tmp_path, clock)
    taken = []
    for _ in range(4):
        taken.append((len(first.take_turn("a", 60)), len(second.take_turn("b", 60))))
        clock.advance(60)
    assert taken == [(1, 0)] * 4
    first.close()
    assert len(second.take_turn("b", 60)) == 1
    second.close()
    ledger.close()


def test_loading_the_extension_ends_what_an_earlier_kernel_could_not_end(tmp_path: Path) -> None:
    with market(seed=7) as place, notebook(tmp_path, environ=place.env) as earlier:
        earlier.run("pass", "-p vast -g RTX_4090 --max-price 0.60")
        (rented,) = earlier.engine.ledger.open_leases()
        earlier.engine.ledger.move(rented.label, State.DESTROYING)
        earlier.engine.close()
        assert place.meter()["billing_now"] == 1
        with kernel(tmp_path, GPUPLUG_HOME=str(tmp_path / "home"), **place.env) as page:
            wait_until(lambda: place.meter()["billing_now"] == 0)
            assert page.run("1 + 1").result == "2"
