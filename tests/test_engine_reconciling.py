"""What nobody uses is ended, what somebody may use is not, and what only a person can decide is asked."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from engine_kit import OFFER, Cloud, Made, lost_reply
from test_engine_renting import WISH

from gpuplug.engine.contacts import Contacts
from gpuplug.engine.pausing import Pausing
from gpuplug.engine.reconciling import Finding, Found, Reaper, Reconciler
from gpuplug.engine.renting import Renting
from gpuplug.engine.resting import losses
from gpuplug.errors import UnknownNameError, UnknownOutcomeError, UnreachableError
from gpuplug.ledger import Allowance, Lease, Ledger, State
from gpuplug.testing import FakeClock
from gpuplug.types import Account, Instance, InstanceState, Money

if TYPE_CHECKING:
    from collections.abc import Iterator
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
