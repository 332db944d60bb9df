"""Searching RunPod's shelf: what is asked, what an offer costs, and what is left out."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from providers_kit import KEY, Answer
from runpod_rows_kit import GPU, GPUS, GRAPHQL, VOLUME, VOLUMES, gpu_row, gpu_type, problem, scripted

from gpuplug.errors import AuthError, NoOfferError, ProviderError, ReplyError, UnknownNameError, UsageError
from gpuplug.types import Cloud, GpuWish, Money, Query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from providers_kit import Api, Seen

    from gpuplug.providers.runpod import RunpodProvider
    from gpuplug.testing import FakeClock

Parts = tuple["Api", "RunpodProvider", "FakeClock"]
WISH = Query(gpus=(GpuWish("RTX_4090"),))
DISK_20 = Decimal(20) * Decimal("0.10") / 730
SPOT = Query(gpus=(GpuWish("RTX_4090"),), spot=True)


@pytest.fixture
def market() -> Iterator[Parts]:
    with scripted() as parts:
        yield parts


@pytest.fixture
def keyless() -> Iterator[Parts]:
    with scripted(key="") as parts:
        yield parts


def asked(seen: Seen) -> dict[str, list[str]]:
    return parse_qs(urlsplit(seen.path).query)


def test_each_cloud_is_asked_for_its_stock_of_the_wished_count(market: Parts) -> None:
    api, runpod, _ = market
    runpod.offers(Query(gpus=(GpuWish("RTX_4090", 2),)))
    wanted = {"include": ["AVAILABILITY"], "product": ["POD"], "count": ["2"]}
    assert [asked(seen) for seen in api.calls("GET")] == [
        {**wanted, "cloud": ["SECURE"]},
        {**wanted, "cloud": ["COMMUNITY"]},
    ]


def test_an_offer_costs_its_gpus_and_the_disks_that_were_asked_for(market: Parts) -> None:
    _, runpod, _ = market
    query = Query(gpus=(GpuWish("RTX_4090", 2),), disk_gb=40, volume_gb=30)
    community, secure = runpod.offers(query).offers
    disks = Decimal(40 + 30) * Decimal("0.10") / 730
    assert secure.price == Money.dollars(Decimal("0.69") * 2 + disks)
    assert community.price == Money.dollars(Decimal("0.34") * 2 + disks)
    assert secure.stopped_price == Money.dollars(Decimal("0.20") * 30 / 730)
    assert (secure.id, secure.machine, secure.cloud) == (f"{GPU}/SECURE", "", Cloud.SECURE)
    assert (secure.gpu, secure.gpu_count, secure.vram_mb, secure.cuda) == ("RTX 4090", 2, 24576, "")
    assert secure.region == "EU-RO-1"
    assert secure.simulated


def test_a_disk_below_twenty_gigabytes_is_priced_as_it_is_rented(market: Parts) -> None:
    _, runpod, _ = market
    cheap = runpod.offers(Query(disk_gb=8)).offers[0]
    assert cheap.price == Money.dollars(Decimal("0.34") + DISK_20)
    assert (cheap.disk_price, cheap.stopped_price) == (Money.dollars(DISK_20), Money(0))


@pytest.mark.parametrize(
    "changes",
    [
        {"availability": "NONE"},
        {"availability": None},
        {"availability": "high"},
        {"availability": {"level": "HIGH"}},
        {"manufacturer": "AMD"},
        {"secure": False, "community": False},
        {"maxCount": {"secure": 0, "community": 0}},
    ],
)
def test_what_cannot_be_rented_is_no_offer(market: Parts, changes: dict[str, object]) -> None:
    api, runpod, _ = market
    api.on(GPUS, Answer({"gpus": [gpu_row(**changes)]}))
    assert runpod.offers(Query()).offers == ()


@pytest.mark.parametrize("price", [0, 0.001, 5000, "NaN", None, "cheap", True, -1])
def test_a_price_that_makes_no_sense_never_wins(market: Parts, price: object) -> None:
    api, runpod, _ = market
    odd = gpu_row(id="NVIDIA Odd", name="Odd", community=False, price={"secure": price, "community": 0})
    api.on(GPUS, Answer({"gpus": [odd, gpu_row()]}))
    offers = runpod.offers(Query()).offers
    assert [bool(offer.suspicious) for offer in offers] == [False, False, True]


@pytest.mark.parametrize("spelled", ["rtx4090", "RTX 4090", "NVIDIA GeForce RTX 4090"])
def test_a_gpu_is_found_in_any_spelling_and_finds_itself_again(market: Parts, spelled: str) -> None:
    _, runpod, _ = market
    wish = GpuWish(spelled)
    offers = runpod.offers(Query(gpus=(wish,))).offers
    assert len(offers) == 2
    assert all(wish.matches(offer.gpu, offer.gpu_count) for offer in offers)


def test_a_gpu_that_is_wished_by_its_id_finds_itself_again(market: Parts) -> None:
    api, runpod, _ = market
    api.on(GPUS, Answer({"gpus": [gpu_row(id="NVIDIA H100 80GB HBM3", name="H100 SXM")]}))
    wish = GpuWish("H100 80GB HBM3")
    offer = runpod.offers(Query(gpus=(wish,))).offers[0]
    assert wish.matches(offer.gpu, 1)


@pytest.mark.parametrize(("floor", "counted_on"), [("", ""), ("12.4", "12.4"), ("13.0", "12.10")])
def test_what_is_counted_on_is_the_cuda_that_is_asked_for_and_not_the_best_hosts(
    market: Parts, floor: str, counted_on: str
) -> None:
    _, runpod, _ = market
    assert {offer.cuda for offer in runpod.offers(Query(gpus=(GpuWish("RTX_4090"),), cuda=floor)).offers} == {
        counted_on
    }


@pytest.mark.parametrize("name", ["24GB", "4090", "rtx4090"])
def test_a_size_a_short_name_and_a_model_find_the_same_machine(market: Parts, name: str) -> None:
    _, runpod, _ = market
    assert {offer.gpu for offer in runpod.offers(Query(gpus=(GpuWish(name),))).offers} == {"RTX 4090"}


def test_a_model_that_the_catalogue_knows_and_nobody_has_there_is_no_error(market: Parts) -> None:
    _, runpod, _ = market
    assert runpod.offers(Query(gpus=(GpuWish("Tesla_V100"),))).offers == ()


def test_an_unknown_gpu_names_the_nearest(market: Parts) -> None:
    _, runpod, _ = market
    with pytest.raises(UnknownNameError, match="RTX_4091") as caught:
        runpod.offers(Query(gpus=(GpuWish("RTX_4091"),)))
    assert caught.value.hint.startswith("did you mean RTX 4090, ")


def test_a_gpu_that_is_out_of_stock_is_known_all_the_same(market: Parts) -> None:
    api, runpod, _ = market
    api.on(GPUS, Answer({"gpus": [gpu_row(availability="NONE")]}))
    assert runpod.offers(WISH).offers == ()


def test_one_cloud_alone_is_asked_for_when_it_was_named(market: Parts) -> None:
    api, runpod, _ = market
    (only,) = runpod.offers(Query(cloud=Cloud.COMMUNITY)).offers
    assert only.cloud is Cloud.COMMUNITY
    assert len(api.calls("GET")) == 1


def test_rows_without_sense_are_counted_and_hide_no_others(market: Parts) -> None:
    api, runpod, _ = market
    api.on(GPUS, Answer({"gpus": [None, {"id": 7}, {"name": "x"}, "row", gpu_row()]}))
    found = runpod.offers(Query())
    assert (len(found.offers), found.dropped) == (2, 4)


@pytest.mark.parametrize("body", [{}, {"gpus": None}, [], {"gpus": {}}])
def test_an_answer_without_a_list_is_no_answer(market: Parts, body: object) -> None:
    api, runpod, _ = market
    api.on(GPUS, Answer(body))
    with pytest.raises(ReplyError):
        runpod.offers(Query())


def test_a_network_volume_leaves_its_data_center_only(market: Parts) -> None:
    api, runpod, _ = market
    api.on(VOLUME, Answer({"id": "agv6w2qcg7", "name": "d", "size": 50, "dataCenter": "EU-RO-1", "type": "STANDARD"}))
    offers = runpod.offers(Query(network_volume="agv6w2qcg7")).offers
    assert {offer.region for offer in offers} == {"EU-RO-1"}
    api.on(GPUS, Answer({"gpus": [gpu_row(dataCenters=[{"id": "US-KS-2", "name": "k", "availability": "HIGH"}])]}))
    with pytest.raises(NoOfferError, match="EU-RO-1"):
        runpod.offers(Query(network_volume="agv6w2qcg7"))
    assert len(api.calls("GET", "/v2/network-volumes")) == 1


def test_an_unknown_network_volume_names_those_there_are(market: Parts) -> None:
    api, runpod, _ = market
    api.on(VOLUME, problem(404, "network volume not found"))
    api.on(VOLUMES, Answer({"networkVolumes": [{"id": "x1", "name": "data", "size": 10, "dataCenter": "EU-RO-1"}]}))
    with pytest.raises(UnknownNameError, match="agv6w2qcg7") as caught:
        runpod.offers(Query(network_volume="agv6w2qcg7"))
    assert caught.value.hint == "one of: x1 (data)"
    api.on(VOLUMES, Answer({"networkVolumes": []}))
    with pytest.raises(UnknownNameError, match="agv6w2qcg7' on runpod; the account has none") as caught:
        runpod.offers(Query(network_volume="agv6w2qcg7"))
    assert caught.value.hint.startswith("leave --network-volume out, or make one at https://")


@pytest.mark.parametrize(
    "query",
    [
        Query(volume_gb=20, network_volume="agv6w2qcg7"),
        Query(volume_gb=5),
        Query(network_volume="../pods"),
        Query(network_volume="a b"),
    ],
)
def test_volumes_that_no_pod_can_have_are_refused_without_a_call(market: Parts, query: Query) -> None:
    api, runpod, _ = market
    with pytest.raises(UsageError) as caught:
        runpod.offers(query)
    assert caught.value.hint
    assert not api.seen


def test_without_a_key_the_prices_are_read_without_one(keyless: Parts) -> None:
    api, runpod, _ = keyless
    api.on(GRAPHQL, Answer({"data": {"gpuTypes": [gpu_type()]}}))
    community, secure = runpod.offers(WISH).offers
    assert secure.price == Money.dollars(Decimal("0.69") + DISK_20)
    assert community.price == Money.dollars(Decimal("0.34") + DISK_20)
    (seen,) = api.seen
    assert "authorization" not in seen.headers
    assert KEY not in seen.body.decode()
    assert seen.json["variables"]["secure"] == {"gpuCount": 1, "secureCloud": True}
    assert seen.headers["user-agent"].startswith("gpuplug/")


def test_out_of_stock_has_no_price_and_is_no_offer(keyless: Parts) -> None:
    api, runpod, _ = keyless
    nothing = {"uninterruptablePrice": None, "minimumBidPrice": None, "stockStatus": None}
    api.on(GRAPHQL, Answer({"data": {"gpuTypes": [gpu_type(secure=nothing, community=nothing)]}}))
    assert runpod.offers(WISH).offers == ()


def test_spot_machines_cost_their_least_bid_and_their_disk(market: Parts) -> None:
    api, runpod, _ = market
    api.on(GRAPHQL, Answer({"data": {"gpuTypes": [gpu_type()]}}))
    community, secure = runpod.offers(Query(gpus=(GpuWish("RTX_4090", 2),), spot=True)).offers
    assert (secure.spot, secure.min_bid) == (True, Money.dollars("0.8"))
    assert secure.price == Money.dollars(Decimal("0.8") + DISK_20)
    assert community.min_bid == Money.dollars("0.4")
    assert api.calls("GET") == []


GONE = [
    Answer("<html>Not Found</html>", 404),
    Answer("gone", 410),
    Answer({"errors": [{"message": "Cannot query field", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}, 400),
]


@pytest.mark.parametrize("answer", GONE)
def test_when_graphql_is_gone_there_are_no_spot_machines_and_that_is_said(market: Parts, answer: Answer) -> None:
    api, runpod, _ = market
    api.on(GRAPHQL, answer)
    with pytest.raises(NoOfferError, match="no spot machines any more"):
        runpod.offers(SPOT)


@pytest.mark.parametrize("answer", GONE)
def test_when_graphql_is_gone_prices_need_a_key_and_that_is_said(keyless: Parts, answer: Answer) -> None:
    api, runpod, _ = keyless
    api.on(GRAPHQL, answer)
    with pytest.raises(NoOfferError, match="no prices without a key") as caught:
        runpod.offers(WISH)
    assert "RUNPOD_API_KEY" in caught.value.hint


def test_a_bad_key_names_the_place_it_was_read_from(market: Parts) -> None:
    api, runpod, _ = market
    api.on(GPUS, problem(401, "missing bearer token"))
    with pytest.raises(AuthError, match="the environment variable RUNPOD_API_KEY") as caught:
        runpod.offers(WISH)
    assert KEY not in str(caught.value) + repr(caught.value)


def test_a_page_of_the_front_door_is_not_called_a_bad_key(market: Parts) -> None:
    api, runpod, _ = market
    api.on(GPUS, Answer("<html><title>Error 1010</title></html>", 403))
    with pytest.raises(ProviderError, match="Cloudflare") as caught:
        runpod.offers(WISH)
    assert not isinstance(caught.value, AuthError)


def test_a_network_volume_without_a_key_is_refused_plainly(keyless: Parts) -> None:
    api, runpod, _ = keyless
    with pytest.raises(AuthError, match="there is no key"):
        runpod.offers(Query(network_volume="agv6w2qcg7"))
    assert not api.seen
