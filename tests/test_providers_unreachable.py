"""What is said of an API that does not answer, or answers nonsense: where, why, and what to do."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from providers_kit import Answer, Api, calling, serving

from gpuplug.errors import ReplyError, UnreachableError
from gpuplug.providers._calls import Call

if TYPE_CHECKING:
    from collections.abc import Iterator

PUT = Call("PUT", "/thing/", body={"a": 1})


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        yield server


def test_nobody_listening_says_that_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with calling(f"http://127.0.0.1:{port}") as client, pytest.raises(UnreachableError) as caught:
        client.send(PUT)
    assert type(caught.value) is UnreachableError
    assert caught.value.never_sent
    assert caught.value.message.startswith(f"no answer from 127.0.0.1:{port}: ")
    assert "gpuplug sandbox serve" in caught.value.hint


def test_a_server_that_speaks_no_tls_says_that_nothing_was_sent(api: Api) -> None:
    with calling(api.url.replace("http:", "https:")) as client, pytest.raises(UnreachableError) as caught:
        client.send(PUT)
    assert caught.value.never_sent


def test_a_provider_elsewhere_that_does_not_answer_has_a_hint_about_the_network() -> None:
    with calling("https://gpuplug.invalid") as client, pytest.raises(UnreachableError) as caught:
        client.send(PUT)
    assert caught.value.message.startswith("no answer from gpuplug.invalid: ")
    assert "network" in caught.value.hint


def test_a_server_that_hangs_up_is_told_in_words_that_can_be_read_on(api: Api) -> None:
    api.on("PUT /thing/", Answer(hang_up=True))
    with calling(api.url) as client, pytest.raises(UnreachableError) as caught:
        client.send(PUT)
    assert type(caught.value) is UnreachableError
    assert not caught.value.message.endswith(".")
    assert caught.value.hint


@pytest.mark.parametrize("answer", [Answer("<html>", 503), Answer("<html>"), Answer("", 302, {"Location": "/x"})])
def test_a_reply_that_makes_no_sense_says_what_to_do(api: Api, answer: Answer) -> None:
    api.on("PUT /thing/", answer)
    with calling(api.url) as client, pytest.raises(ReplyError) as caught:
        client.send(PUT)
    assert caught.value.hint
