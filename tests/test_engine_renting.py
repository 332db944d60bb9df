"""The money protocol against a cloud that fails in every way: nothing bills unseen, nothing is called gone too early."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from engine_kit import OFFER, Cloud, lost_reply
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuplug.config import Options
from gpuplug.engine.renting import Renting, Wish
from gpuplug.errors import (
    AuthError,
    LedgerError,
    OfferGoneError,
    ProviderError,
    ReplyError,
    UnknownOutcomeError,
    UnreachableError,
    UsageError,
)
from gpuplug.ledger import Lease, Ledger, State
from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WISH = Wish("nb", "", Options())


class Stand:
    """Ledger, protocol and cloud on one clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.ledger = Ledger(folder, self.clock)
        self.renting = Renting(self.ledger, folder / "keys", self.clock)
        self.cloud = Cloud(self.clock, look=self.ledger.open_leases)
        self.said: list[str] = []

    def rent(self) -> Lease:
        return self.renting.rent(self.cloud, OFFER, WISH)

    def destroy(self, lease: Lease, deadline_s: float = 180.0) -> Lease:
        return self.renting.destroy(self.cloud, lease, self.said.append, deadline_s)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.ledger.close()


def test_the_intent_is_in_the_ledger_before_the_cloud_is_asked(stand: Stand) -> None:
    lease = stand.rent()
    (seen,) = stand.cloud.looked
    assert [(found.label, found.state) for found in seen] == [(lease.label, State.INTENT)]
    assert lease.state is State.BOUND


def test_a_clean_refusal_leaves_no_open_lease(stand: Stand) -> None:
    stand.cloud.launch_error = OfferGoneError("taken")
    with pytest.raises(OfferGoneError):
        stand.rent()
    assert stand.ledger.open_leases() == []
    assert [lease.state for lease in stand.ledger.leases()] == [State.FAILED]


@pytest.mark.parametrize("lag_s", [0.0, 2.0, 45.0])
def test_a_lost_reply_is_found_by_its_label_and_never_created_twice(stand: Stand, lag_s: float) -> None:
    stand.cloud.launch_error, stand.cloud.launch_works_anyway, stand.cloud.lag_s = lost_reply(), True, lag_s
    lease = stand.rent()
    assert (lease.state, lease.instance_id) == (State.BOUND, "1")
    assert len(stand.cloud.made) == 1


