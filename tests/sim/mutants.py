# ruff: noqa: SLF001 - a rule is left out where it stands
"""Faults that somebody could build into the protocol; each must be caught by the simulation, or it proves nothing."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpuplug.config import Standing
from gpuplug.engine import ending, reconciling, renting
from gpuplug.engine.budgets import Budgets
from gpuplug.engine.contacts import Contacts
from gpuplug.engine.linking import Linking
from gpuplug.engine.reconciling import Reconciler
from gpuplug.engine.renting import Renting
from gpuplug.engine.resting import Rest
from gpuplug.engine.settling import TOMBSTONE_S
from gpuplug.errors import GpuplugError, OfferGoneError, UnknownOutcomeError
from gpuplug.ledger import Lease, Ledger, State
from gpuplug.providers import vast
from gpuplug.providers._http import HttpClient
from gpuplug.providers.runpod import RunpodProvider
from gpuplug.providers.vast import VastProvider
from gpuplug.types import ZERO, StartParams

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from gpuplug.providers import Provider
    from gpuplug.providers._calls import Call, Reply
    from gpuplug.types import Instance, Offer, Spec

ADAPTERS = (VastProvider, RunpodProvider)
MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {}
# What shows only when three things go wrong at once is looked for where the seeds have that; all others from seed 0 on.
FIRST: dict[str, int] = {
    "an_age_by_a_wrong_clock_is_proof": 461_000,
    "what_comes_up_late_is_looked_for_by_its_time": 91_500,
}


def mutant(plant: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
    MUTANTS[plant.__name__] = plant
    return plant


@mutant
def the_intent_is_recorded_after_the_create(patch: pytest.MonkeyPatch) -> None:
    waiting: dict[str, Lease] = {}
    intend, move = Ledger.intend, Ledger.move

    def later(ledger: Ledger, label: str, state: State, **changes: Any) -> Lease:  # noqa: ANN401 - as `move` takes them
        if label in waiting:
            intend(ledger, waiting.pop(label))
        return move(ledger, label, state, **changes)

    patch.setattr(Ledger, "intend", lambda _, lease, __: waiting.__setitem__(lease.label, lease))
    patch.setattr(Ledger, "move", later)


@mutant
def a_200_to_a_destroy_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Renting, "_proven_gone", lambda *_: True)


@mutant
def one_listing_is_proof_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Renting, "_proven_gone", Renting._absent)


@mutant
def what_gives_no_answer_is_absent(patch: pytest.MonkeyPatch) -> None:
    def proven(_: Renting, provider: Provider, lease: Lease) -> bool:
        try:
            return all(one.id != lease.instance_id for one in provider.instances())
        except GpuplugError:
            return True

    patch.setattr(Renting, "_proven_gone", proven)


@mutant
def the_proof_of_an_end_begins_within_the_lag(patch: pytest.MonkeyPatch) -> None:
    def proven(self: Renting, provider: Provider, lease: Lease) -> bool:
        if not self._absent(provider, lease):
            return False
        self._clock.sleep(provider.traits.verify_gap_s)
        try:
            return self._absent(provider, lease) and provider.show(lease.instance_id) is None
        except GpuplugError:
            return False

    patch.setattr(Renting, "_proven_gone", proven)


@mutant
def the_lag_of_the_list_is_not_waited_out(patch: pytest.MonkeyPatch) -> None:
    for adapter in ADAPTERS:
        init = adapter.__init__

        def hasty(self: Any, access: Any, init: Any = init) -> None:  # noqa: ANN401 - either adapter's
            init(self, access)
            self.traits = replace(self.traits, list_lag_s=0.0)

        patch.setattr(adapter, "__init__", hasty)


@mutant
def a_create_without_an_answer_is_repeated(patch: pytest.MonkeyPatch) -> None:
    for adapter in ADAPTERS:
        launch = adapter.launch

        def again(self: Any, offer: Offer, spec: Spec, label: str, launch: Any = launch) -> str:  # noqa: ANN401 - likewise
            try:
                return str(launch(self, offer, spec, label))
            except UnknownOutcomeError:
                return str(launch(self, offer, spec, label))

        patch.setattr(adapter, "launch", again)


@mutant
def a_create_without_an_answer_is_a_refusal(patch: pytest.MonkeyPatch) -> None:
    for adapter in ADAPTERS:
        launch = adapter.launch

        def refused(self: Any, offer: Offer, spec: Spec, label: str, launch: Any = launch) -> str:  # noqa: ANN401 - likewise
            try:
                return str(launch(self, offer, spec, label))
            except UnknownOutcomeError as error:
                raise OfferGoneError(error.message) from error

        patch.setattr(adapter, "launch", refused)


@mutant
def an_unknown_create_is_forgotten_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Renting, "_forget_unknown", lambda self, _, lease, __: self._never_made(lease, "not listed"))


@mutant
def the_first_absence_is_the_end(patch: pytest.MonkeyPatch) -> None:
    settle = Renting._settle

    def hasty(self: Renting, provider: Provider, lease: Lease, found: list[Instance], looked: float) -> Lease:
        return self._gone(lease) if lease.instance_id and not found else settle(self, provider, lease, found, looked)

    patch.setattr(Renting, "_settle", hasty)


@mutant
def what_was_made_though_the_reply_says_failure_is_ignored(patch: pytest.MonkeyPatch) -> None:
    send = HttpClient.send

    def deaf(self: HttpClient, call: Call) -> Reply:
        reply = send(self, call)
        if call.route == vast._ASK and isinstance(reply.body, dict) and reply.body.get("success") is False:
            return reply._replace(body={**reply.body, "new_contract": None})
        return reply

    patch.setattr(HttpClient, "send", deaf)


@mutant
def the_label_is_not_the_one_on_record(patch: pytest.MonkeyPatch) -> None:
    for adapter in ADAPTERS:
        launch = adapter.launch

        def other(self: Any, offer: Offer, spec: Spec, label: str, launch: Any = launch) -> str:  # noqa: ANN401 - likewise
            return str(launch(self, offer, spec, label[:20]))

        patch.setattr(adapter, "launch", other)


@mutant
def what_comes_up_late_is_not_reopened(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Renting, "reopen_late", lambda *_: None)


@mutant
def what_was_made_twice_is_not_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Renting, "_end_extra", lambda *_: None)


@mutant
def nobody_asks_again_for_an_end(patch: pytest.MonkeyPatch) -> None:
    settle = Renting._settle

    def idle(self: Renting, provider: Provider, lease: Lease, found: list[Instance], looked: float) -> Lease:
        return lease if lease.state is State.DESTROYING and found else settle(self, provider, lease, found, looked)

    patch.setattr(Renting, "_settle", idle)


@mutant
def an_interrupt_is_a_refusal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Renting, "_abandon", lambda self, _, lease: self._never_made(lease, "interrupted"))


@mutant
def only_the_first_page_is_read(patch: pytest.MonkeyPatch) -> None:
    send = HttpClient.send

    def short(self: HttpClient, call: Call) -> Reply:
        reply = send(self, call)
        if isinstance(reply.body, dict):
            hidden = {name: None for name in ("next_token", "pagination") if name in reply.body}
            return reply._replace(body={**reply.body, **hidden})
        return reply

    patch.setattr(HttpClient, "send", short)


@mutant
def the_budget_is_not_sent_to_the_switch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(renting, "_budget_s", lambda _, options: options.terms.hard)


@mutant
def the_budget_of_the_day_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Budgets, "standing", lambda _: Standing())


@mutant
def what_others_may_still_spend_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Budgets, "_promised", lambda *_: ZERO)


@mutant
def the_budget_is_not_looked_at_again_when_the_intent_is_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Budgets, "check", lambda *_: None)


@mutant
def the_lease_is_not_sent_to_the_switch(patch: pytest.MonkeyPatch) -> None:

    def endless(*values: Any) -> StartParams:  # noqa: ANN401 - as it takes them
        return replace(StartParams(*values), lease_s=values[4])

    patch.setattr("gpuplug.engine.renting.StartParams", endless)


@mutant
def a_price_that_has_risen_is_taken(patch: pytest.MonkeyPatch) -> None:
    def blind(_: Linking, provider: Provider, lease: Lease, _cap: object) -> Instance:
        with contextlib.suppress(GpuplugError):
            seen = provider.show(lease.instance_id)
            if seen is not None:
                return seen
        raise GpuplugError("nothing there")

    patch.setattr(Linking, "_observe", blind)


@mutant
def a_machine_that_is_never_ready_is_left_behind(patch: pytest.MonkeyPatch) -> None:
    destroy = Renting.destroy

    def careless(self: Renting, provider: Provider, lease: Lease, *more: Any) -> Lease:  # noqa: ANN401 - as `destroy`
        return self._gone(lease) if lease.state is State.BOUND else destroy(self, provider, lease, *more)

    patch.setattr(Renting, "destroy", careless)


@mutant
def a_running_cell_keeps_no_machine(patch: pytest.MonkeyPatch) -> None:
    over = Reconciler._over
    patch.setattr(Reconciler, "_over", staticmethod(lambda lease, *more: over(replace(lease, busy=0), *more)))


@mutant
def nobody_notes_that_he_is_in_touch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Contacts, "_note", lambda *_: None)


@mutant
def a_wrong_clock_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconciling, "skew", lambda *_: "")


@mutant
def an_age_by_a_wrong_clock_is_proof(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ending, "is_wrong", lambda *_: False)


@mutant
def what_comes_up_late_is_looked_for_by_its_time(patch: pytest.MonkeyPatch) -> None:
    find = Ledger.find

    def recent(self: Ledger, label: str) -> Lease | None:
        lease = find(self, label)
        now = self._clock.now().timestamp()
        if lease is None or lease.ended is None or 0 <= now - lease.ended <= TOMBSTONE_S:
            return lease
        return None

    patch.setattr(Ledger, "find", recent)
    patch.setattr(Renting, "_ended", lambda self, _lease: self._now())


@mutant
def what_rests_is_ended_without_a_question(patch: pytest.MonkeyPatch) -> None:
    asked = {state: what for state, what in reconciling._PLAIN.items() if state is not State.STOPPED}
    patch.setattr(reconciling, "_PLAIN", asked)


@mutant
def a_rest_bills_on_when_its_budget_is_spent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rest, "over", property(lambda _: ""))


@mutant
def a_rest_is_ended_before_its_budget_is_spent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rest, "over", property(lambda _: "it rests"))


@mutant
def what_a_dead_process_held_is_held_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lease, "held", lambda self, _now: bool(self.token))
