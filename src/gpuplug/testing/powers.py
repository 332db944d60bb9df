# ruff: noqa: S101, D102 - asserts are the product, and a test's name is its sentence
"""Powers that not every platform has: a claimed one is demanded, of one that is not claimed the refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuplug.errors import AuthError, GpuplugError, NotReadyError, UsageError
from gpuplug.providers import accountable, pausable
from gpuplug.testing.market import Trouble
from gpuplug.testing.promises import Promises, owed
from gpuplug.testing.sane import check_offers
from gpuplug.testing.stage import LABEL, Stage, outcome, until
from gpuplug.testing.streams import read_all
from gpuplug.types import ZERO, Account, InstanceState, Money, Query

# Where the agent has the files of notebooks.
_WORK = "~/gpuplug/suite"
_LEAST_VOLUME_GB = 10


class Powers(Promises):
    """What `Traits` claims is there, and what it does not claim is refused in plain words."""

    @owed(lambda traits: traits.stop)
    def test_an_instance_rests_at_its_lower_price_and_comes_back_with_its_disk(self, stage: Stage) -> None:
        stage.query = _with_a_lasting_disk(stage)
        provider, offer = pausable(stage.provider), stage.offer()
        instance_id = provider.launch(offer, stage.spec(), LABEL)
        assert (
            _said(stage, instance_id, f"mkdir -p {_WORK} && echo kept > {_WORK}/kept && cat {_WORK}/kept") == b"kept\n"
        )
        provider.stop(instance_id)
        provider.stop(instance_id)
        resting = stage.until_state(instance_id, InstanceState.STOPPED)
        assert abs(resting.price.micros - offer.stopped_price.micros) <= 1
        assert resting.price < offer.price
        assert stage.listed() == stage.ours() == [instance_id]
        until(lambda: not isinstance(outcome(provider.start, instance_id), NotReadyError), "start")
        provider.start(instance_id)
        assert _said(stage, instance_id, f"cat {_WORK}/kept") == b"kept\n"

    @owed(lambda traits: traits.stop)
    def test_an_instance_that_rests_can_be_ended(self, stage: Stage) -> None:
        stage.query = _with_a_lasting_disk(stage)
        provider = pausable(stage.provider)
        instance_id = stage.launch()
        stage.until_state(instance_id, InstanceState.RUNNING)
        provider.stop(instance_id)
        stage.until_state(instance_id, InstanceState.STOPPED)
        provider.terminate(instance_id)
        until(lambda: stage.gone(instance_id), "end")

    @owed(lambda traits: not traits.stop)
    def test_rest_is_refused_where_it_would_lose_the_disk(self, stage: Stage) -> None:
        with pytest.raises(UsageError, match=stage.provider.name):
            pausable(stage.provider)
        assert not hasattr(stage.provider, "stop"), "a power that is not claimed"

    @owed(lambda traits: traits.spot)
    def test_a_spot_machine_that_is_outbid_is_seen_to_run_no_more(self, stage: Stage) -> None:
        found = stage.provider.offers(replace(stage.query, spot=True))
        check_offers(found, stage.provider)
        assert found.offers
        assert all(offer.spot for offer in found.offers)
        offer = next(offer for offer in found.offers if not offer.suspicious)
        instance_id = stage.provider.launch(offer, stage.spec(bid=offer.min_bid), LABEL)
        assert stage.until_state(instance_id, InstanceState.RUNNING).spot
        stage.market.cause(Trouble.OUTBID, instance_id)

        def preempted() -> bool:
            instance = stage.provider.show(instance_id)
            return instance is None or (instance.spot and instance.state is InstanceState.STOPPED)

        until(preempted, "preemption")

    @owed(lambda traits: not traits.spot)
    def test_a_wish_for_spot_finds_nothing_where_there_is_none(self, stage: Stage) -> None:
        found = outcome(stage.provider.offers, replace(stage.query, spot=True))
        assert isinstance(found, GpuplugError) or found.offers == ()

    @owed(lambda traits: traits.account)
    def test_the_account_can_be_read(self, stage: Stage) -> None:
        reader = accountable(stage.provider)
        assert reader is not None
        account = reader.account()
        assert isinstance(account, Account)
        assert account.balance is None or isinstance(account.balance, Money)
        assert all(isinstance(scope, str) for scope in account.scopes)
        refused = accountable(stage.adapter(key="canary-wrong-key-0123456789"))
        assert refused is not None
        with pytest.raises(AuthError):
            refused.account()

    @owed(lambda traits: not traits.account)
    def test_an_account_that_cannot_be_read_is_not_pretended(self, stage: Stage) -> None:
        assert accountable(stage.provider) is None
        assert not hasattr(stage.provider, "account"), "a power that is not claimed"

    @owed(lambda traits: bool(traits.key_names) and traits.keyless_prices)
    def test_prices_are_told_to_who_has_no_key(self, stage: Stage) -> None:
        found = stage.adapter(key="").offers(stage.query)
        assert found.offers
        check_offers(found, stage.provider)

    @owed(lambda traits: bool(traits.key_names) and not traits.keyless_prices)
    def test_without_a_key_a_search_names_what_is_missing(self, stage: Stage) -> None:
        with pytest.raises(AuthError):
            stage.adapter(key="").offers(stage.query)

    @owed(lambda traits: traits.logs)
    def test_the_log_names_the_host_key_with_the_nonce(self, stage: Stage) -> None:
        instance = stage.until_state(stage.launch(), InstanceState.RUNNING)
        until(lambda: stage.host_line in stage.provider.logs(instance).splitlines(), "host key in the log")

    @owed(lambda traits: not traits.logs)
    def test_a_log_that_does_not_exist_is_empty(self, stage: Stage) -> None:
        assert stage.provider.logs(stage.seen(stage.launch())) == ""

    @owed(lambda traits: traits.self_destroy)
    def test_an_instance_with_which_nobody_is_in_touch_ends_itself(self, stage: Stage) -> None:
        instance_id = stage.provider.launch(stage.offer(), stage.spec(lease_s=2), LABEL)
        until(lambda: stage.gone(instance_id), "end by itself")

    @owed(lambda traits: not traits.self_destroy)
    def test_a_reading_or_a_listing_ends_nothing(self, stage: Stage) -> None:
        instance_id = stage.launch()
        stage.pass_time(86_400)
        assert stage.seen(instance_id).price >= ZERO
        assert stage.listed() == [instance_id]


def _with_a_lasting_disk(stage: Stage) -> Query:
    """Return the search for a machine whose disk outlives a stop."""
    volume = 0 if stage.provider.traits.stop_keeps_disk else _LEAST_VOLUME_GB
    return replace(stage.query, volume_gb=volume)


def _said(stage: Stage, instance_id: str, command: str) -> bytes:
    connection = stage.connected(instance_id)
    said = read_all(connection.run(command))
    connection.close()
    return said