def test_a_lost_create_that_made_nothing_stays_unknown_until_the_lag_is_over(stand: Stand) -> None:
    stand.cloud.launch_error = lost_reply()
    with pytest.raises(UnknownOutcomeError, match="keeps looking") as caught:
        stand.rent()
    assert caught.value.billing
    (lease,) = stand.ledger.open_leases()
    assert lease.state is State.UNKNOWN
    for wait_s in (120, 60):
        stand.clock.advance(wait_s)
        (still,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
        assert still.state is State.UNKNOWN
    stand.clock.advance(30)
    (settled,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert settled.state is State.FAILED


def test_an_interrupted_create_is_not_called_never_made_by_one_list_that_has_lost_everything(stand: Stand) -> None:
    def interrupted() -> list[Lease]:
        stand.cloud.launch_error, stand.cloud.launch_works_anyway = KeyboardInterrupt(), True  # type: ignore[assignment]
        return []

    stand.cloud.look = interrupted
    stand.cloud.lag_s = 45
    stand.cloud.failures = [UnreachableError("down")] * 4
    stand.cloud.loses_all_at = {90.0}
    with pytest.raises(KeyboardInterrupt):
        stand.rent()
    (lease,) = stand.ledger.leases()
    assert lease.state is State.UNKNOWN
    assert stand.destroy(lease).state is State.GONE
    assert stand.cloud.alive == []


def test_a_create_that_another_process_gave_up_meanwhile_is_ended_and_not_called_never_made(stand: Stand) -> None:
    def give_up() -> list[Lease]:
        (lease,) = stand.ledger.open_leases()
        stand.ledger.move(lease.label, State.FAILED, ended=0.0)
        return []

    stand.cloud.look = give_up
    with pytest.raises(ProviderError, match="had given it up"):
        stand.rent()
    assert stand.cloud.alive == []
    assert [lease.state for lease in stand.ledger.leases()] == [State.GONE]


def test_a_create_that_another_process_gave_up_meanwhile_is_gone_only_when_the_list_must_show_it(stand: Stand) -> None:
    def sleep_and_give_up() -> list[Lease]:
        (lease,) = stand.ledger.open_leases()
        stand.clock.advance(7200)
        stand.ledger.move(lease.label, State.FAILED, ended=0.0)
        return []

    stand.cloud.look = sleep_and_give_up
    stand.cloud.lag_s, stand.cloud.reading_lags, stand.cloud.lies = 45, True, 1
    with pytest.raises(ProviderError, match="had given it up"):
        stand.rent()
    assert stand.cloud.alive == []


def test_down_of_a_young_instance_says_why_the_proof_takes_so_long(stand: Stand) -> None:
    lease = stand.rent()
    stand.destroy(lease)
    assert any("the proof of its end takes 90 s" in line for line in stand.said)
    old = stand.rent()
    stand.clock.advance(3600)
    stand.said.clear()
    assert stand.destroy(old).state is State.GONE
    assert stand.said == []


def test_a_late_create_that_cannot_be_ended_stays_open_in_the_ledger(stand: Stand) -> None:
    def give_up() -> list[Lease]:
        (lease,) = stand.ledger.open_leases()
        stand.ledger.move(lease.label, State.FAILED, ended=0.0)
        return []

    stand.cloud.look, stand.cloud.lies = give_up, 1000
    with pytest.raises(ProviderError, match="NOT PROVEN GONE"):
        stand.rent()
    assert [lease.state for lease in stand.ledger.open_leases()] == [State.DESTROYING]


def test_an_interrupt_in_the_middle_of_a_create_destroys_what_it_made(stand: Stand) -> None:
    stand.cloud.launch_error, stand.cloud.launch_works_anyway = KeyboardInterrupt(), True  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        stand.rent()
    assert stand.cloud.alive == []
    assert stand.ledger.open_leases() == []


def test_an_interrupt_while_a_lost_create_is_looked_for_destroys_what_it_made(stand: Stand) -> None:
    stand.cloud.launch_error, stand.cloud.launch_works_anyway = lost_reply(), True
    stand.cloud.failures = [KeyboardInterrupt()]  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        stand.rent()
    assert stand.cloud.alive == []
    assert stand.ledger.open_leases() == []


def test_what_the_ledger_cannot_record_is_ended_at_once_and_said(stand: Stand) -> None:
    def lose_the_table() -> list[Lease]:
        with contextlib.closing(sqlite3.connect(stand.ledger.path)) as connection:
            connection.execute("DROP TABLE leases")
        return []

    stand.cloud.look = lose_the_table
    with pytest.raises(LedgerError, match="its end asked for"):
        stand.rent()
    assert stand.cloud.alive == []


def test_gone_needs_two_listings_a_gap_apart_and_a_direct_reading(stand: Stand) -> None:
    lease = stand.rent()
    before = stand.clock.monotonic()
    assert stand.destroy(lease).state is State.GONE
    assert stand.clock.monotonic() - before >= stand.cloud.traits.verify_gap_s


def test_a_young_instance_that_neither_list_nor_reading_shows_yet_is_not_called_gone(stand: Stand) -> None:
    lease = stand.rent()
    stand.cloud.lag_s, stand.cloud.reading_lags, stand.cloud.lies = 45, True, 1
    assert stand.destroy(lease).state is State.GONE
    assert stand.cloud.alive == []


def test_a_laptop_that_sleeps_between_intent_and_create_does_not_make_the_instance_look_old(stand: Stand) -> None:
    def sleep() -> list[Lease]:
        stand.clock.advance(7200)
        return []

    stand.cloud.look = sleep
    lease = stand.rent()
    stand.cloud.lag_s, stand.cloud.reading_lags, stand.cloud.lies = 45, True, 1
    assert stand.destroy(lease).state is State.GONE
    assert stand.cloud.alive == []


@pytest.mark.parametrize("lies", [1, 2, 3])
def test_a_lying_destroy_is_repeated_until_the_instance_is_really_gone(stand: Stand, lies: int) -> None:
    lease = stand.rent()
    stand.cloud.lies = lies
    assert stand.destroy(lease).state is State.GONE
    assert stand.cloud.alive == []


def test_a_destroy_that_is_not_proven_in_time_is_never_called_gone(stand: Stand) -> None:
    lease = stand.rent()
    stand.cloud.lies = 1000
    after = stand.destroy(lease)
    assert after.state is State.DESTROYING
    assert after.billing
    assert "not proven gone" in stand.said[-1]


def double(stand: Stand) -> None:
    """Let the cloud make a second instance with the label of its newest one."""
    first = stand.cloud.made[-1]
    stand.cloud.made.append(replace(first, instance=replace(first.instance, id="extra")))


def test_what_a_create_made_twice_is_ended_by_the_next_look_and_the_rented_one_stays(stand: Stand) -> None:
    lease = stand.rent()
    double(stand)
    (seen,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert (seen.state, stand.cloud.alive) == (State.BOUND, [lease.instance_id])


def test_gone_is_said_only_when_both_of_what_a_create_made_twice_are_gone(stand: Stand) -> None:
    lease = stand.rent()
    double(stand)
    assert stand.destroy(lease).state is State.GONE
    assert stand.cloud.alive == []


def test_an_end_that_was_not_proven_is_asked_for_again_by_each_look(stand: Stand) -> None:
    lease = stand.rent()
    stand.cloud.lies = 1000
    stand.destroy(lease)
    stand.cloud.lies = 0
    (still,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert (still.state, stand.cloud.alive) == (State.DESTROYING, [])
    stand.clock.advance(60)
    (settled,) = stand.renting.reconcile(stand.cloud, stand.cloud.instances())
    assert settled.state is State.GONE


def test_a_value_that_cannot_be_sent_leaves_no_open_lease_and_waits_for_nothing(stand: Stand) -> None:
    stand.cloud.launch_error = UsageError("'a b' is no name of an image")
    with pytest.raises(UsageError):
        stand.rent()
    assert stand.clock.slept == []
    assert [lease.state for lease in stand.ledger.leases()] == [State.FAILED]


def test_a_key_that_is_not_accepted_is_said_at_once_and_not_waited_for(stand: Stand) -> None:
    lease = stand.rent()
    stand.cloud.failures = [AuthError("the key is not accepted", hint="export KEY=...")]
    assert stand.destroy(lease).state is State.DESTROYING
    assert stand.clock.slept == []
    assert "the key is not accepted" in stand.said[-1]
    assert "hint: export KEY=" in stand.said[-1]


def test_destroying_what_is_gone_already_succeeds(stand: Stand) -> None:
    lease = stand.rent()
    stand.cloud.made[0].alive = False
    assert stand.destroy(lease).state is State.GONE
    assert stand.destroy(lease).state is State.GONE


def test_an_intent_whose_process_died_before_the_call_ends_without_a_bill(stand: Stand) -> None:
    stand.cloud.launch_error = lost_reply()
    with pytest.raises(ProviderError):
        stand.rent()
    stand.clock.advance(3600)
    (lease,) = stand.ledger.open_leases()
    assert stand.destroy(lease).state is State.FAILED


def test_a_clock_that_was_set_back_by_hours_keeps_nothing_open_for_hours(stand: Stand) -> None:
    stand.cloud.launch_error = lost_reply()
    with pytest.raises(UnknownOutcomeError):
        stand.rent()
    stand.cloud.launch_error = None
    bound = stand.rent()
    stand.clock.set_wall(stand.clock.now() - dt.timedelta(hours=10))
    stand.cloud.made[0].alive = False
    unknown, gone = stand.renting.reconcile(stand.cloud, [])
    assert (unknown.state, gone.label, gone.state) == (State.UNKNOWN, bound.label, State.GONE)
    assert stand.destroy(unknown).state is State.FAILED


faults = st.lists(st.sampled_from([UnreachableError("down"), ReplyError("html")]), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    faults=faults,
    lies=st.integers(0, 4),
    lag=st.sampled_from([0.0, 2.0, 10.0, 45.0, 200.0]),
    lost=st.booleans(),
    made=st.booleans(),
)
def test_whatever_fails_a_final_row_never_bills_and_everything_ends(
    tmp_path_factory: pytest.TempPathFactory,
    faults: list[Exception],
    lies: int,
    lag: float,
    lost: bool,  # noqa: FBT001 - hypothesis names them
    made: bool,  # noqa: FBT001 - likewise
) -> None:
    stand = Stand(tmp_path_factory.mktemp("money"))
    stand.cloud.lag_s, stand.cloud.failures = lag, list(faults)
    if lost:
        stand.cloud.launch_error, stand.cloud.launch_works_anyway = lost_reply(), made
    with contextlib.suppress(ProviderError):
        stand.rent()
    stand.cloud.lies, stand.cloud.failures = lies, list(faults)
    for _ in range(6):
        stand.clock.advance(60)
        left, stand.cloud.failures = stand.cloud.failures, []
        stand.renting.reopen_late(stand.cloud, stand.cloud.instances(), stand.said.append)
        stand.cloud.failures = left
        for lease in stand.ledger.open_leases():
            stand.destroy(lease)
            billing = set(stand.cloud.alive)
            gone = {row.instance_id for row in stand.ledger.leases() if row.state is State.GONE}
            assert not gone & billing
    assert stand.cloud.alive == []
    assert stand.ledger.open_leases() == []
    stand.ledger.close()
