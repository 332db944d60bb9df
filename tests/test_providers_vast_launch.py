"""Renting and ending at Vast.ai: every answer that can be got for money, and what it is taken for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from providers_kit import KEY, Answer, access
from switch_kit import assignments
from vast_kit import ASK, DELETE, LABEL, NO_SUCH_ASK, offer, scripted, spec

from gpuplug.errors import (
    AuthError,
    NoCreditError,
    NotReadyError,
    OfferGoneError,
    ProviderError,
    UnknownOutcomeError,
    UnreachableError,
    UsageError,
)
from gpuplug.providers import load
from gpuplug.providers.vast import VastProvider
from gpuplug.types import Money, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

    from providers_kit import Api

    from gpuplug.testing import FakeClock

Parts = tuple["Api", VastProvider, "FakeClock"]
MADE = {"success": True, "new_contract": 7001, "instance_api_key": "f" * 64}


@pytest.fixture
def market() -> Iterator[Parts]:
    with scripted() as parts:
        yield parts


def refuse(error: str, msg: str = "", status: int = 400) -> Answer:
    return Answer({"success": False, "error": error, "msg": msg}, status)


def test_what_is_sent_to_rent(market: Parts) -> None:
    api, vast, _ = market
    api.on(ASK, Answer(MADE))
    assert vast.launch(offer(), spec(), LABEL) == "7001"
    (sent,) = api.calls("PUT")
    body = sent.json
    onstart = body.pop("onstart")
    assert body == {
        "client_id": "me",
        "image": "pytorch/pytorch:2.7.0",
        "env": {},
        "price": None,
        "disk": 20.0,
        "label": LABEL,
        "runtype": "ssh_direc ssh_proxy",
        "cancel_unavail": True,
    }
    assert len(onstart) <= 4048
    set_there = assignments(onstart)
    address = [set_there[name] for name in ("GP_URL_HEAD", "GP_ID_VAR", "GP_URL_TAIL")]
    assert address == [f"{api.url}/api/v0/instances/", "CONTAINER_ID", "/"]
    assert KEY not in sent.body.decode()


def test_a_disk_below_the_least_size_is_rented_at_the_least_size(market: Parts) -> None:
    api, vast, _ = market
    api.on(ASK, Answer(MADE))
    small = spec()
    vast.launch(offer(), Spec(small.image, 2, Money.dollars(1), small.start), LABEL)
    assert api.calls("PUT")[0].json["disk"] == 8.0


@pytest.mark.parametrize("status", [200, 400])
def test_an_instance_that_exists_is_returned_although_success_is_false(market: Parts, status: int) -> None:
    api, vast, _ = market
    api.on(ASK, Answer({"success": False, "msg": "bid insufficient", "new_contract": 7001}, status))
    assert vast.launch(offer(), spec(), LABEL) == "7001"


@pytest.mark.parametrize(
    "answer",
    [
        Answer({"success": False, "error": "invalid_args", "msg": NO_SUCH_ASK, "ask_id": 44173797}, 400),
        refuse("no_such_ask", "Instance type by id 44173797 is not available.", 404),
        refuse("no_such_ask", "error 410/3907: ask 44173797 is no longer available.", 410),
    ],
)
def test_a_taken_offer_is_known_by_its_words(market: Parts, answer: Answer) -> None:
    api, vast, _ = market
    api.on(ASK, answer)
    with pytest.raises(OfferGoneError):
        vast.launch(offer(), spec(), LABEL)
    assert len(api.calls("PUT")) == 1


def test_no_credit_names_the_billing_page(market: Parts) -> None:
    api, vast, _ = market
    api.on(ASK, refuse("insufficient_credit", "Your account lacks credit; see the billing page."))
    with pytest.raises(NoCreditError) as caught:
        vast.launch(offer(), spec(), LABEL)
    assert "https://cloud.vast.ai/billing/" in caught.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        refuse("auth_error", "Invalid user key", 401),
        refuse("auth_error", "Invalid user key", 404),
        refuse("", "Session expired. Please log in again.", 404),
        refuse("not_authorized", "scope", 403),
    ],
)
def test_a_bad_key_names_the_place_it_was_read_from(market: Parts, answer: Answer) -> None:
    api, vast, _ = market
    api.on(ASK, answer)
    with pytest.raises(AuthError, match="the environment variable VAST_API_KEY") as caught:
        vast.launch(offer(), spec(), LABEL)
    assert KEY not in str(caught.value) + repr(caught.value)


def test_any_other_clean_refusal_says_what_the_provider_said(market: Parts) -> None:
    api, vast, _ = market
    api.on(ASK, refuse("invalid_price", "price too\x1b[2J low"))
    with pytest.raises(ProviderError, match=r"status 400: invalid_price: price too\[2J low") as caught:
        vast.launch(offer(), spec(), LABEL)
    assert type(caught.value) is ProviderError


def cut_after_commit(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"success": true, "new_con')


@pytest.mark.parametrize(
    "answer",
    [
        Answer(hang_up=True),
        Answer(raw=cut_after_commit),
        Answer("<html>Bad gateway</html>", 502),
        refuse("server_error", status=500),
        Answer("<html>Welcome</html>"),
        Answer('{"success": true, "new_con'),
        Answer({"success": True}),
        Answer({"success": True, "new_contract": None}),
        Answer({"success": True, "new_contract": "../7"}),
        Answer({"success": True, "new_contract": True}),
        Answer('{"new_contract": 1, "new_contract": 2}'),
        Answer({"success": False, "error": "what", "msg": "ever"}),
        Answer([]),
        Answer("", 302, {"Location": "/elsewhere"}),
        Answer("<html>Request timeout</html>", 408),
        Answer("<html>Forbidden</html>", 403),
    ],
)
def test_every_answer_that_proves_nothing_is_an_unknown_outcome_and_is_sent_once(market: Parts, answer: Answer) -> None:
    api, vast, _ = market
    api.on(ASK, answer)
    with pytest.raises(UnknownOutcomeError, match=LABEL):
        vast.launch(offer(), spec(), LABEL)
    assert len(api.calls("PUT")) == 1


def test_the_rate_limit_is_a_clean_refusal(market: Parts) -> None:
    api, vast, _ = market
    api.on(ASK, Answer("API requests too frequent: endpoint threshold=4.5", 429))
    with pytest.raises(NotReadyError, match="threshold=4"):
        vast.launch(offer(), spec(), LABEL)
    assert len(api.calls("PUT")) == 1


def test_without_a_connection_nothing_was_made() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    vast = VastProvider(access(f"http://127.0.0.1:{port}"))
    with pytest.raises(UnreachableError):
        vast.launch(offer(), spec(), LABEL)
    vast.close()


@pytest.mark.parametrize("label", ["", "mine", "gp-", "gp-a b", "gp-a\n", 'gp-"', "gp-" + "x" * 300, "gp-$(id)"])
def test_a_label_that_could_not_be_found_again_is_refused(market: Parts, label: str) -> None:
    api, vast, _ = market
    with pytest.raises(UsageError):
        vast.launch(offer(), spec(), label)
    assert not api.seen


@pytest.mark.parametrize("offer_id", ["", "../1", "1?x=1", "abc", "-1", "1/../2"])
def test_an_offer_of_another_kind_is_refused(market: Parts, offer_id: str) -> None:
    api, vast, _ = market
    with pytest.raises(UsageError):
        vast.launch(offer(offer_id), spec(), LABEL)
    assert not api.seen


@pytest.mark.parametrize("image", ["", "-v", "a b", "a;b", "$(id)", "a\nb"])
def test_an_image_that_is_no_name_is_refused(market: Parts, image: str) -> None:
    api, vast, _ = market
    with pytest.raises(UsageError):
        vast.launch(offer(), Spec(image, 20, Money.dollars(1), spec().start), LABEL)
    assert not api.seen


@pytest.mark.parametrize(
    "answer",
    [
        Answer({"success": True}),
        Answer({"success": True, "msg": "destroyed"}),
        refuse("no_such_instance", "Instance 7001 not found", 404),
    ],
)
def test_ending_an_instance_is_silent_also_when_it_is_gone(market: Parts, answer: Answer) -> None:
    api, vast, _ = market
    api.on(DELETE, answer)
    vast.terminate("7001")
    assert len(api.calls("DELETE")) == 1


def test_ending_is_repeated_over_errors_and_a_lost_answer_counts_as_gone(market: Parts) -> None:
    api, vast, _ = market
    api.on(DELETE, Answer("", 500), refuse("no_such_instance", status=404))
    vast.terminate("7001")
    assert len(api.calls("DELETE")) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refuse("auth_error", "Invalid user key", 404), AuthError),
        (refuse("not_found", status=404), ProviderError),
        (Answer({"success": False, "error": "busy"}), ProviderError),
        (Answer("", 500), ProviderError),
        (Answer(hang_up=True), UnreachableError),
    ],
)
def test_an_end_that_was_not_accepted_is_an_error(market: Parts, answer: Answer, kind: type[Exception]) -> None:
    api, vast, _ = market
    api.on(DELETE, answer)
    with pytest.raises(kind):
        vast.terminate("7001")


@pytest.mark.parametrize("instance_id", ["", "../users", "7001/", "no-such-thing", "0", "-7"])
def test_an_id_that_cannot_exist_is_unknown_without_a_call(market: Parts, instance_id: str) -> None:
    api, vast, _ = market
    vast.terminate(instance_id)
    assert vast.show(instance_id) is None
    assert not api.seen


def test_on_this_computer_waits_are_short_and_the_market_is_simulated(market: Parts) -> None:
    _, vast, _ = market
    traits = vast.traits
    assert (traits.simulated, traits.list_lag_s, traits.verify_gap_s) == (True, 1.0, 0.5)
    assert (traits.stop, traits.logs, traits.self_destroy, traits.key_names) == (True, True, True, ("VAST_API_KEY",))


def test_the_real_market_has_the_real_waits() -> None:
    vast = load("vast", access("https://console.vast.ai"))
    assert isinstance(vast, VastProvider)
    assert (vast.traits.simulated, vast.traits.list_lag_s, vast.traits.verify_gap_s) == (False, 60.0, 30.0)
    assert vast.traits.ready_s == 90.0
    assert vast.traits.console_url.startswith("https://")
    vast.close()


def test_a_market_without_tls_elsewhere_is_refused() -> None:
    with pytest.raises(UsageError, match="neither https"):
        VastProvider(access("http://console.vast.ai"))
