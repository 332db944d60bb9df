# ruff: noqa: S101, D102 - asserts are the product, and a test's name is its sentence
"""What an adapter that has a key promises of it: it goes into one header to one place, and is never seen anywhere else."""

from __future__ import annotations

import json

import pytest

from gpuplug.errors import AuthError, GpuplugError, UsageError
from gpuplug.testing import damage
from gpuplug.testing.answers import over_http
from gpuplug.testing.promises import Promises
from gpuplug.testing.stage import Stage, everywhere, logged, outcome, shown
from gpuplug.testing.wire import Asked, Deliver, Fault, Told, Wire, answers, changed

WRONG_KEY = "canary-wrong-key-0123456789"
_NO_PLACES = ("http://example.invalid", "https://user:word@example.invalid", "ftp://127.0.0.1", "nonsense")


class Secrecy(Promises):
    """Whatever an API answers and wherever it points, no key gets out."""

    @over_http
    def test_the_key_goes_into_one_header_and_nowhere_else(self, stage: Stage) -> None:
        key = stage.access.key.reveal()
        with logged() as lines:
            instance_id = stage.launch()
            for verb in stage.verbs(instance_id).values():
                verb(stage.provider)
        assert any(key in asked.headers.get("authorization", "") for asked in stage.wire.seen)
        assert not any(key in everywhere(asked) for asked in stage.wire.seen)
        assert not any(key in line for line in lines)

    @over_http
    def test_a_refused_key_is_named_by_its_place_and_never_taken_for_an_end(self, stage: Stage) -> None:
        instance_id = stage.launch()
        verbs = stage.verbs_and_launch(instance_id)
        del verbs["offers"]  # prices may be told to anybody
        wrong = stage.adapter(key=WRONG_KEY)
        with logged() as lines:
            for name, verb in verbs.items():
                with pytest.raises(AuthError) as caught:
                    verb(wrong)
                assert stage.access.key_source in str(caught.value), name
                assert WRONG_KEY not in shown(caught.value), name
        assert not any(WRONG_KEY in line for line in lines)
        assert stage.ours() == [instance_id]

    @over_http
    def test_an_api_that_echoes_the_key_does_not_make_it_show(self, stage: Stage) -> None:
        key = stage.access.key.reveal()
        verbs = stage.verbs_and_launch(stage.launch())
        with logged() as lines:
            for status in (200, 400, 401, 403, 404, 418, 429, 500):
                for name, verb in verbs.items():
                    with stage.wire.striking(_echo(status), times=None):
                        told = outcome(verb, stage.adapter())
                    text = shown(told) if isinstance(told, GpuplugError) else repr(told)
                    assert key not in text, f"{name} with status {status}"
        assert not any(key in line for line in lines)

    @over_http
    def test_a_redirect_is_not_followed_and_takes_no_key_along(self, stage: Stage) -> None:
        instance_id = stage.launch()
        verbs = stage.verbs_and_launch(instance_id)
        with Wire() as trap:
            for status in (301, 302, 303, 307, 308):
                for name, verb in verbs.items():
                    with stage.wire.striking(answers(Told(status, b"", {"Location": trap.url + "/x"})), times=None):
                        told = outcome(verb, stage.provider)
                    assert isinstance(told, GpuplugError), f"{name} with status {status}"
            assert trap.seen == []
        assert stage.ours() == [instance_id]

    @over_http
    def test_an_address_in_a_reply_is_never_called_with_the_key(self, stage: Stage) -> None:
        key, instance_id = stage.access.key.reveal(), stage.launch()
        instance = stage.seen(instance_id)
        verbs = {**stage.verbs(instance_id), "logs": lambda one: one.logs(instance)}
        with Wire() as trap:
            address = json.dumps(trap.url + "/x")
            for verb in verbs.values():
                with stage.wire.striking(changed(lambda told: _strings(told, address)), times=None):
                    outcome(verb, stage.adapter())
            assert not any(key in f"{asked.headers} {everywhere(asked)}" for asked in trap.seen)

    @over_http
    def test_an_address_where_the_key_could_be_read_on_its_way_is_refused(self, stage: Stage) -> None:
        for address in _NO_PLACES:
            with pytest.raises(UsageError):
                stage.adapter(base_url=address)


def _echo(status: int) -> Fault:
    def fault(asked: Asked, _deliver: Deliver) -> Told:
        key = asked.headers.get("authorization", "")
        body = dict.fromkeys(("error", "msg", "message", "detail", "errors"), f"refused: {key}")
        return Told(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    return fault


def _strings(told: Told, text: str) -> Told:
    return damage.planted(told, [leaf for leaf in damage.leaves(told) if isinstance(leaf.value, str)], text)
