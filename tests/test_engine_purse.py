"""What is said and done while a cell spends: each warning once, also when only the client can notice."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, cast

import pytest
from engine_kit import Quiet
from test_engine_budgets import PRICE, allow, running

from gpuplug.engine.budgets import Budgets
from gpuplug.engine.linking import Live
from gpuplug.engine.purse import Purse
from gpuplug.ledger import BytePrices, Ledger, State
from gpuplug.testing import FakeClock
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Asked:
    """The instance's end of the session: it notes what it is asked."""

    def __init__(self) -> None:
        self.terms: list[dict[str, float]] = []

    def request(self, _what: str, header: dict[str, float]) -> None:
        self.terms.append(header)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.delenv("GPUPLUG_BUDGET", raising=False)
    made = Ledger(tmp_path, clock)
    yield made
    made.close()


@pytest.fixture
def budgets(tmp_path: Path, clock: FakeClock, ledger: Ledger) -> Budgets:
    return Budgets(ledger, clock, tmp_path, tmp_path)


def live(ledger: Ledger, clock: FakeClock, label: str = "gp-1") -> tuple[Live, Asked]:
    asked = Asked()
    return Live(running(ledger, clock, label), cast("Any", None), cast("Any", asked), cast("Any", None), {}), asked


def test_a_cell_is_warned_at_50_80_and_95_per_cent_once_each_and_ends_at_100(
    ledger: Ledger, budgets: Budgets, clock: FakeClock
) -> None:
    talk = Quiet()
    purse = Purse(live(ledger, clock)[0], budgets, clock, PRICE, talk.note)  # an hour of it
    ended = []
    for _ in range(100):
        clock.advance(36.0)
        ended.append(purse.spent)
    assert ended == [False] * 99 + [True]
    assert talk.notes == [f"{level} % of this cell's budget of $0.36 is spent" for level in (50, 80, 95)]


def test_a_cell_that_nobody_looked_at_for_long_is_told_the_last_warning_only(
    ledger: Ledger, budgets: Budgets, clock: FakeClock
) -> None:
    talk = Quiet()
    purse = Purse(live(ledger, clock)[0], budgets, clock, PRICE, talk.note)
    clock.advance(0.96 * 3600)
    assert not purse.spent
    assert talk.notes == ["95 % of this cell's budget of $0.36 is spent"]


def test_a_price_that_rises_while_a_cell_runs_ends_it_sooner_and_the_switch_is_told(
    ledger: Ledger, budgets: Budgets, clock: FakeClock
) -> None:
    talk = Quiet()
    there, asked = live(ledger, clock)
    purse = Purse(there, budgets, clock, PRICE, talk.note)
    clock.advance(900.0)
    assert not purse.spent
    ledger.amend("gp-1", price=PRICE + PRICE)
    clock.advance(10.0)
    assert not purse.spent
    assert asked.terms == [{"budget_s": pytest.approx((3600 - 910) / 2 + 60)}]
    assert "now costs $0.72/h, not $0.36/h" in talk.notes[0]
    clock.advance(1340.0)
    assert not purse.spent
    clock.advance(10.0)
    assert purse.spent


@pytest.mark.parametrize("hours", [-10, 10, 24 * 365])
def test_a_wall_clock_that_jumps_neither_ends_a_cell_nor_lets_it_run_on(
    ledger: Ledger, budgets: Budgets, clock: FakeClock, hours: int
) -> None:
    purse = Purse(live(ledger, clock)[0], budgets, clock, PRICE, lambda _: None)
    clock.set_wall(clock.now() + dt.timedelta(hours=hours))
    clock.advance(3599.0)
    assert not purse.spent
    clock.advance(2.0)
    assert purse.spent


def test_a_cell_goes_on_when_budgets_or_ledger_cannot_be_read_meanwhile(
    ledger: Ledger, budgets: Budgets, clock: FakeClock, tmp_path: Path
) -> None:
    purse = Purse(live(ledger, clock)[0], budgets, clock, PRICE, lambda _: None)
    (tmp_path / "budgets.json").write_text("{")
    clock.advance(1800.0)
    assert not purse.spent
    clock.advance(1800.0)
    assert purse.spent


