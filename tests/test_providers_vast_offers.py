"""Searching Vast.ai: what is asked, and what becomes of what hosts claim."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers_kit import Answer, Api
from vast_kit import BUNDLES, NAMES, offer_row, scripted

from gpuplug.errors import NotReadyError, ReplyError, UnknownNameError
from gpuplug.providers._reading import clean, integer, number, parse_json
from gpuplug.providers.vast import rows
from gpuplug.types import Cloud, GpuWish, Money, Query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.providers.vast import VastProvider
    from gpuplug.testing import FakeClock

WISH = Query(gpus=(GpuWish("RTX_4090"),), disk_gb=20)


@pytest.fixture
def market() -> Iterator[tuple[Api, VastProvider, FakeClock]]:
    with scripted() as parts:
        yield parts


Parts = tuple[Api, "VastProvider", "FakeClock"]


def test_the_search_is_one_dict_with_the_providers_own_gpu_name_and_the_disk(market: Parts) -> None:
    api, vast, _ = market
    vast.offers(WISH)
    assert api.calls("POST")[0].json == {
        "verified": {"eq": True},
        "external": {"eq": False},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "reliability2": {"gte": 0.95},
        "direct_port_count": {"gte": 1},
        "disk_space": {"gte": 20},
        "gpu_name": {"eq": "RTX 4090"},
        "num_gpus": {"eq": 1},
        "order": [["dph_total", "asc"]],
        "type": "on-demand",
        "limit": 64,
        "allocated_storage": 20.0,
    }


def test_an_offer_carries_exact_money_and_the_right_units(market: Parts) -> None:
    _, vast, _ = market
    (offer,) = vast.offers(WISH).offers
    assert offer.id == "44173797"
    assert offer.machine == "143413"
    assert offer.price == Money(131_259)
    assert offer.stopped_price == offer.disk_price == Money(25_926)
    assert offer.down_price_per_gb == Money(5_000)
    assert offer.up_price_per_gb == Money(1_953)
    assert (offer.vram_mb, offer.down_mbps, offer.up_mbps, offer.direct_ports) == (24564, 1602.25, 801.5, 12)
    assert (offer.cuda, offer.region, offer.reliability) == ("12.2", "Guangxi, CN", 0.997)
    assert offer.simulated
    assert not offer.suspicious


def test_the_storage_price_is_reckoned_when_it_is_not_told(market: Parts) -> None:
    api, vast, _ = market
    api.on(BUNDLES, Answer({"offers": [offer_row(instance=None, storage_cost=0.72)]}))
    assert vast.offers(WISH).offers[0].stopped_price == Money.dollars("0.02")


def test_each_wished_gpu_is_searched_alone_since_a_reply_holds_64_rows(market: Parts) -> None:
    api, vast, _ = market
    query = Query(gpus=(GpuWish("a100 sxm4", 2), GpuWish("NVIDIA L40S"), GpuWish("rtx4090")))
    vast.offers(query)
    asked = [(one.json["gpu_name"]["eq"], one.json["num_gpus"]["eq"]) for one in api.calls("POST")]
    assert asked == [("A100 SXM4", 2), ("L40S", 1), ("RTX 4090", 1)]
    assert not api.calls("GET")


def test_without_a_wish_any_gpu_is_searched_and_no_name_is_asked_for(market: Parts) -> None:
    api, vast, _ = market
    assert vast.offers(Query()).offers
    assert "gpu_name" not in api.calls("POST")[0].json
    assert not api.calls("GET")


def test_a_family_or_a_size_is_searched_under_all_its_names_and_with_its_memory(market: Parts) -> None:
    api, vast, _ = market
    vast.offers(Query(gpus=(GpuWish("A100"), GpuWish("A100_80GB"), GpuWish("24GB"), GpuWish("16GB"))))
    family, large, size, ambiguous = (one.json for one in api.calls("POST"))
    assert family["gpu_name"] == large["gpu_name"] == {"in": ["A100 SXM4", "A100 PCIE"]}
    assert "gpu_ram" not in family
    assert 40960 < large["gpu_ram"]["gte"] <= 81559
    assert large["gpu_ram"]["lte"] >= 81920
    assert {"RTX 4090", "RTX 3090", "A10", "L4"} <= set(size["gpu_name"]["in"])
    assert "Tesla V100" in ambiguous["gpu_name"]["in"]
    assert ambiguous["gpu_ram"]["gte"] <= 15360
    assert 16384 <= ambiguous["gpu_ram"]["lte"] < 32768


def test_models_of_one_name_are_told_apart_by_their_memory(market: Parts) -> None:
    api, vast, _ = market
    sent = [offer_row(id=1, gpu_name="A100 SXM4", gpu_ram=40960), offer_row(id=2, gpu_name="A100 SXM4", gpu_ram=81920)]
    api.on(BUNDLES, Answer({"offers": sent}))
    assert [one.gpu for one in vast.offers(Query(gpus=(GpuWish("A100"),))).offers] == [
        "A100 SXM4 40GB",
        "A100 SXM4 80GB",
    ]
    assert [one.id for one in vast.offers(Query(gpus=(GpuWish("A100_80GB"),))).offers] == ["2"]


def test_every_floor_is_asked_for_and_a_row_under_it_is_dropped_all_the_same(market: Parts) -> None:
    api, vast, _ = market
    query = Query(min_down_mbps=200, cuda="12.2", region=("CN", "de"), cloud=Cloud.SECURE, min_reliability=0.98)
    fits = offer_row(id=1, hosting_type=1)
    api.on(
        BUNDLES,
        Answer(
            {
                "offers": [
                    fits,
                    {**fits, "id": 2, "inet_down": 199},
                    {**fits, "id": 3, "inet_down": None},
                    {**fits, "id": 4, "cuda_max_good": 11.8},
                    {**fits, "id": 5, "geolocation": "Texas, US"},
                    {**fits, "id": 6, "hosting_type": 0},
                    {**fits, "id": 7, "reliability2": 0.97},
                    {**fits, "id": 8, "verification": "deverified"},
                    {**fits, "id": 9, "direct_port_count": 0},
                    {**fits, "id": 10, "is_bid": True},
                ]
            }
        ),
    )
    found = vast.offers(query)
    asked = api.calls("POST")[0].json
    assert asked["inet_down"] == {"gte": 200}
    assert asked["cuda_max_good"] == {"gte": 12.2}
    assert asked["geolocation"] == {"in": ["CN", "DE"]}
    assert asked["datacenter"] == {"eq": True}
    assert [one.id for one in found.offers] == ["1"]
    assert found.dropped == 8  # the one elsewhere is sound: names of places are compared here


def test_a_spot_offer_is_priced_at_its_least_bid_and_its_disk(market: Parts) -> None:
    api, vast, _ = market
    api.on(BUNDLES, Answer({"offers": [offer_row(is_bid=True, min_bid=0.05), offer_row(id=2, min_bid=None)]}))
    honest, odd = vast.offers(Query(spot=True)).offers
    assert api.calls("POST")[0].json["type"] == "bid"
    assert (honest.spot, honest.min_bid, honest.price) == (True, Money(50_000), Money(75_926))
    assert odd.suspicious


def test_an_unknown_gpu_is_refused_before_the_search_with_the_nearest_names(market: Parts) -> None:
    api, vast, _ = market
    with pytest.raises(UnknownNameError, match=r"RTX 4900.*\n.*\n.*RTX 4090"):
        vast.offers(Query(gpus=(GpuWish("RTX 4900"),)))
    with pytest.raises(UnknownNameError, match="no GPU"):
        vast.offers(Query(gpus=(GpuWish(""),)))
    assert not api.calls("POST")


def test_a_gpu_that_is_not_rented_out_there_is_no_error_and_costs_no_search(market: Parts) -> None:
    api, vast, _ = market
    assert vast.offers(Query(gpus=(GpuWish("RTX 4000 SFF Ada Generation"),))).offers == ()
    assert not api.calls("POST")


def test_a_gpu_newer_than_the_catalogue_is_found_by_the_providers_own_list_asked_once_an_hour(market: Parts) -> None:
    api, vast, clock = market
    api.on(NAMES, Answer({"success": True, "gpu_names": ["RTX 4090", "RTX 9090"]}))
    api.on(BUNDLES, Answer({"offers": [offer_row(gpu_name="RTX 9090")]}))
    wish = Query(gpus=(GpuWish("rtx_9090"),))
    assert [one.gpu for one in vast.offers(wish).offers] == ["RTX 9090"]
    vast.offers(wish)
    assert api.calls("POST")[0].json["gpu_name"] == {"eq": "RTX 9090"}
    assert len(api.calls("GET")) == 1
    clock.advance(3601)
    vast.offers(wish)
    assert len(api.calls("GET")) == 2


@pytest.mark.parametrize(
    "price",
    [-1, 0, 0.0099, 200.01, 1e308, "-0.5", "NaN", "free", None, True, [], {}, "1e999999999", "9" * 400],
)
def test_a_price_that_makes_no_sense_is_marked_and_never_first(market: Parts, price: object) -> None:
    api, vast, _ = market
    api.on(BUNDLES, Answer({"offers": [offer_row(id=1, dph_total=price), offer_row(id=2)]}))
    honest, odd = vast.offers(WISH).offers
    assert (honest.id, honest.suspicious) == ("2", "")
    assert odd.suspicious.startswith("its price")


@pytest.mark.parametrize(
    "literal", ["NaN", "Infinity", "-Infinity", "1e9999999999999999999", "1E-99999999999999999999"]
)
def test_numbers_that_json_does_not_have_spoil_their_row_only(market: Parts, literal: str) -> None:
    api, vast, _ = market
    text = json.dumps({"offers": [offer_row(id=1, dph_total="HERE"), offer_row(id=2)]})
    api.on(BUNDLES, Answer(text.replace('"HERE"', literal)))
    offers = vast.offers(WISH).offers
    assert offers[0].id == "2"
    assert [one.id for one in offers if not one.suspicious] == ["2"]


def test_numbers_sent_as_strings_are_read(market: Parts) -> None:
    api, vast, _ = market
    api.on(BUNDLES, Answer({"offers": [offer_row(id="5", dph_total="0.25", num_gpus="1", reliability2="0.99")]}))
    (offer,) = vast.offers(WISH).offers
    assert (offer.id, offer.price, offer.gpu_count, offer.reliability) == ("5", Money(250_000), 1, 0.99)


@pytest.mark.parametrize(
    "row",
    [
        None,
        7,
        "offer",
        [],
        {},
        offer_row(id=None),
        offer_row(id=-4),
        offer_row(id=1.5e400),
        offer_row(id="../../users"),
        offer_row(num_gpus=0),
        offer_row(num_gpus="many"),
        offer_row(gpu_name=None),
        offer_row(gpu_name="\u200b\u202e"),
        offer_row(gpu_name="R\u0422X 4090"),
        offer_row(gpu_name="RTX 3060"),
        offer_row(num_gpus=2),
        offer_row(reliability2=0.5),
        offer_row(reliability2="high", reliability=None),
        offer_row(rentable=False),
        offer_row(rented=True),
    ],
)
def test_a_row_that_makes_no_sense_is_dropped_and_counted(market: Parts, row: object) -> None:
    api, vast, _ = market
    api.on(BUNDLES, Answer(json.dumps({"offers": [row, offer_row(id=2)]}).replace("Infinity", "1e400")))
    found = vast.offers(WISH)
    assert [one.id for one in found.offers] == ["2"]
    assert found.dropped == 1


def test_a_row_with_a_key_twice_is_dropped_and_the_rest_shown(market: Parts) -> None:
    api, vast, _ = market
    text = json.dumps({"offers": [offer_row(id=1), offer_row(id=2)]})
    api.on(BUNDLES, Answer(text.replace('"id": 1,', '"id": 1, "dph_total": 0.01,')))
    found = vast.offers(WISH)
    assert [one.id for one in found.offers] == ["2"]
    assert found.dropped == 1


def test_hostile_text_becomes_one_short_visible_line(market: Parts) -> None:
    api, vast, _ = market
    evil = "\x1b]52;c;YWJj\x07<script>\u202egnp\u2066\u200b\r\n DE" + "x" * 1_000_000
    api.on(BUNDLES, Answer({"offers": [offer_row(geolocation=evil)]}))
    (offer,) = vast.offers(WISH).offers
    assert offer.region.startswith("]52;c;YWJj<script>gnp DExxx")
    assert len(offer.region) == 40
    assert offer.region.isprintable()


@pytest.mark.parametrize(
    "body", [{}, [], {"offers": None}, {"offers": {}}, "null", '{"offers": [], "offers": []}', "0"]
)
def test_an_answer_without_offers_is_an_error_and_not_an_empty_market(market: Parts, body: object) -> None:
    api, vast, _ = market
    api.on(BUNDLES, Answer(body))
    with pytest.raises(ReplyError):
        vast.offers(WISH)


def test_offers_come_once_and_cheapest_first(market: Parts) -> None:
    api, vast, _ = market
    sent = [offer_row(id=1, dph_total=0.5), offer_row(id=2, dph_total=0.2), offer_row(id=1, dph_total=0.5)]
    api.on(BUNDLES, Answer({"offers": sent}))
    assert [one.id for one in vast.offers(WISH).offers] == ["2", "1"]


def test_a_flood_of_offers_is_cut_and_counted(market: Parts) -> None:
    api, vast, _ = market
    small = {
        "id": 3,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "dph_total": 0.2,
        "reliability2": 1,
        "direct_port_count": 1,
    }
    api.on(BUNDLES, Answer({"offers": [{**small, "id": number} for number in range(1, 100_001)]}))
    found = vast.offers(WISH)
    assert len(found.offers) == 10_000
    assert found.dropped == 90_000


def test_the_search_quota_is_told_as_a_wait(market: Parts) -> None:
    api, vast, clock = market
    reset = str(int(clock.now().timestamp()) + 7200)
    quota = {"success": False, "error": "search_quota_exceeded", "msg": "daily quota"}
    api.on(BUNDLES, Answer(quota, 429, {"X-RateLimit-Reset": reset}))
    with pytest.raises(NotReadyError, match="search_quota_exceeded") as caught:
        vast.offers(WISH)
    assert caught.value.retry_after > 7000


def test_an_empty_list_of_names_is_no_crash(market: Parts) -> None:
    api, vast, _ = market
    api.on(NAMES, Answer({"success": True, "gpu_names": [None, 4]}))
    with pytest.raises(UnknownNameError):
        vast.offers(Query(gpus=(GpuWish("RTX 9090"),)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(offer_row())), inner, max_size=6)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*sorted(offer_row()), "label", "ports", "start_date", "actual_status"]), JSON))
def test_any_row_at_all_is_read_or_refused_without_a_crash(changes: dict[str, object]) -> None:
    offer = rows.offer(offer_row(**changes), 20, simulated=False)
    if offer is not None and not offer.suspicious:
        assert Money(10_000) <= offer.price <= Money(200_000_000)
    instance = rows.instance({**offer_row(), **changes})
    assert instance is None or instance.price.micros >= 0


@given(st.text())
def test_cleaned_text_is_always_printable(text: str) -> None:
    assert clean(text, 30).isprintable()
    assert len(clean(text, 30)) <= 30


@given(JSON)
def test_a_number_is_within_its_bounds_or_none(value: object) -> None:
    found = number(value, 0, 100)
    assert found is None or Decimal(0) <= found <= Decimal(100)
    whole = integer(value, 1, 5)
    assert whole is None or 1 <= whole <= 5


@given(st.text())
def test_any_text_is_json_or_a_value_error(text: str) -> None:
    try:
        parse_json(text)
    except ValueError:
        return


@pytest.mark.parametrize(("told", "region"), [(", KR", "KR"), ("Texas, US", "Texas, US"), (" , ", ""), (None, "")])
def test_a_place_without_a_name_is_its_country_alone(told: str | None, region: str) -> None:
    made = rows.offer(offer_row(geolocation=told), 20, simulated=False)
    assert made is not None
    assert made.region == region
