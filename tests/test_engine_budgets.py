"""What the standing budgets allow: the worst case of each rent, two processes on one ledger, and who may raise one."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from engine_kit import OFFER, Quiet
from test_engine_consent import PaidCloud
from test_ledger import lease as a_lease

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.engine.budgets import Budgets
from gpuplug.engine.renting import Renting, Wish
from gpuplug.errors import BudgetError, ConsentError
from gpuplug.ledger import PERIODS, Lease, Ledger, Rate, State
from gpuplug.testing import FakeClock
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRICE = OFFER.price  # $0.36 an hour, $0.01 in 100 s
TERMS = config.Terms(900, 14_400)
HOUR = 3600.0


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


def allow(home: Path, *words: str) -> None:
    config.keep(home, config.wanted(words))


def running(ledger: Ledger, clock: FakeClock, label: str, hard_s: int = 14_400, **changes: object) -> Lease:
    """Write an instance at `PRICE` that has just been seen to run."""
    now = clock.now().timestamp()
    ready = {"state": State.READY, "created": now, "hard_s": hard_s, "instance_id": label, "rates": (Rate(now, PRICE),)}
    made = a_lease(label, **{**ready, **changes})
    ledger.intend(made)
    return made


def test_without_a_budget_the_terms_are_those_that_were_typed(budgets: Budgets) -> None:
    assert budgets.terms("GPU", PRICE, TERMS) == TERMS


def test_the_hard_end_is_where_the_budget_is_spent(budgets: Budgets, tmp_path: Path) -> None:
    allow(tmp_path, "0.72/instance")
    assert budgets.terms("GPU", PRICE, TERMS) == config.Terms(900, 7200)
    allow(tmp_path, "0.36/day")
    assert budgets.terms("GPU", PRICE, TERMS) == config.Terms(900, 3600)


@pytest.mark.parametrize("budget", ["0.095/day", "0.095/month", "0.095/instance"])
def test_what_could_pass_a_budget_before_it_ends_by_itself_is_not_rented(
    budgets: Budgets, tmp_path: Path, budget: str
) -> None:
    allow(tmp_path, budget)
    with pytest.raises(BudgetError, match=r"can cost \$0.096 before it ends by itself \(16 min\)") as caught:
        budgets.terms("GPU", PRICE, TERMS)
    assert f"gpuplug budget 0.19/{budget.partition('/')[2]}" in caught.value.hint
    allow(tmp_path, budget.replace("0.095", "0.096"))
    assert budgets.terms("GPU", PRICE, TERMS).hard == 960


def test_a_month_is_a_limit_over_its_days(budgets: Budgets, ledger: Ledger, clock: FakeClock, tmp_path: Path) -> None:
    allow(tmp_path, "1/month")
    first = running(ledger, clock, "gp-1")
    clock.advance(2 * HOUR)
    ledger.move(first.label, State.GONE, ended=clock.now().timestamp())
    clock.advance(24 * HOUR)
    assert budgets.terms("GPU", PRICE, TERMS).hard == 2800  # $0.28 is left
    assert [each.percent for each in budgets.used()] == [72]


def test_what_runs_is_promised_its_cost_up_to_its_hard_end(
    budgets: Budgets, ledger: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "2/day")
    running(ledger, clock, "gp-1")
    (used,) = budgets.used()
    assert (used.spent, used.promised) == (Money(0), Money.dollars("1.44"))
    assert budgets.terms("GPU", PRICE, TERMS).hard == 5600  # $0.56
    clock.advance(HOUR)
    assert budgets.terms("GPU", PRICE, TERMS).hard == 5600  # spent and promised are as much as before
    ledger.move("gp-1", State.GONE, ended=clock.now().timestamp())
    assert budgets.terms("GPU", PRICE, TERMS).hard == 14_400


def test_an_instance_that_lives_over_midnight_gets_the_next_days_budget(
    budgets: Budgets, ledger: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "0.40/day")
    _, midnight = PERIODS["day"](clock.now().timestamp())
    clock.advance(midnight - clock.now().timestamp() - HOUR)
    assert budgets.terms("GPU", PRICE, TERMS).hard == 3600 + 4000
    running(ledger, clock, "gp-1", hard_s=3600)
    with pytest.raises(BudgetError):
        budgets.terms("GPU", PRICE, TERMS)
    clock.advance(HOUR)
    ledger.move("gp-1", State.GONE, ended=clock.now().timestamp())
    assert budgets.terms("GPU", PRICE, TERMS).hard == 4000


def test_simulated_and_free_instances_use_no_budget(
    budgets: Budgets, ledger: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "2/day")
    running(ledger, clock, "gp-1", simulated=True)
    running(ledger, clock, "gp-2", price=Money(0), stopped_price=Money(0), rates=())
    clock.advance(HOUR)
    (used,) = budgets.used()
    assert (used.spent, used.promised) == (Money(0), Money(0))


def test_a_clock_that_is_set_back_gives_no_money_back(
    budgets: Budgets, ledger: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "0.40/day")
    first = running(ledger, clock, "gp-1")
    clock.advance(HOUR)
    ledger.move(first.label, State.GONE, ended=clock.now().timestamp())
    for hours in (10, 24 * 365):
        clock.set_wall(FakeClock().now() - dt.timedelta(hours=hours))
        with pytest.raises(BudgetError):
            budgets.terms("GPU", PRICE, TERMS)


def test_a_clock_that_is_set_back_while_an_instance_runs_lets_nobody_rent_beyond_the_budget(
    budgets: Budgets, ledger: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "1.50/day")
    running(ledger, clock, "gp-1")
    clock.set_wall(clock.now() - dt.timedelta(hours=10))
    with pytest.raises(BudgetError):
        budgets.terms("GPU", PRICE, TERMS)


def test_what_is_open_beyond_its_hard_end_is_still_taken_as_billing(
    budgets: Budgets, ledger: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "1000/day")
    running(ledger, clock, "gp-1")
    clock.set_wall(clock.now() + dt.timedelta(days=365))
    (used,) = budgets.used()
    assert used.promised == PRICE.for_seconds(960)


def test_of_two_processes_that_rent_at_once_only_one_gets_what_is_left(
    ledger: Ledger, budgets: Budgets, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "1.44/day")
    cloud = PaidCloud(clock)
    options = config.parse("", config.CELL, {})
    terms = budgets.terms("GPU", PRICE, options.terms)
    other = Ledger(tmp_path, clock)
    theirs = Budgets(other, clock, tmp_path, tmp_path)
    agreed = replace(options, terms=theirs.terms("GPU", PRICE, options.terms))
    renting = Renting(ledger, tmp_path / "keys", clock)
    renting.rent(cloud, OFFER, Wish("a", "", replace(options, terms=terms), budgets.check))
    with pytest.raises(BudgetError, match="another notebook has just taken"):
        Renting(other, tmp_path / "keys", clock).rent(cloud, OFFER, Wish("b", "", agreed, theirs.check))
    other.close()
    assert len(cloud.made) == 1
    assert len(ledger.leases()) == 1


def test_an_unreadable_budget_file_refuses_to_rent_and_what_runs_can_still_be_ended(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAST_API_KEY", "made-up")
    monkeypatch.delenv("GPUPLUG_BUDGET", raising=False)
    (tmp_path / "budgets.json").write_text("{")
    cloud = PaidCloud(clock)
    engine = Engine("nb", tmp_path, clock, home=tmp_path)
    engine.use(cloud)
    try:
        with pytest.raises(BudgetError, match="nothing is rented"):
            engine.up(config.parse("-p vast", config.CELL, {}), Quiet(answer=True))
        assert cloud.made == []
        assert engine.down(config.parse("--all", "down", {}), lambda _: None) == []
        assert "cannot be read" in engine.budgets.line()
    finally:
        engine.close()


def test_an_instance_may_use_what_others_leave(
    budgets: Budgets, ledger: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    mine = running(ledger, clock, "gp-1")
    seconds, limit = budgets.left(mine)
    assert (seconds, limit) == (14_400, None)
    allow(tmp_path, "1/day")
    running(ledger, clock, "gp-2", hard_s=3600)
    seconds, limit = budgets.left(mine)
    assert limit is not None
    assert round(seconds) == 6400  # $1.00 less $0.36
    clock.advance(2 * HOUR)
    with pytest.raises(BudgetError, match=r"\$1.44 of the standing budget of \$1.00 a day is spent"):
        budgets.left(mine)


def test_a_hard_end_is_put_off_as_far_as_the_budgets_go(
    budgets: Budgets, ledger: Ledger, clock: FakeClock, tmp_path: Path
) -> None:
    allow(tmp_path, "2/day")
    mine = running(ledger, clock, "gp-1")  # four hours, $1.44
    clock.advance(3 * HOUR)
    budgets.check_longer(mine, HOUR)
    with pytest.raises(BudgetError, match=r"153 min more within the budget of \$2.00 a day, not 180 min"):
        budgets.check_longer(mine, 2 * HOUR)
    budgets.check_longer(replace(mine, simulated=True), 20 * HOUR)


def test_lowering_needs_nobody_and_raising_needs_a_person(budgets: Budgets, tmp_path: Path) -> None:
    nobody = Quiet()
    allow(tmp_path, "5/day")
    for words in (["4/day"], ["9/month"], ["2/instance"], ["1/instance", "3/day"]):
        budgets.change(config.wanted(words), nobody)
    for words in (["4/day"], ["10/month"], ["2/instance"], ["off/day"], ["off/instance"], ["1/month", "4/day"]):
        with pytest.raises(ConsentError, match="only a person may raise it") as caught:
            budgets.change(config.wanted(words), nobody)
        assert caught.value.hint == f"in a shell: gpuplug budget {' '.join(words)}"
    assert [str(limit) for limit in budgets.standing().limits] == ["$3.00 a day", "$9.00 a month", "$1.00 an instance"]


def test_a_first_budget_lets_spend_unasked_and_so_needs_a_person(budgets: Budgets) -> None:
    with pytest.raises(ConsentError, match=r"\$5.00 a day \(now none\)"):
        budgets.change(config.wanted(["5/day"]), Quiet())
    with pytest.raises(ConsentError, match="as they were"):
        budgets.change(config.wanted(["5/day"]), Quiet(answer=False))
    assert budgets.standing().limits == ()
    budgets.change(config.wanted(["3/instance"]), Quiet())
    talk = Quiet(answer=True)
    budgets.change(config.wanted(["5/day"]), talk)
    assert talk.questions == ["let this be spent without asking: $5.00 a day (now none)?"]
    assert budgets.standing().speaks


def test_in_a_shell_nobody_is_asked(budgets: Budgets) -> None:
    budgets.change(config.wanted(["5/day"]), None)
    budgets.change(config.wanted(["off/day"]), None)
    assert budgets.standing().limits == ()
