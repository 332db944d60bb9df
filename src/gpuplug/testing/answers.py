# ruff: noqa: S101, D102 - asserts are the product, and a test's name is its sentence
"""What an adapter that speaks HTTP promises when answers are lost, late, or refusals: nothing bills that nobody knows of."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading

import pytest

from gpuplug.errors import GpuplugError, NotReadyError, ProviderError, UnknownOutcomeError, UnreachableError
from gpuplug.testing import damage
from gpuplug.testing.promises import Promises, owed
from gpuplug.testing.stage import LABEL, HurriedClock, Stage, outcome
from gpuplug.testing.streams import in_thread
from gpuplug.testing.wire import Asked, Deliver, Fault, Told, answers, changed, lost_after, lost_before

over_http = owed(lambda traits: bool(traits.key_names))
_RETRY_AFTER_S = 7
_DEADLINE_S = 30.0
_BUSY = Told(500, b"Internal Server Error")
_TOO_MANY = Told(429, b"slow down", {"Retry-After": str(_RETRY_AFTER_S)})
_PAGE = damage.WHOLE["a page of HTML"]
# What can happen to the one request that makes an instance.
LAUNCH_FAULTS: dict[str, Fault] = {
    "lost before": lost_before,
    "lost after": lost_after,
    "500 before": answers(_BUSY),
    "500 after": changed(lambda _: _BUSY),
    "429 before": answers(_TOO_MANY),
    "page before": answers(_PAGE),
    "page after": changed(lambda _: _PAGE),
    "page with 403 before": answers(damage.WHOLE["a page with status 403"]),
    "page with 404 after": changed(lambda _: damage.WHOLE["a page with status 404"]),
    "redirect after": changed(lambda _: Told(307, b"", {"Location": "http://127.0.0.1:9/"})),
    "half after": changed(damage.half),
    "empty object after": changed(lambda _: damage.WHOLE["an empty object"]),
    "null after": changed(lambda _: damage.WHOLE["null"]),
}


class Answers(Promises):
    """Lost replies, interrupts, refusals and delays."""

    @over_http
    def test_a_lost_reply_to_a_launch_is_unknown_and_what_was_made_is_found_by_its_label(self, stage: Stage) -> None:
        at, _ = _creating(stage)
        offer = stage.offer()
        with stage.wire.striking(lost_after, at=at), pytest.raises(UnknownOutcomeError) as caught:
            stage.provider.launch(offer, stage.spec(), LABEL)
        assert LABEL in str(caught.value)
        (made,) = stage.ours()
        assert stage.seen(made).label == LABEL
        assert [(one.id, one.label) for one in stage.adapter().instances()] == [(made, LABEL)]

    @over_http
    def test_a_create_is_sent_once_whatever_is_answered(self, stage: Stage) -> None:
        at, _ = _creating(stage)
        for name, fault in LAUNCH_FAULTS.items():
            offer = stage.offer()
            with stage.wire.striking(fault, at=at, times=None) as seen:
                outcome(stage.adapter().launch, offer, stage.spec(), LABEL)
            create, *later = seen[at:]
            again = [one for one in later if (one.method, one.path) == (create.method, create.path)]
            assert not again, f"{name}: the create was sent {len(again) + 1} times"
            stage.end_all()

    @over_http
    def test_no_fault_in_a_launch_leaves_an_instance_that_nobody_knows_of(self, stage: Stage) -> None:
        _, requests = _creating(stage)
        for at in range(requests):
            for name, fault in LAUNCH_FAULTS.items():
                offer = stage.offer()
                with stage.wire.striking(fault, at=at):
                    told = outcome(stage.adapter().launch, offer, stage.spec(), LABEL)
                made = stage.ours()
                assert len(made) <= 1, f"{name}: {len(made)} instances of one launch"
                if isinstance(told, str):
                    assert made == [told], f"{name}: {told!r} was returned, {made} exists"
                elif not isinstance(told, UnknownOutcomeError):
                    assert not made, f"{name}: {type(told).__name__}, and {made} exists"
                stage.end_all()

    @over_http
    def test_an_interrupt_in_a_launch_gets_through_and_what_was_made_is_found(self, stage: Stage) -> None:
        at, _ = _creating(stage)
        offer = stage.offer()
        with stage.wire.striking(_interrupted, at=at), pytest.raises(KeyboardInterrupt):
            stage.provider.launch(offer, stage.spec(), LABEL)
        (made,) = stage.ours()
        stage.seen(made)
        assert stage.listed(stage.adapter()) == [made]

    @over_http
    def test_a_lost_answer_to_an_end_may_be_asked_again(self, stage: Stage) -> None:
        for fault in (lost_before, lost_after, changed(lambda _: _PAGE), answers(_BUSY)):
            instance_id = stage.launch()
            with stage.wire.striking(fault, times=None), contextlib.suppress(ProviderError):
                stage.provider.terminate(instance_id)
            stage.provider.terminate(instance_id)
            assert stage.gone(instance_id)

    @over_http
    def test_an_end_that_was_accepted_and_not_done_is_still_listed(self, stage: Stage) -> None:
        accepted: list[Told] = []

        def keeping(_asked: Asked, deliver: Deliver) -> Told:
            accepted.append(deliver())
            return accepted[-1]

        stage.launch()
        with stage.wire.striking(keeping, times=None):
            stage.end_all()
        instance_id = stage.launch()
        stage.seen(instance_id)
        with stage.wire.striking(answers(accepted[0]), times=None), contextlib.suppress(ProviderError):
            stage.provider.terminate(instance_id)
        assert stage.listed() == stage.ours() == [instance_id]
        assert stage.provider.show(instance_id) is not None

    @over_http
    def test_where_nothing_answers_is_said_and_a_launch_has_made_nothing(self, stage: Stage) -> None:
        verbs = stage.verbs_and_launch("1")
        with socket.create_server(("127.0.0.1", 0)) as closed:
            address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        nobody = stage.adapter(base_url=address)
        for verb in verbs.values():
            with pytest.raises(UnreachableError, match=r"127\.0\.0\.1"):
                verb(nobody)

    @over_http
    def test_too_many_requests_are_waited_for_as_long_as_is_asked_or_told(self, stage: Stage) -> None:
        offer, instance_id = stage.offer(), stage.launch()
        for name, verb in stage.verbs(instance_id).items():
            before = stage.clock.monotonic()
            # Twice: a log that the verb before left unread may arrive late and take one.
            with stage.wire.striking(answers(_TOO_MANY), times=2):
                told = outcome(verb, stage.adapter())
            waited = told.retry_after if isinstance(told, NotReadyError) else stage.clock.monotonic() - before
            assert waited >= _RETRY_AFTER_S, f"{name}: {told!r} after {waited} s"
        with stage.wire.striking(answers(_TOO_MANY), times=None), pytest.raises(NotReadyError) as caught:
            stage.adapter().launch(offer, stage.spec(), LABEL + "-2")
        assert caught.value.retry_after >= _RETRY_AFTER_S
        assert stage.ours() == []

    @over_http
    def test_a_failure_of_the_server_is_tried_again_where_that_is_safe(self, stage: Stage) -> None:
        instance_id = stage.launch()
        stage.seen(instance_id)
        for name, verb in stage.verbs(instance_id).items():
            with stage.wire.striking(answers(_BUSY), times=2) as seen:
                assert not isinstance(outcome(verb, stage.adapter()), GpuplugError), name
            assert len(seen) >= 3, name  # noqa: PLR2004 - two failures and a success

    @over_http
    def test_a_reply_that_drips_ends_at_the_deadline(self, stage: Stage) -> None:
        instance_id = stage.launch()
        verbs = stage.verbs_and_launch(instance_id)
        hurried = stage.adapter(clock=HurriedClock())
        with stage.wire.striking(answers(Told(200, pieces=damage.drip)), times=None) as seen:
            for name, verb in verbs.items():
                before = len(seen)
                told = in_thread(lambda one=verb: outcome(one, hurried)).result(_DEADLINE_S)  # type: ignore[misc]
                wanted = UnknownOutcomeError if name == "launch" and len(seen) > before else UnreachableError
                assert isinstance(told, wanted), f"{name}: {told!r}"


def _creating(stage: Stage) -> tuple[int, int]:
    """Launch once with nothing wrong; return which request made the instance, and how many requests there were."""
    offer = stage.offer()
    existing: list[int] = []
    stage.wire.delivered = lambda: existing.append(len(stage.ours()))
    with stage.wire.striking(lost_before, times=0) as seen:
        stage.provider.launch(offer, stage.spec(), LABEL)
    stage.wire.delivered = lambda: None
    stage.end_all()
    return existing.index(1), len(seen)


def _interrupted(_asked: Asked, deliver: Deliver) -> None:
    """Do it, and press Ctrl-C where the adapter waits for the reply."""
    deliver()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