def test_a_standing_budget_is_warned_of_once_whichever_process_notices(
    ledger: Ledger, budgets: Budgets, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "0.36/day", "3.60/month", "0.72/instance")
    other = Budgets(Ledger(tmp_path, clock), clock, tmp_path, tmp_path)
    running(ledger, clock, "gp-1")
    said: list[list[str]] = []
    for _ in range(10):
        clock.advance(360.0)
        said += [budgets.warnings(), other.warnings()]
    flat = [warning for warnings in said for warning in warnings]
    assert flat == [
        "50 % of the budget of $0.36 a day is spent: $0.18",
        "80 % of the budget of $0.36 a day is spent: $0.288",
        "100 % of the budget of $0.36 a day is spent: $0.36",
        "50 % of the budget of $0.72 an instance is spent: $0.36",
    ]
    ledger.move("gp-1", State.GONE, ended=clock.now().timestamp())
    clock.advance(86_400.0)
    running(ledger, clock, "gp-2")
    clock.advance(1800.0)
    assert budgets.warnings() == ["50 % of the budget of $0.36 a day is spent: $0.18"]


def test_nothing_is_counted_where_nothing_costs(ledger: Ledger, budgets: Budgets, clock: FakeClock) -> None:
    purse = Purse(live(ledger, clock)[0], budgets, clock, None, lambda _: None)
    clock.advance(1e6)
    assert not purse.spent


def test_the_last_dollar_is_spent_and_not_a_second_more_than_a_tick(
    ledger: Ledger, budgets: Budgets, clock: FakeClock
) -> None:
    purse = Purse(live(ledger, clock)[0], budgets, clock, Money(100), lambda _: None)
    clock.advance(0.9)
    assert not purse.spent
    clock.advance(0.2)
    assert purse.spent


def test_the_bytes_of_a_cell_are_spent_from_its_budget(ledger: Ledger, budgets: Budgets, clock: FakeClock) -> None:
    there, _ = live(ledger, clock)
    ledger.traffic.agree("gp-1", BytePrices(Money(100_000)))
    there.meter.count(sent=10**9)
    there.mark = there.meter.passed  # what passed before is not this cell's
    purse = Purse(there, budgets, clock, PRICE, lambda _: None)
    clock.advance(1800.0)  # half of it
    there.meter.count(sent=10**9, fetched=10**12)
    assert not purse.spent
    there.meter.count(sent=10**9)
    assert purse.spent


def test_a_standing_budget_that_another_instance_spends_ends_the_cell_that_runs(
    ledger: Ledger, budgets: Budgets, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "0.36/day")
    talk = Quiet()
    there = live(ledger, clock)[0]
    running(ledger, clock, "gp-2")
    purse = Purse(there, budgets, clock, Money(10_000_000), talk.note)
    ended = []
    for _ in range(16):
        clock.advance(120.0)
        ended.append(purse.spent)
    assert ended == [False] * 14 + [True] * 2  # both instances together spend it in half an hour
    assert "of the standing budget of $0.36 a day is spent" in purse.why.message
    assert [note.split(" %")[0] for note in talk.notes] == ["50", "80", "100"]


def test_a_budget_that_is_lowered_under_a_running_cell_ends_it(
    ledger: Ledger, budgets: Budgets, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "5/day")
    purse = Purse(live(ledger, clock)[0], budgets, clock, Money(10_000_000), lambda _: None)
    clock.advance(1800.0)
    assert not purse.spent
    allow(tmp_path, "0.10/day")
    clock.advance(16.0)
    assert purse.spent


def test_a_budget_that_is_lowered_under_a_running_cell_brings_the_instances_own_hard_end_forward(
    ledger: Ledger, budgets: Budgets, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "5/day")
    there, asked = live(ledger, clock)
    purse = Purse(there, budgets, clock, Money(10_000_000), lambda _: None)
    for _ in range(3):
        clock.advance(20.0)
        assert not purse.spent
    assert asked.terms == []
    allow(tmp_path, "0.36/day")  # an hour of it, and a minute has passed
    clock.advance(20.0)
    assert not purse.spent
    assert asked.terms == [{"hard_s": pytest.approx(3_600 - 80, abs=1)}]
    assert ledger.lease(there.lease.label).hard_s == pytest.approx(3_600, abs=1)


@pytest.mark.parametrize("hours", [10, 24 * 365])
def test_a_standing_budget_that_only_a_clock_that_jumped_calls_spent_ends_no_cell(
    ledger: Ledger, budgets: Budgets, clock: FakeClock, tmp_path: Path, hours: int
) -> None:
    allow(tmp_path, "0.36/month")
    purse = Purse(live(ledger, clock)[0], budgets, clock, Money(10_000_000), lambda _: None)
    clock.set_wall(clock.now() + dt.timedelta(hours=hours))
    clock.advance(60.0)
    assert not purse.spent
