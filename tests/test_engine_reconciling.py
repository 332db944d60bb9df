"""What nobody uses is ended, what somebody may use is not, and what only a person can decide is asked."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from engine_kit import OFFER, Made, lost_reply
from reconciling_kit import HOUR, Stand
from test_engine_renting import WISH

from gpuplug.engine.contacts import Contacts
from gpuplug.engine.reconciling import Found, Reaper
from gpuplug.errors import AuthError, UnknownOutcomeError, UnreachableError
from gpuplug.ledger import Lease, State
from gpuplug.testing import FakeClock
from gpuplug.types import Instance, InstanceState, Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.ledger.close()


def test_what_nobody_is_in_touch_with_is_ended_after_its_lease_by_the_second_look_that_finds_it_so(
    stand: Stand,
) -> None:
    stand.ready()
    assert stand.found(60) == [Found.USED]
    assert stand.found(600) == [Found.ALONE]
    assert stand.found(400) == [Found.ALONE]
    assert stand.cloud.alive == ["1"]
    (ending,) = stand.look(80)
    assert (ending.found, stand.cloud.alive) == (Found.ENDING, [])
    assert ending.why == "nobody was in touch for 19 min, and its lease is 15 min"
    (gone,) = stand.look(60)
    assert gone.found is Found.GONE
    assert gone.cost.micros > 0
    assert stand.found(60) == []


def test_looks_soon_after_one_another_end_nothing(stand: Stand) -> None:
    stand.ready()
    stand.clock.advance(2 * HOUR)
    assert {found for _ in range(15) for found in stand.found(4.9)} == {Found.ALONE}
    assert stand.cloud.alive == ["1"]


def test_a_warm_session_that_idles_for_hours_is_never_ended(stand: Stand) -> None:
    lease = stand.ready()
    contacts = Contacts(stand.ledger, lease.label, stand.clock)
    for _ in range(4 * 180):
        stand.clock.advance(15)
        contacts.beat({"busy": 0})
        assert stand.found() == [Found.USED]
    assert stand.cloud.alive == ["1"]


def test_a_machine_whose_image_takes_twenty_minutes_is_waited_for(stand: Stand) -> None:
    lease = stand.renting.rent(stand.cloud, OFFER, WISH)
    contacts = Contacts(stand.ledger, lease.label, stand.clock)
    for _ in range(40):
        stand.clock.advance(30)
        contacts.waited()
        assert stand.found() == [Found.USED]
    assert stand.cloud.alive == ["1"]


def test_a_machine_whose_process_died_while_it_booted_is_ended(stand: Stand) -> None:
    stand.renting.rent(stand.cloud, OFFER, WISH)
    assert stand.found(1100) == [Found.ALONE]
    assert stand.found(80) == [Found.ENDING]
    assert stand.cloud.alive == []


def test_a_running_cell_of_a_dead_kernel_is_asked_about_and_runs_on_to_its_hard_end(stand: Stand) -> None:
    lease = stand.ready()
    stand.ledger.touch(lease.label, 1)
    for _ in range(47):
        (finding,) = stand.look(300)
        assert finding.found is Found.ASKED
        assert "a cell was running there" in finding.why
    assert stand.cloud.alive == ["1"]
    assert stand.found(500) == [Found.ALONE]
    (ending,) = stand.look(100)
    assert (ending.found, stand.cloud.alive) == (Found.ENDING, [])
    assert "its hard end was" in ending.why


def test_who_gets_in_touch_between_two_looks_keeps_the_machine(stand: Stand) -> None:
    lease = stand.ready()
    assert stand.found(HOUR) == [Found.ALONE]
    stand.ledger.touch(lease.label, 0)
    assert stand.found(100) == [Found.USED]
    condemned = stand.ledger.condemn(lease.label, lease.contact)
    assert condemned.state is State.READY, "the one that looked did not know of the contact yet"
    assert stand.cloud.alive == ["1"]


def test_a_clock_that_is_a_year_ahead_ends_nothing_that_a_kernel_is_in_touch_with(stand: Stand) -> None:
    lease = stand.ready()
    contacts = Contacts(stand.ledger, lease.label, stand.clock)
    contacts.beat({"busy": 0})
    stand.clock.set_wall(stand.clock.now() + dt.timedelta(days=365))
    for _ in range(40):
        stand.look(5)
        contacts.beat({"busy": 0})
    assert stand.cloud.alive == ["1"]


def test_what_seems_old_by_a_clock_that_has_jumped_is_called_gone_only_after_a_whole_lag(stand: Stand) -> None:
    lease = stand.ready()
    stand.cloud.lag_s, stand.cloud.reading_lags = 45, True
    stand.clock.set_wall(stand.clock.now() + dt.timedelta(hours=10))
    assert stand.found() == [Found.ALONE]
    assert stand.ledger.lease(lease.label).state is State.READY
    assert stand.cloud.alive == ["1"]
    stand.cloud.made[0].alive = False
    assert stand.found() == [Found.GONE]


def test_a_key_that_may_not_see_the_account_makes_no_proof_take_longer(stand: Stand) -> None:
    lease = stand.ready()
    stand.clock.advance(HOUR)

    def refuse() -> None:
        raise AuthError("no right to see the account")

    stand.cloud.account = refuse  # type: ignore[attr-defined]
    stand.cloud.made[0].alive = False
    before = stand.clock.monotonic()
    assert stand.renting.destroy(stand.cloud, lease, stand.said.append).state is State.GONE
    assert stand.clock.monotonic() - before == stand.cloud.traits.verify_gap_s


@pytest.mark.parametrize("busy", [0, 1])
def test_a_clock_that_is_a_year_ahead_ends_nothing_of_a_dead_kernel_and_that_is_said(stand: Stand, busy: int) -> None:
    lease = stand.ready()
    stand.ledger.touch(lease.label, busy)
    stand.clock.set_wall(stand.clock.now() + dt.timedelta(days=365))
    stand.look()
    (trouble,) = stand.look(100)
    assert trouble.found is Found.TROUBLE
    assert "it differs by 365 d 0 h from that of cloud" in trouble.why
    assert stand.cloud.alive == ["1"]
    stand.clock.set_wall(FakeClock().now() + dt.timedelta(seconds=stand.clock.monotonic()))
    assert stand.found() == [Found.USED]


def test_a_clock_that_is_set_back_by_a_year_keeps_nothing_open_for_longer_than_a_lease(stand: Stand) -> None:
    stand.ready()
    stand.clock.set_wall(stand.clock.now() - dt.timedelta(days=365))
    stand.cloud.traits = replace(stand.cloud.traits, account=False)  # or it would say that the clock is wrong
    assert stand.found() == [Found.USED]
    assert stand.found(1100) == [Found.ALONE]
    assert stand.found(100) == [Found.ENDING]
    assert stand.cloud.alive == []


def test_a_hard_end_that_was_noted_by_a_clock_that_was_behind_ends_no_running_cell(stand: Stand) -> None:
    right = stand.clock.now()
    stand.clock.set_wall(right - dt.timedelta(hours=10))
    lease = stand.ready()
    stand.cloud.change(started=right)
    stand.ledger.touch(lease.label, 1)
    stand.clock.set_wall(right)
    for _ in range(5):
        assert stand.found(100) == [Found.ASKED]
    assert stand.cloud.alive == ["1"]
    assert stand.found(4 * HOUR) == [Found.ALONE]
    assert stand.found(100) == [Found.ENDING]


def test_a_clock_that_is_behind_dates_nothing_anew(stand: Stand) -> None:
    lease = stand.ready()
    stand.clock.set_wall(stand.clock.now() - dt.timedelta(hours=10))
    stand.look()
    assert stand.ledger.lease(lease.label).contact == lease.contact
    assert stand.ledger.lease(lease.label).begun == lease.begun


def test_what_rests_and_what_was_adopted_is_asked_about_and_never_ended(stand: Stand) -> None:
    lease = stand.ready()
    stand.ledger.move(lease.label, State.STOPPED)
    made = Instance("cloud", "x", "gp-theirs", InstanceState.RUNNING, Money(5), "H100")
    stand.cloud.made.append(Made(made, 0.0))
    stand.renting.adopt(stand.cloud, made, "nb")
    for _ in range(5):
        assert stand.found(86_400) == [Found.ASKED, Found.ASKED]
    assert stand.cloud.alive == ["1", "x"]


def test_what_another_computer_rented_is_shown_and_left_alone(stand: Stand) -> None:
    made = Instance("cloud", "x", "gp-theirs", InstanceState.RUNNING, Money(5), "H100")
    stand.cloud.made.append(Made(made, 0.0))
    for _ in range(4):
        (finding,) = stand.look(86_400)
        assert (finding.found, finding.instance) == (Found.STRANGER, made)
    assert [finding.found for finding in stand.reconciler.reap(["cloud"], stand.said.append)] == [Found.STRANGER]
    assert stand.cloud.alive == ["x"]


def test_of_an_old_ledger_that_knows_no_contacts_only_the_hard_end_counts(stand: Stand) -> None:
    lease = stand.renting.rent(stand.cloud, OFFER, WISH)
    stand.ledger.move(lease.label, State.READY, contact=None)
    (asked,) = stand.look(3 * HOUR)
    assert (asked.found, asked.why) == (Found.ASKED, "when anybody was last in touch is not known")
    assert stand.found(2 * HOUR) == [Found.ALONE]
    assert stand.found(100) == [Found.ENDING]


def test_an_end_that_nobody_has_proven_is_asked_for_by_each_look_until_it_is(stand: Stand) -> None:
    lease = stand.ready()
    stand.cloud.lies = 10
    stand.ledger.move(lease.label, State.DESTROYING)
    for left in range(9, 0, -1):
        assert stand.found(60) == [Found.ENDING]
        assert stand.cloud.lies == left
    assert stand.found(60) == [Found.ENDING]
    assert stand.found(60) == [Found.ENDING]
    assert stand.found(60) == [Found.GONE]
    assert stand.cloud.alive == []


def test_a_create_of_a_dead_process_is_looked_for_and_settled(stand: Stand) -> None:
    stand.cloud.launch_error = lost_reply()
    with pytest.raises(UnknownOutcomeError):
        stand.renting.rent(stand.cloud, OFFER, WISH)
    assert stand.found(70) == [Found.LOOKED_FOR]
    assert stand.found(70) == [Found.LOOKED_FOR], "a second list that must show it is still to come"
    assert stand.found(70) == [Found.NEVER_MADE]
    assert not stand.reconciler.anything()


def test_what_is_just_being_rented_is_in_use(stand: Stand) -> None:
    seen: list[Found] = []

    def look() -> list[Lease]:
        seen.extend(finding.found for finding in stand.another().look())
        return []

    stand.cloud.look = look
    stand.renting.rent(stand.cloud, OFFER, WISH)
    assert seen == [Found.USED]


def test_a_platform_that_does_not_answer_hides_nothing_and_ends_nothing(stand: Stand) -> None:
    lease = stand.ready()
    stand.cloud.failures = [UnreachableError("down")]
    (trouble,) = stand.look(5 * HOUR)
    assert (trouble.found, trouble.lease and trouble.lease.label) == (Found.TROUBLE, lease.label)
    assert "down" in trouble.why
    (nowhere,) = stand.reconciler.look(["nowhere"])[1:]
    assert (nowhere.found, nowhere.platform, nowhere.lease) == (Found.TROUBLE, "nowhere", None)


def test_an_end_that_cannot_be_asked_for_stays_on_record_and_is_asked_for_again(stand: Stand) -> None:
    stand.ready()
    stand.look(HOUR)
    terminate, refused = stand.cloud.terminate, UnreachableError("down")

    def fail(instance_id: str) -> None:  # noqa: ARG001 - as `terminate`
        raise refused

    stand.cloud.terminate = fail  # type: ignore[method-assign]
    (ending,) = stand.look(100)
    assert ending.found is Found.ENDING
    assert ending.why.endswith("; down")
    stand.cloud.terminate = terminate  # type: ignore[method-assign]
    assert stand.found(60) == [Found.ENDING]
    assert stand.cloud.alive == []


def test_a_reap_waits_whether_anybody_is_in_touch_ends_and_proves(stand: Stand) -> None:
    stand.ready()
    stand.clock.advance(HOUR)
    (gone,) = stand.reconciler.reap(["cloud"], stand.said.append)
    assert gone.found is Found.GONE
    assert gone.why == "nobody was in touch for 1 h 1 min, and its lease is 15 min"
    assert stand.said == ["something looks left alone: waiting 75 s whether anybody gets in touch"]
    assert stand.cloud.alive == []
    assert stand.reconciler.reap(["cloud"], stand.said.append) == []


def test_a_reap_never_says_gone_of_what_is_not_proven(stand: Stand) -> None:
    stand.ready()
    stand.cloud.lies = 1000
    stand.clock.advance(HOUR)
    (ending,) = stand.reconciler.reap(["cloud"], stand.said.append)
    assert ending.found is Found.ENDING
    assert stand.cloud.alive == ["1"]


def test_what_costs_nothing_is_not_looked_at(stand: Stand) -> None:
    lease = stand.ready()
    stand.ledger.move(lease.label, State.READY, price=Money(0))
    stand.clock.advance(HOUR)
    assert stand.reconciler.look() == []
    assert not stand.reconciler.anything()


def test_beside_a_kernel_it_has_a_ledger_and_adapters_of_its_own(tmp_path: Path, stand: Stand) -> None:
    stand.ready()
    reaper = Reaper(tmp_path, stand.clock)
    assert reaper.reconciler.anything()
    (trouble,) = reaper.reconciler.look()
    assert trouble.found is Found.TROUBLE, "there is no platform of this name"
    reaper.close()
