"""What rests with results that nobody has fetched: within the budget of their cell, and no longer."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from engine_kit import OFFER
from reconciling_kit import DAY, HOUR, Stand

from gpuplug.engine.pausing import Pausing
from gpuplug.engine.reconciling import Found
from gpuplug.engine.resting import losses
from gpuplug.ledger import Allowance, Lease, State
from gpuplug.testing import FakeClock
from gpuplug.types import InstanceState, Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.ledger.close()


def resting(stand: Stand, budget: int | None = 540_000) -> Lease:
    """Let the switch put an instance to rest with results; what it has cost by then is 0.18, and its rest 0.0036 an hour."""
    lease = stand.ready()
    if budget is not None:
        stand.ledger.waiting.expect("cell", lease.label, Allowance(lease.cost(0), Money(budget)))
    stand.ledger.charge(lease.label, OFFER.price)
    stand.clock.advance(HOUR / 2)
    stand.cloud.change(state=InstanceState.STOPPED, price=OFFER.stopped_price)
    assert stand.found() == [Found.ASKED]
    return lease


def test_a_rest_whose_budget_is_not_known_is_asked_about_and_never_ended(stand: Stand) -> None:
    resting(stand, budget=None)
    for _ in range(5):
        (finding,) = stand.look(30 * DAY)
        assert finding.found is Found.ASKED
        assert finding.why == "results may wait on it, and its disk bills $0.0864 a day: %gpu start 1 fetches them"
    assert stand.cloud.alive == ["1"]


def test_what_the_switch_has_put_to_rest_is_asked_about_with_the_date_on_which_its_budget_is_spent(
    stand: Stand,
) -> None:
    resting(stand)
    (finding,) = stand.look(HOUR)
    assert finding.found is Found.ASKED
    ends = (FakeClock().now() + dt.timedelta(hours=100.5)).strftime("%Y-%m-%d %H:%M UTC")
    assert finding.why == (
        "results of nb wait on it, and its disk bills $0.0864 a day: %gpu start 1 fetches them; "
        f"else it is ended at {ends}, when their budget of $0.54 is spent, and they are lost; "
        "%gpu stop 1 keeps it beyond that"
    )
    assert stand.cloud.alive == ["1"]


@pytest.mark.parametrize(("hours", "level"), [(69, ""), (71, "80 %"), (91, "80 %"), (93, "95 %"), (99, "95 %")])
def test_a_rest_warns_when_little_is_left_of_its_budget(stand: Stand, hours: float, level: str) -> None:
    resting(stand)
    (finding,) = stand.look(hours * HOUR)
    assert finding.found is Found.ASKED
    assert finding.why.partition(" of the budget")[0] == level if level else finding.why.startswith("results of nb")
    assert stand.cloud.alive == ["1"]


def test_a_rest_whose_budget_is_spent_is_ended_by_the_second_look_and_what_is_lost_is_told_loudly(stand: Stand) -> None:
    lease = resting(stand)
    (alone,) = stand.look(101 * HOUR)
    assert (alone.found, stand.cloud.alive) == (Found.ALONE, ["1"])
    (ending,) = stand.look(80)
    assert (ending.found, stand.cloud.alive) == (Found.ENDING, [])
    assert ending.why.startswith("RESULTS LOST: nobody fetched those of nb within the budget of their cell, $0.54")
    (told,) = losses(stand.ledger, stand.clock.now().timestamp())
    assert "NOT PROVEN" in told
    assert stand.found(60) == [Found.GONE]
    (told,) = losses(stand.ledger, stand.clock.now().timestamp())
    cost = stand.ledger.lease(lease.label).cost(stand.clock.now().timestamp())
    assert told == (
        "RESULTS LOST: RTX 4090 cloud #1 had results of nb that nobody fetched, and was ended because the budget of their "
        f"cell, $0.54, was spent; it is gone (verified); it cost {cost} in all"
    )
    assert losses(stand.ledger, stand.clock.now().timestamp()) == [], "it is told once"
    assert Money(540_000) <= cost <= Money(540_000) + OFFER.stopped_price.for_seconds(2 * HOUR)


def test_a_reap_ends_a_rest_whose_budget_is_spent_and_proves_it(stand: Stand) -> None:
    resting(stand)
    stand.clock.advance(200 * HOUR)
    (gone,) = stand.reconciler.reap(["cloud"], stand.said.append)
    assert (gone.found, stand.cloud.alive) == (Found.GONE, [])
    assert gone.why.startswith("RESULTS LOST: ")


def test_what_the_instance_had_cost_before_the_cell_is_not_taken_from_the_budget_of_its_results(stand: Stand) -> None:
    lease = stand.ready()
    stand.ledger.charge(lease.label, OFFER.price)
    stand.clock.advance(10 * HOUR)
    stand.ledger.touch(lease.label, 0)
    before = stand.ledger.lease(lease.label).cost(stand.clock.now().timestamp())
    stand.ledger.amend(lease.label, hard_s=72_000)
    stand.ledger.waiting.expect("cell", lease.label, Allowance(before, Money(540_000)))
    stand.clock.advance(HOUR / 2)
    stand.cloud.change(state=InstanceState.STOPPED, price=OFFER.stopped_price)
    assert [stand.found(after * HOUR) for after in (0, 50, 49)] == [[Found.ASKED]] * 3
    assert [stand.found(after) for after in (2 * HOUR, 80)] == [[Found.ALONE], [Found.ENDING]]


def test_a_rest_that_nobody_saw_begin_costs_no_more_than_its_switch_allows_and_is_there_for_a_day(stand: Stand) -> None:
    lease = stand.ready()
    stand.ledger.charge(lease.label, OFFER.price)
    stand.ledger.waiting.expect("cell", lease.label, Allowance(lease.cost(0), Money(540_000)))
    stand.clock.advance(HOUR / 2)
    stand.cloud.change(state=InstanceState.STOPPED, price=OFFER.stopped_price)
    (finding,) = stand.look(60 * HOUR)
    # A day of rest, 0.0864, was left when it began to rest, 1.26 h after the last contact at the latest.
    assert finding.cost == Money(540_000 - 86_400) + OFFER.stopped_price.for_seconds(60.5 * HOUR - 1.26 * HOUR)
    assert finding.why.startswith("95 % of the budget of these results is spent: results of nb wait on it")
    assert stand.found(DAY - 60) == [Found.ASKED]
    assert stand.found(80) == [Found.ALONE]
    assert stand.found(80) == [Found.ENDING]


def test_a_rest_that_the_user_wants_is_never_ended_whatever_waits_there(stand: Stand) -> None:
    lease = resting(stand)
    stand.cloud.traits = replace(stand.cloud.traits, stop=True)
    pausing = Pausing(stand.ledger, stand.renting, stand.clock)
    pausing.keep(stand.ledger.lease(lease.label))
    for _ in range(5):
        (finding,) = stand.look(30 * DAY)
        assert (finding.found, finding.why) == (Found.ASKED, "it rests, and its disk bills")
    assert stand.cloud.alive == ["1"]


def test_what_stops_before_its_lease_is_over_was_not_stopped_by_its_switch_and_is_never_ended(stand: Stand) -> None:
    lease = stand.ready()
    stand.ledger.waiting.expect("cell", lease.label, Allowance(Money(0), Money(1)))
    stand.clock.advance(60)
    stand.cloud.change(state=InstanceState.STOPPED, price=OFFER.stopped_price)
    for _ in range(5):
        (finding,) = stand.look()
        assert (finding.found, finding.why) == (Found.ASKED, "it rests, and its disk bills")
        stand.clock.advance(30 * DAY)
    assert stand.cloud.alive == ["1"]


def test_a_rest_that_is_just_being_started_is_not_ended(stand: Stand) -> None:
    lease = resting(stand)
    assert stand.found(200 * HOUR) == [Found.ALONE]
    stand.ledger.amend(lease.label, contact=stand.clock.now().timestamp())
    assert stand.found(100) == [Found.ASKED]
    assert stand.cloud.alive == ["1"]


def test_a_rest_is_not_ended_by_a_clock_that_is_a_year_ahead(stand: Stand) -> None:
    resting(stand)
    stand.clock.set_wall(stand.clock.now() + dt.timedelta(days=365))
    stand.look()
    (trouble,) = stand.look(100)
    assert trouble.found is Found.TROUBLE
    assert stand.cloud.alive == ["1"]


def test_a_spot_machine_on_which_results_wait_is_kept_when_its_switch_may_have_put_it_to_rest(stand: Stand) -> None:
    lease = stand.ready()
    stand.ledger.amend(lease.label, bid=OFFER.price)
    stand.ledger.waiting.expect("cell", lease.label, Allowance(lease.cost(0), Money(540_000)))
    stand.clock.advance(HOUR / 2)
    stand.cloud.change(state=InstanceState.STOPPED, price=OFFER.stopped_price)
    (finding,) = stand.look()
    assert finding.found is Found.ASKED
    assert finding.why.startswith("it has stopped itself, or a higher bid has taken it: results of nb wait on it")
    assert stand.ledger.lease(lease.label).state is State.STOPPED
    assert stand.cloud.alive == ["1"]


@pytest.mark.parametrize(("waits", "after"), [(True, 60.0), (False, HOUR / 2)])
def test_a_spot_machine_that_stops_early_or_with_nothing_on_it_was_taken_away(
    stand: Stand,
    waits: bool,  # noqa: FBT001 - a parameter of the test
    after: float,
) -> None:
    lease = stand.ready()
    stand.ledger.amend(lease.label, bid=OFFER.price)
    if waits:
        stand.ledger.waiting.expect("cell", lease.label, Allowance(lease.cost(0), Money(540_000)))
    stand.clock.advance(after)
    stand.cloud.change(state=InstanceState.STOPPED, price=OFFER.stopped_price)
    stand.look()
    assert stand.ledger.lease(lease.label).state is State.READY, "the next cell is told that it was preempted"


def test_what_rests_once_more_after_a_start_whose_process_died_is_within_the_same_budget(stand: Stand) -> None:
    lease = resting(stand)
    now = stand.clock.now().timestamp()
    stand.ledger.waiting.rests(lease.label, None)
    stand.ledger.move(lease.label, State.BOUND, begun=now, contact=now, note="")
    assert stand.found(60) == [Found.ASKED]
    assert stand.ledger.lease(lease.label).state is State.BOUND, "its list is old, and it may still come up"
    (finding,) = stand.look(HOUR)
    assert "results of nb wait on it" in finding.why
    assert stand.found(200 * HOUR) == [Found.ALONE]
    assert stand.found(80) == [Found.ENDING]
