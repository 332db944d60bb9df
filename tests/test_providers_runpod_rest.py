"""RunPod's powers: a rest that only a volume survives, the way back, and a balance that may be unreadable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from providers_kit import Answer
from runpod_rows_kit import ACTION, GRAPHQL, LABEL, LIST, NO_CAPACITY, POD, SHOW, listed, pod_row, problem, scripted

from gpuplug.errors import AuthError, NotReadyError, ProviderError, UsageError
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Iterator

    from providers_kit import Api

    from gpuplug.providers.runpod import RunpodProvider
    from gpuplug.testing import FakeClock

Parts = tuple["Api", "RunpodProvider", "FakeClock"]
VOLUME = {"persistent": {"size": 30, "path": "/workspace"}}
NETWORK = {"network": [{"volumeId": "agv6w2qcg7", "path": "/workspace"}]}


@pytest.fixture
def market() -> Iterator[Parts]:
    with scripted() as parts:
        yield parts


def acted(api: Api) -> list[object]:
    return [seen.json for seen in api.calls("POST", ACTION[5:])]


@pytest.mark.parametrize("mounts", [VOLUME, NETWORK])
def test_a_pod_with_a_volume_can_rest(market: Parts, mounts: dict[str, object]) -> None:
    api, runpod, _ = market
    api.on(SHOW, Answer(pod_row(mounts=mounts)))
    api.on(ACTION, Answer(pod_row(status="EXITED", mounts=mounts)))
    runpod.stop(POD)
    assert acted(api) == [{"action": "stop"}]


@pytest.mark.parametrize("mounts", [{}, None, {"network": []}, {"persistent": {}}])
def test_a_pod_without_a_volume_is_not_stopped_because_it_would_lose_everything(market: Parts, mounts: object) -> None:
    api, runpod, _ = market
    api.on(SHOW, Answer(pod_row(mounts=mounts)))
    with pytest.raises(UsageError, match="has no volume") as caught:
        runpod.stop(POD)
    assert "--volume" in caught.value.hint
    assert acted(api) == []


def test_a_stop_or_start_that_is_done_already_is_silent(market: Parts) -> None:
    api, runpod, _ = market
    api.on(ACTION, problem(409, "action not valid for the current status"))
    api.on(SHOW, Answer(pod_row(status="EXITED", mounts=VOLUME)))
    runpod.stop(POD)
    with pytest.raises(ProviderError, match="409"):
        runpod.start(POD)
    api.on(SHOW, Answer(pod_row(mounts=VOLUME)))
    runpod.start(POD)


def test_a_start_whose_gpu_is_taken_says_so(market: Parts) -> None:
    api, runpod, _ = market
    api.on(SHOW, Answer(pod_row(status="EXITED", mounts=VOLUME)))
    api.on(ACTION, problem(400, NO_CAPACITY))
    with pytest.raises(NotReadyError, match="its GPU is taken"):
        runpod.start(POD)


def test_a_pod_that_came_back_without_its_gpus_is_told_with_its_bill(market: Parts) -> None:
    api, runpod, _ = market
    api.on(SHOW, Answer(pod_row(status="EXITED", mounts=VOLUME)))
    api.on(ACTION, Answer(pod_row(gpu={"id": "NVIDIA GeForce RTX 4090", "count": 0})))
    with pytest.raises(ProviderError, match="without its GPUs") as caught:
        runpod.start(POD)
    assert "bills" in caught.value.billing


def test_a_spot_pod_is_started_again_at_its_own_bid(market: Parts) -> None:
    api, runpod, _ = market
    env = {"GPUPLUG_ID": LABEL, "GPUPLUG_BID": "0.400000"}
    api.on(SHOW, Answer(pod_row(status="EXITED", mounts=VOLUME, env=env)))
    api.on(GRAPHQL, Answer({"data": {"podBidResume": {"id": POD, "gpuCount": 1}}}))
    runpod.start(POD)
    (seen,) = api.calls("POST")
    assert seen.json["variables"] == {"input": {"podId": POD, "gpuCount": 1, "bidPerGpu": 0.4}}


def test_an_unknown_pod_neither_rests_nor_starts(market: Parts) -> None:
    api, runpod, _ = market
    api.on(SHOW, problem(404, "pod not found"))
    for act in (runpod.stop, runpod.start):
        with pytest.raises(ProviderError, match=POD):
            act(POD)


@pytest.mark.parametrize(
    ("told", "money"), [(17.0630444381, 17_063_044), (0, 0), (-1.5, -1_500_000), ("x", None), (None, None)]
)
def test_the_balance_is_what_graphql_tells(market: Parts, told: object, money: int | None) -> None:
    api, runpod, _ = market
    api.on(LIST, listed())
    api.on(GRAPHQL, Answer({"data": {"myself": {"clientBalance": told}}}))
    assert runpod.account().balance == (None if money is None else Money(money))


@pytest.mark.parametrize(
    "answer",
    [
        Answer("<html>Not Found</html>", 404),
        Answer("gone", 410),
        Answer({"errors": [{"message": "no", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}, 400),
        Answer("<html>down</html>", 502),
        Answer("<html>moved</html>", 301),
        Answer("<html>Welcome</html>"),
        Answer({"data": {"myself": None}}),
    ],
)
def test_a_balance_that_cannot_be_read_is_none_and_never_zero(market: Parts, answer: Answer) -> None:
    api, runpod, _ = market
    api.on(LIST, listed())
    api.on(GRAPHQL, answer)
    assert runpod.account().balance is None


def test_a_bad_key_is_told_even_when_the_balance_cannot_be_read(market: Parts) -> None:
    api, runpod, _ = market
    api.on(GRAPHQL, Answer("gone", 410))
    api.on(LIST, problem(401, "bad key"))
    with pytest.raises(AuthError, match="RUNPOD_API_KEY"):
        runpod.account()
