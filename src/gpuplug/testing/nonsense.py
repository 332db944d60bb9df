# ruff: noqa: S101, D102 - asserts are the product, and a test's name is its sentence
"""What an adapter that speaks HTTP makes of replies that make no sense: a typed error, or a row less that is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug.errors import GpuplugError, ProviderError
from gpuplug.testing import damage
from gpuplug.testing.answers import over_http
from gpuplug.testing.promises import Promises
from gpuplug.testing.sane import check_instance, check_offers
from gpuplug.testing.stage import LABEL, Stage, outcome
from gpuplug.testing.wire import Asked, Deliver, Fault, Told, answers, changed
from gpuplug.types import Instance, OfferList, Query

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from gpuplug.testing.stage import Verb

_SHOWN = 40


class Nonsense(Promises):
    """No damage is taken for a fact, and none is a crash."""

    @over_http
    def test_a_reply_that_is_no_reply_is_a_typed_error_and_never_a_fact(self, stage: Stage) -> None:
        verbs = stage.verbs(stage.launch())
        whole = {name: answers(told) for name, told in damage.WHOLE.items()}
        whole |= {
            "half of the reply": changed(damage.half),
            "a reply without end": answers(Told(200, pieces=damage.endless)),
            "a bomb": answers(damage.bomb()),
        }
        for verb_name, verb in verbs.items():
            for name, fault in whole.items():
                with stage.wire.striking(fault, times=None):
                    told = outcome(verb, stage.adapter())
                if verb_name != "terminate":  # its answer proves nothing, whatever it is
                    assert isinstance(told, ProviderError), f"{verb_name} takes {name} for {told!r}"

    @over_http
    def test_an_offer_of_nonsense_is_dropped_and_counted_and_hides_no_other(self, stage: Stage) -> None:
        baseline = _offers(stage, damage.without_first)
        for text in damage.HOSTILE:
            found = _offers(stage, lambda told, new=text: damage.planted(told, damage.leaves(told), new))  # type: ignore[misc]
            check_offers(found, stage.provider)
            assert set(baseline.offers) <= set(found.offers), f"{text[:_SHOWN]} hides other offers"
            assert found.dropped > baseline.dropped or len(found.offers) > len(baseline.offers), "a row is not counted"

    @over_http
    def test_an_absurd_price_is_suspicious_and_never_comes_first(self, stage: Stage) -> None:
        for damaged, what in _each_damage(stage, lambda one: one.offers(_anything(stage))):
            with stage.wire.striking(damaged, times=None):
                found = outcome(stage.provider.offers, _anything(stage))
            assert isinstance(found, OfferList), f"{what}: {found!r}"
            check_offers(found, stage.provider)

    @over_http
    def test_a_damaged_list_of_instances_is_an_error_or_lacks_none(self, stage: Stage) -> None:
        labels = [LABEL, LABEL + "-2"]
        for label in labels:
            stage.seen(stage.launch(label))
        for damaged, what in _each_damage(stage, lambda one: one.instances(), keep=labels):
            with stage.wire.striking(damaged, times=None):
                found = outcome(stage.provider.instances)
            if not isinstance(found, GpuplugError):
                for instance in found:
                    check_instance(instance, stage.provider)
                assert len(found) == len(labels), what

    @over_http
    def test_a_damaged_reading_is_never_taken_for_an_end(self, stage: Stage) -> None:
        instance_id = stage.launch()
        stage.seen(instance_id)
        for damaged, what in _each_damage(stage, lambda one: one.show(instance_id)):
            with stage.wire.striking(damaged, times=None):
                found = outcome(stage.provider.show, instance_id)
            assert isinstance(found, Instance | ProviderError), f"{what}: {found!r}"
            if isinstance(found, Instance):
                check_instance(found, stage.provider)
                assert found.id == instance_id, what


def _anything(stage: Stage) -> Query:
    """Return the search for any GPU: the first rows of the reply must be among its offers."""
    return replace(stage.query, gpus=())


def _offers(stage: Stage, change: Callable[[Told], Told]) -> OfferList:
    """Return the offers of a reply whose first rows `change` has damaged."""
    with stage.wire.striking(changed(lambda told: change(damage.few(told))), times=None):
        return stage.provider.offers(_anything(stage))


def _each_damage(stage: Stage, verb: Verb, keep: Collection[object] = ()) -> Iterator[tuple[Fault, str]]:
    """Yield faults that put hostile values into the first row of what answers `verb`, each with what it does.

    Numbers get every number that makes no sense, everything else a choice that changes from value to value; values in
    `keep` stay: without them nobody could know whose row it is.
    """
    replies: list[tuple[Asked, Told]] = []

    def keeping(asked: Asked, deliver: Deliver) -> Told:
        replies.append((asked, damage.few(deliver())))
        return replies[-1][1]

    with stage.wire.striking(keeping, times=None):
        verb(stage.provider)
    wanted, told = max(replies, key=lambda reply: len(damage.leaves(reply[1])))
    for number, leaf in enumerate(damage.leaves(told)):
        if leaf.value in keep:
            continue
        for text in damage.NUMBERS if damage.is_number(leaf.value) else damage.HOSTILE[number % 3 :: 3]:
            yield _in_place_of(wanted, damage.planted(told, [leaf], text)), f"{leaf.path} = {text[:_SHOWN]}"


def _in_place_of(wanted: Asked, told: Told) -> Fault:
    return lambda asked, deliver: told if asked.same(wanted) else deliver()
