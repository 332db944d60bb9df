"""A look at the providers' lists: what it may conclude of each lease, and what it must leave open."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from engine_kit import OFFER, Made, lost_reply
from test_engine_renting import Stand

from gpuplug.errors import UnknownOutcomeError, UnreachableError
from gpuplug.ledger import State
from gpuplug.types import Instance, InstanceState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.ledger.close()


def test_a_look_waits_for_no_unknown_create_and_looks_soon_after_another_prove_nothing(stand: Stand) -> None:
    stand.cloud.launch_error = lost_reply()
    with pytest.raises(UnknownOutcomeError):
        stand.rent()
    stand.clock.advance(120)
    stand.clock.slept.clear()
    for _ in range(12):
        (still,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
        assert still.state is State.UNKNOWN
        stand.clock.advance(4.9)
    assert stand.clock.slept == []


def test_one_list_that_has_lost_everything_does_not_make_a_create_forgotten(stand: Stand) -> None:
    stand.cloud.launch_error, stand.cloud.launch_works_anyway, stand.cloud.lag_s = lost_reply(), True, 80
    with pytest.raises(UnknownOutcomeError):
        stand.rent()
    (lease,) = stand.renting.reconcile(stand.cloud, [])
    assert lease.state is State.UNKNOWN
    stand.clock.advance(60)
    (found,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert (found.state, found.instance_id) == (State.BOUND, "1")


def test_a_create_that_a_process_sent_long_after_its_intent_before_it_died_is_not_forgotten(stand: Stand) -> None:
    stand.cloud.launch_error = lost_reply()
    with pytest.raises(UnknownOutcomeError):
        stand.rent()
    (lease,) = stand.ledger.open_leases()
    stand.clock.advance(7200)
    made = Instance("cloud", "1", lease.label, InstanceState.RUNNING, OFFER.price)
    stand.cloud.lag_s, stand.cloud.made = 45, [Made(made, stand.clock.monotonic())]
    (still,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert still.state is State.UNKNOWN
    stand.clock.advance(60)
    (found,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert (found.state, found.instance_id) == (State.BOUND, "1")


def test_the_lease_of_what_is_found_late_begins_when_it_is_found(stand: Stand) -> None:
    stand.cloud.launch_error, stand.cloud.launch_works_anyway, stand.cloud.lag_s = lost_reply(), True, 3000
    with pytest.raises(UnknownOutcomeError):
        stand.rent()
    stand.clock.advance(3000)
    (found,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert (found.state, found.contact) == (State.BOUND, stand.clock.now().timestamp())


def test_an_instance_that_comes_up_after_it_was_given_up_is_found_and_ended(stand: Stand) -> None:
    stand.cloud.launch_error, stand.cloud.launch_works_anyway, stand.cloud.lag_s = lost_reply(), True, 600
    with pytest.raises(UnknownOutcomeError):
        stand.rent()
    (lease,) = stand.ledger.open_leases()
    stand.clock.advance(120)
    assert stand.destroy(lease).state is State.FAILED
    assert stand.cloud.alive == ["1"]
    stand.clock.advance(600)
    (reopened,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert (reopened.state, reopened.instance_id, reopened.billing) == (State.DESTROYING, "1", True)
    assert stand.cloud.alive == []
    assert stand.destroy(reopened).state is State.GONE


@pytest.mark.parametrize(("days_then", "days_now"), [(-365, 0), (0, 365), (0, -365)])
def test_it_is_found_also_by_a_clock_that_is_a_year_off(stand: Stand, days_then: int, days_now: int) -> None:
    stand.cloud.launch_error, stand.cloud.launch_works_anyway, stand.cloud.lag_s = lost_reply(), True, 600
    with pytest.raises(UnknownOutcomeError):
        stand.rent()
    (lease,) = stand.ledger.open_leases()
    stand.clock.advance(120)
    right = stand.clock.now()
    stand.clock.set_wall(right + dt.timedelta(days=days_then))
    assert stand.destroy(lease).state is State.FAILED
    stand.clock.set_wall(right + dt.timedelta(days=days_now))
    stand.clock.advance(600)
    (reopened,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert (reopened.state, reopened.instance_id) == (State.DESTROYING, "1")


def test_what_ended_by_itself_while_nobody_looked_is_charged_to_its_hard_end_at_most(stand: Stand) -> None:
    lease = stand.rent()
    stand.cloud.made[0].alive = False
    stand.clock.advance(10 * 86_400)
    (settled,) = stand.renting.reconcile(stand.cloud, [])
    assert settled.ended is not None
    assert settled.ended - lease.created <= lease.hard_s + 60


def test_an_instance_that_ended_by_itself_is_settled_only_with_proof(stand: Stand) -> None:
    lease = stand.rent()
    stand.clock.advance(3600)
    stand.cloud.made[0].alive = False
    stand.cloud.failures = [UnreachableError("down")]
    (unproven,) = stand.renting.reconcile(stand.cloud, [])
    assert unproven.state is State.BOUND
    (settled,) = stand.renting.reconcile(stand.cloud, [])
    assert (settled.label, settled.state) == (lease.label, State.GONE)


def test_a_young_instance_that_the_list_does_not_show_yet_is_not_called_gone(stand: Stand) -> None:
    stand.cloud.lag_s = 45
    stand.rent()
    (lease,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert lease.state is State.BOUND
