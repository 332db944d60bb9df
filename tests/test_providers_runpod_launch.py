"""Renting and ending at RunPod: every answer that can be got for money, and what it is taken for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from providers_kit import KEY, Answer
from runpod_rows_kit import (
    CREATE,
    DELETE,
    GPU,
    GRAPHQL,
    LABEL,
    NO_CAPACITY,
    POD,
    VOLUME,
    access,
    offer,
    pod_row,
    problem,
    schema,
    scripted,
    spec,
)
from switch_kit import assignments

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
from gpuplug.providers.runpod import RunpodProvider
from gpuplug.testing import FakeClock
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

    from providers_kit import Api

Parts = tuple["Api", RunpodProvider, FakeClock]
MOST_BODY = 102_400
SPOT_BID = Money.dollars("1.0")


@pytest.fixture
def market() -> Iterator[Parts]:
    with scripted() as parts:
        yield parts


def sent(api: Api) -> dict[str, Any]:
    (seen,) = api.calls("POST")
    assert KEY not in seen.body.decode()
    assert len(seen.body) < MOST_BODY
    body: dict[str, Any] = seen.json
    return body


def test_what_is_sent_to_rent(market: Parts) -> None:
    api, runpod, _ = market
    api.on(CREATE, Answer(pod_row(status="PROVISIONING", runtime=None), 201))
    wanted = spec()
    assert runpod.launch(offer(), wanted, LABEL) == POD
    body = sent(api)
    shell, script = body.pop("cmd")
    assert body == {
        "name": LABEL,
        "image": "pytorch/pytorch:2.7.0",
        "cloud": "SECURE",
        "gpu": {"id": GPU, "count": 1},
        "disk": 20,
        "ports": ["22/tcp"],
        "env": {"GPUPLUG_ID": LABEL, "PUBLIC_KEY": wanted.start.user_key, "RUNPOD_POD_USER": "0"},
        "entrypoint": ["/bin/sh"],
    }
    assert shell == "-c"
    set_there = assignments(script)
    address = [set_there[name] for name in ("GP_URL_HEAD", "GP_ID_VAR", "GP_KEY_VAR")]
    assert address == [f"{api.url}/v2/pods/", "RUNPOD_POD_ID", "RUNPOD_API_KEY"]
    assert "GP_URL_TAIL" not in set_there


def test_the_body_has_no_field_that_the_published_description_lacks(market: Parts) -> None:
    api, runpod, _ = market
    api.on(CREATE, Answer(pod_row(), 201))
    runpod.launch(offer(), spec(volume_gb=20), LABEL)
    described: set[str] = {"entrypoint", "cmd"}  # newer than the description; its overlay has them
    for part in (schema("CreatePodRequest"), schema("ContainerConfig"), schema("BaseContainerConfig")):
        for one in part.get("allOf", [part]):
            described |= set(one.get("properties", {}))
    assert set(sent(api)) <= described


def test_a_volume_of_its_own_is_mounted(market: Parts) -> None:
    api, runpod, _ = market
    api.on(CREATE, Answer(pod_row(), 201))
    runpod.launch(offer(), spec(volume_gb=30), LABEL)
    body = sent(api)
    assert body["mounts"] == {"persistent": {"size": 30, "path": "/workspace"}}
    assert f'GP_KEEP="${{GP_VOLUME:-/workspace}}/.gpuplug/{LABEL}"' in body["cmd"][1]


def test_a_network_volume_pins_the_data_center(market: Parts) -> None:
    api, runpod, _ = market
    api.on(VOLUME, Answer({"id": "agv6w2qcg7", "name": "d", "size": 50, "dataCenter": "EU-RO-1", "type": "STANDARD"}))
    api.on(CREATE, Answer(pod_row(), 201))
    runpod.launch(offer(), spec(network_volume="agv6w2qcg7"), LABEL)
    body = sent(api)
    assert body["mounts"] == {"network": [{"volumeId": "agv6w2qcg7", "path": "/workspace"}]}
    assert body["dataCenterIds"] == ["EU-RO-1"]


def test_a_region_pins_the_data_centers_of_it(market: Parts) -> None:
    api, runpod, _ = market
    api.on(CREATE, Answer(pod_row(), 201))
    runpod.launch(replace(offer(), places=("EU-RO-1", "EU-SE-1")), spec(), LABEL)
    assert sent(api)["dataCenterIds"] == ["EU-RO-1", "EU-SE-1"]


@pytest.mark.parametrize("detail", [NO_CAPACITY, "This machine does not have the resources to deploy your pod."])
def test_nothing_free_is_known_by_its_words(market: Parts, detail: str) -> None:
    api, runpod, _ = market
    api.on(CREATE, problem(400, detail))
    with pytest.raises(OfferGoneError):
        runpod.launch(offer(), spec(), LABEL)
    assert len(api.calls("POST")) == 1


def test_a_broken_rule_is_not_taken_for_nothing_free(market: Parts) -> None:
    api, runpod, _ = market
    api.on(CREATE, problem(400, "Registry auth not found"))
    with pytest.raises(ProviderError, match="status 400: Registry auth not found") as caught:
        runpod.launch(offer(), spec(), LABEL)
    assert type(caught.value) is ProviderError


def test_no_credit_names_the_billing_page(market: Parts) -> None:
    api, runpod, _ = market
    api.on(CREATE, problem(402, "Your account balance is too low to rent a pod"))
    with pytest.raises(NoCreditError, match="too low") as caught:
        runpod.launch(offer(), spec(), LABEL)
    assert "https://console.runpod.io/user/billing" in caught.value.hint


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (problem(422, "validation failed", "$: additional properties 'x' not allowed"), "additional properties 'x'"),
        (problem(413, "request body too large"), "too large"),
        (Answer("<html>413</html>", 413), "413"),
    ],
)
def test_what_the_service_cannot_read_is_our_fault_and_said_to_be(market: Parts, answer: Answer, said: str) -> None:
    api, runpod, _ = market
    api.on(CREATE, answer)
    with pytest.raises(ProviderError, match="a fault of gpuplug") as caught:
        runpod.launch(offer(), spec(), LABEL)
    assert said in caught.value.message


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted_made_nothing(market: Parts, status: int) -> None:
    api, runpod, _ = market
    api.on(CREATE, problem(status, "missing bearer token"))
    with pytest.raises(ProviderError, match="the environment variable RUNPOD_API_KEY") as caught:
        runpod.launch(offer(), spec(), LABEL)
    assert isinstance(caught.value, AuthError) == (status == 401)


def test_too_many_requests_is_refused_before_anything_is_made(market: Parts) -> None:
    api, runpod, _ = market
    refused = problem(429, "rate limit exceeded")
    refused.headers["Retry-After"] = "7"
    api.on(CREATE, refused)
    with pytest.raises(NotReadyError, match="rate limit exceeded") as caught:
        runpod.launch(offer(), spec(), LABEL)
    assert caught.value.retry_after == 7
    assert len(api.calls("POST")) == 1


def cut_after_commit(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b'HTTP/1.1 201 Created\r\nContent-Length: 900\r\n\r\n{"id": "7h9k')


@pytest.mark.parametrize(
    "answer",
    [
        Answer(hang_up=True),
        Answer(raw=cut_after_commit),
        problem(500, "internal error"),
        Answer("<html>Bad gateway</html>", 502),
        Answer("<html>Welcome</html>"),
        Answer('{"id": "7h9k', 201),
        Answer({}, 201),
        Answer({"id": None}, 201),
        Answer({"id": "../pods"}, 201),
        Answer('{"id": "a", "id": "b"}', 201),
        Answer("<html>Conflict</html>", 409),
    ],
)
def test_everything_that_is_no_clean_refusal_leaves_the_outcome_unknown(market: Parts, answer: Answer) -> None:
    api, runpod, _ = market
    api.on(CREATE, answer)
    with pytest.raises(UnknownOutcomeError, match=LABEL):
        runpod.launch(offer(), spec(), LABEL)
    assert len(api.calls("POST")) == 1


def test_a_request_that_never_left_made_nothing() -> None:
    runpod = RunpodProvider(access("http://127.0.0.1:9", FakeClock()))
    with pytest.raises(UnreachableError) as caught:
        runpod.launch(offer(), spec(), LABEL)
    assert not isinstance(caught.value, UnknownOutcomeError)
    runpod.close()


@pytest.mark.parametrize("bad", ["44173797", "", f"{GPU}/ANY", "a;b/SECURE", f"{GPU}$(id)/SECURE"])
def test_what_is_no_offer_is_refused_without_a_call(market: Parts, bad: str) -> None:
    api, runpod, _ = market
    with pytest.raises(UsageError):
        runpod.launch(offer(bad), spec(), LABEL)
    assert not api.seen


@pytest.mark.parametrize("label", ["", "x", "gp-", "gp-a b", "gp-$(id)", 'gp-"', "gp-`id`", "gp-../..", "gp-a\nb"])
def test_a_label_that_could_mean_something_to_a_shell_is_refused(market: Parts, label: str) -> None:
    api, runpod, _ = market
    with pytest.raises(UsageError):
        runpod.launch(offer(), spec(), label)
    assert not api.seen


def test_spot_is_rented_through_graphql_with_its_bid_for_each_gpu(market: Parts) -> None:
    api, runpod, _ = market
    api.on(GRAPHQL, Answer({"data": {"podRentInterruptable": {"id": POD}}}))
    wanted = spec(bid=SPOT_BID, volume_gb=20)
    assert runpod.launch(offer(spot=True, gpu_count=3), wanted, LABEL) == POD
    order = sent(api)["variables"]["input"]
    args = json.loads(order.pop("dockerArgs"))
    env = {row["key"]: row["value"] for row in order.pop("env")}
    assert env["GPUPLUG_ID"] == LABEL
    assert env["GPUPLUG_BID"] == "0.333333"
    assert args["entrypoint"] == ["/bin/sh"]
    assert assignments(args["cmd"][1])["GP_ID_VAR"] == "RUNPOD_POD_ID"
    assert order == {
        "bidPerGpu": 0.333333,
        "name": LABEL,
        "imageName": "pytorch/pytorch:2.7.0",
        "cloudType": "SECURE",
        "gpuTypeId": GPU,
        "gpuCount": 3,
        "supportPublicIp": True,
        "containerDiskInGb": 20,
        "volumeInGb": 20,
        "volumeMountPath": "/workspace",
        "ports": "22/tcp",
    }


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer({"errors": [{"message": NO_CAPACITY}], "data": {"podRentInterruptable": None}}), OfferGoneError),
        (
            Answer({"errors": [{"message": "Your account balance is too low to rent a pod"}], "data": None}),
            NoCreditError,
        ),
        (Answer({"errors": [{"message": "Invalid bid"}], "data": None}), ProviderError),
        (Answer("<html>gone</html>", 404), ProviderError),
        (problem(401, "bad key"), AuthError),
        (Answer({"data": {"podRentInterruptable": None}}), UnknownOutcomeError),
        (Answer("<html>conflict</html>", 409), UnknownOutcomeError),
        (Answer(hang_up=True), UnknownOutcomeError),
        (Answer("<html>down</html>", 502), UnknownOutcomeError),
    ],
)
def test_every_answer_to_a_spot_order_is_read_as_carefully(
    market: Parts, answer: Answer, kind: type[Exception]
) -> None:
    api, runpod, _ = market
    api.on(GRAPHQL, answer)
    with pytest.raises(kind) as caught:
        runpod.launch(offer(spot=True), spec(bid=SPOT_BID), LABEL)
    assert isinstance(caught.value, UnknownOutcomeError) == (kind is UnknownOutcomeError)
    assert len(api.calls("POST")) == 1


def test_a_spot_order_without_a_bid_is_refused(market: Parts) -> None:
    api, runpod, _ = market
    with pytest.raises(UsageError, match="bid"):
        runpod.launch(offer(spot=True), spec(), LABEL)
    assert not api.seen


@pytest.mark.parametrize("answer", [Answer("", 204), problem(404, "pod not found")])
def test_an_end_is_asked_for_and_an_unknown_pod_is_an_end(market: Parts, answer: Answer) -> None:
    api, runpod, _ = market
    api.on(DELETE, answer)
    runpod.terminate(POD)
    assert len(api.calls("DELETE")) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer("<html>not here</html>", 404), ProviderError),
        (problem(409, "Pod belongs to a cluster"), ProviderError),
        (problem(401, "bad key"), AuthError),
        (problem(500, "oops"), ProviderError),
        (Answer(hang_up=True), UnreachableError),
    ],
)
def test_an_end_that_was_not_accepted_is_an_error(market: Parts, answer: Answer, kind: type[Exception]) -> None:
    api, runpod, _ = market
    api.on(DELETE, answer)
    with pytest.raises(kind):
        runpod.terminate(POD)


@pytest.mark.parametrize("instance_id", ["", "../pods", f"{POD}/", "-x", "a b", "a?b"])
def test_an_id_that_cannot_exist_is_unknown_without_a_call(market: Parts, instance_id: str) -> None:
    api, runpod, _ = market
    runpod.terminate(instance_id)
    assert runpod.show(instance_id) is None
    assert not api.seen


def test_on_this_computer_waits_are_short_and_the_market_is_simulated(market: Parts) -> None:
    _, runpod, _ = market
    traits = runpod.traits
    assert (traits.simulated, traits.list_lag_s, traits.verify_gap_s, traits.market) == (True, 1.0, 0.5, False)
    assert (traits.stop, traits.spot, traits.account, traits.volumes, traits.keyless_prices) == (True,) * 5
    assert (traits.notice_s, traits.increment_s, traits.key_names) == (5.0, 1.0, ("RUNPOD_API_KEY",))


def test_the_real_service_has_the_real_waits() -> None:
    runpod = load("runpod", access("https://api.runpod.io", FakeClock()))
    assert isinstance(runpod, RunpodProvider)
    assert (runpod.traits.simulated, runpod.traits.list_lag_s, runpod.traits.verify_gap_s) == (False, 60.0, 30.0)
    assert runpod.traits.console_url.startswith("https://")
    runpod.close()
