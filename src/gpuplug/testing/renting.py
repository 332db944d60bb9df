# ruff: noqa: S101, D102 - asserts are the product, and a test's name is its sentence
"""What every adapter promises: offers, launch, list, end, connection."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from gpuplug.errors import (
    GpuplugError,
    HostError,
    HostKeyError,
    LinkError,
    NoCreditError,
    NotReadyError,
    OfferGoneError,
    ProviderError,
)
from gpuplug.testing.market import Trouble
from gpuplug.testing.promises import Promises, owed
from gpuplug.testing.sane import check_instance, check_offers
from gpuplug.testing.stage import LABEL, Stage, outcome, until
from gpuplug.testing.streams import read_all
from gpuplug.types import ZERO, GpuWish, Identity, Instance, InstanceState

NO_LABELS = ("", "mine", "gp-", "gp-../../x", "gp-a b", "gp-a\n", "gp-$(id)", "gp-" + "a" * 300)
NO_IDS = ("999999999", "nonsense", "", "../../users", "gp-none", "-1", "1?owner=you", "a\nb")
NO_GPU = "Voodoo 2 of 1998"


class Renting(Promises):
    """From a search to a proven end, with nothing wrong but what the platform itself does."""

    def test_what_it_can_do_is_told_at_once_and_never_changes(self, stage: Stage) -> None:
        traits = stage.provider.traits
        assert stage.adapter(key="").traits == traits
        assert traits.verify_gap_s >= 0
        assert traits.list_lag_s >= 0
        assert traits.increment_s >= 0
        assert traits.ready_s > 0
        assert traits.free or traits.key_names, "what costs money needs a key"

    def test_offers_make_sense_and_come_by_true_price_and_cost_nothing(self, stage: Stage) -> None:
        found = stage.provider.offers(stage.query)
        assert found.offers
        check_offers(found, stage.provider)
        assert stage.provider.offers(stage.query) == found
        assert stage.market.existing() == {}

    def test_offers_are_what_was_wished_and_nothing_else(self, stage: Stage) -> None:
        offer = stage.offer()
        wish = GpuWish(offer.gpu, offer.gpu_count)
        found = stage.provider.offers(replace(stage.query, gpus=(wish,)))
        assert found.offers
        check_offers(found, stage.provider)
        assert all(wish.matches(one.gpu, one.gpu_count) for one in found.offers)
        nothing = outcome(stage.provider.offers, replace(stage.query, gpus=(GpuWish(NO_GPU),)))
        assert isinstance(nothing, GpuplugError) or nothing.offers == ()

    def test_a_launch_makes_one_instance_that_list_and_reading_show(self, stage: Stage) -> None:
        offer = stage.offer()
        instance_id = stage.provider.launch(offer, stage.spec(), LABEL)
        assert stage.market.existing() == {instance_id: LABEL}
        instance = stage.seen(instance_id)
        (listed,) = stage.provider.instances()
        for one in (instance, listed):
            check_instance(one, stage.provider)
            assert (one.id, one.label, one.gpu, one.gpu_count) == (instance_id, LABEL, offer.gpu, offer.gpu_count)

    @owed(lambda traits: not traits.free)
    def test_the_price_of_an_offer_is_the_price_that_is_billed(self, stage: Stage) -> None:
        offer = stage.offer()
        instance = stage.seen(stage.provider.launch(offer, stage.spec(), LABEL))
        assert offer.price > ZERO
        assert abs(instance.price.micros - offer.price.micros) <= 1, f"{offer.price} offered, {instance.price} billed"

    @owed(lambda traits: traits.free)
    def test_what_is_called_free_costs_nothing(self, stage: Stage) -> None:
        assert {offer.price for offer in stage.provider.offers(stage.query).offers} == {ZERO}
        assert stage.seen(stage.launch()).price == ZERO

    @owed(lambda traits: traits.market)
    def test_a_price_that_moved_since_the_search_is_told_or_refused(self, stage: Stage) -> None:
        offer = stage.offer()
        stage.market.cause(Trouble.DRIFT)
        made = outcome(stage.provider.launch, offer, stage.spec(), LABEL)
        if isinstance(made, GpuplugError):
            assert stage.ours() == []
        else:
            assert stage.seen(made).price > offer.price

    def test_the_same_label_twice_is_refused_or_both_are_listed(self, stage: Stage) -> None:
        first = stage.launch()
        second = outcome(stage.launch)
        if isinstance(second, GpuplugError):
            assert isinstance(second, ProviderError)
            assert stage.ours() == [first]
        else:
            stage.seen(second)
            assert sorted(stage.listed()) == sorted({first, second}) == sorted(stage.ours())

    def test_a_label_that_is_not_ours_or_could_do_harm_makes_nothing(self, stage: Stage) -> None:
        offer = stage.offer()
        for label in NO_LABELS:
            made = outcome(stage.provider.launch, offer, stage.spec(), label)
            assert isinstance(made, GpuplugError), f"{label!r} was taken as a label"
        assert stage.market.existing() == {}

    def test_an_offer_that_was_taken_is_gone_and_nothing_is_made(self, stage: Stage) -> None:
        offer = stage.offer()
        stage.market.cause(Trouble.TAKEN)
        with pytest.raises(OfferGoneError):
            stage.adapter().launch(offer, stage.spec(), LABEL)
        assert stage.ours() == []

    @owed(lambda traits: not traits.free)
    def test_an_account_without_money_is_told_and_nothing_is_made(self, stage: Stage) -> None:
        offer = stage.offer()
        stage.market.cause(Trouble.NO_CREDIT)
        with pytest.raises(NoCreditError):
            stage.provider.launch(offer, stage.spec(), LABEL)
        assert stage.ours() == []

    def test_the_list_shows_only_what_is_ours_and_strangers_live_on(self, stage: Stage) -> None:
        stranger = stage.market.stranger()
        assert stage.listed() == []
        mine = stage.launch()
        stage.seen(mine)
        assert stage.listed() == [mine]
        stage.provider.terminate(mine)
        until(lambda: stage.gone(mine), "end")
        assert list(stage.market.existing()) == [stranger]

    def test_another_process_sees_and_ends_the_same_instance(self, stage: Stage) -> None:
        instance_id = stage.launch()
        stage.provider.close()
        stage.provider.close()
        assert stage.ours() == [instance_id]
        stage.provider = stage.adapter()
        stage.seen(instance_id)
        assert stage.listed() == [instance_id]
        stage.provider.terminate(instance_id)
        until(lambda: stage.gone(instance_id), "end")

    @owed(lambda traits: not traits.list_lag_s)
    def test_a_new_instance_is_listed_at_once(self, stage: Stage) -> None:
        instance_id = stage.launch()
        assert stage.listed() == [instance_id]

    @owed(lambda traits: traits.list_lag_s > 0)
    def test_what_the_list_does_not_show_yet_is_shown_after_its_lag_and_can_be_ended(self, stage: Stage) -> None:
        stage.market.cause(Trouble.LAG)
        instance_id = stage.launch()
        assert stage.listed() == []
        assert stage.ours() == [instance_id]
        stage.pass_time(stage.provider.traits.list_lag_s)
        assert stage.listed() == [instance_id]
        stage.market.cause(Trouble.LAG)
        hidden = stage.launch(LABEL + "-hidden")
        stage.provider.terminate(hidden)
        until(lambda: stage.ours() == [instance_id], "end of what is not listed")

    def test_an_end_is_seen_in_list_and_reading_and_bill_and_may_be_repeated(self, stage: Stage) -> None:
        instance_id = stage.launch()
        stage.until_state(instance_id, InstanceState.RUNNING)
        stage.provider.terminate(instance_id)
        stage.provider.terminate(instance_id)
        until(lambda: stage.gone(instance_id), "end")
        stage.provider.terminate(instance_id)
        assert stage.market.existing() == {}

    def test_an_end_while_it_boots_is_an_end(self, stage: Stage) -> None:
        instance_id = stage.launch()
        stage.provider.terminate(instance_id)
        until(lambda: stage.gone(instance_id), "end")
        assert stage.market.existing() == {}

    def test_ending_what_is_unknown_is_silent_and_ends_nothing(self, stage: Stage) -> None:
        instance_id = stage.launch()
        for unknown in NO_IDS:
            stage.provider.terminate(unknown)
            assert not isinstance(outcome(stage.provider.show, unknown), Instance), f"{unknown!r} is shown"
        assert stage.ours() == [instance_id]

    def test_what_is_unknown_is_read_as_not_there(self, stage: Stage) -> None:
        instance_id = stage.launch()
        stage.seen(instance_id)
        stage.provider.terminate(instance_id)
        until(lambda: stage.provider.show(instance_id) is None, "None for what has ended")
        assert stage.adapter().show(instance_id) is None

    def test_a_connection_runs_commands_on_the_instance(self, stage: Stage) -> None:
        connection = stage.connected(stage.launch())
        assert read_all(connection.run("echo here; exit 3")) == b"here\n"
        connection.close()

    def test_a_connection_to_what_has_ended_is_refused_or_runs_nothing(self, stage: Stage) -> None:
        instance = stage.until_state(stage.launch(), InstanceState.RUNNING)
        stage.end_all()
        told = outcome(stage.provider.connect, instance, stage.identity)
        if isinstance(told, GpuplugError):
            assert isinstance(told, NotReadyError | HostError)
        else:
            with contextlib.closing(told), contextlib.suppress(LinkError):
                assert read_all(told.run("echo here")) == b""

    @owed(lambda traits: traits.identity)
    def test_a_host_that_shows_another_key_is_refused(self, stage: Stage) -> None:
        instance_id = stage.launch()
        stage.connected(instance_id).close()
        instance = stage.seen(instance_id)
        other = Identity(stage.identity.user_key, "ssh-ed25519 " + "A" * 68)
        with pytest.raises(HostKeyError) as caught:
            stage.provider.connect(instance, other)
        assert caught.value.seen == stage.identity.host_key
