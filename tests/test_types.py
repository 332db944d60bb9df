"""Money is exact, secrets stay secret, GPU names meet in any spelling."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplug.types import Cloud, GpuWish, Money, Offer, Query, Secret, cuda_version, gpu_key, within

amounts = st.integers(min_value=-(10**12), max_value=10**12).map(Money)


@given(amounts, amounts)
def test_adding_and_taking_away_lose_nothing(a: Money, b: Money) -> None:
    assert (a + b) - b == a


@given(st.decimals(min_value=0, max_value=10_000, places=6))
def test_dollars_with_six_digits_are_kept_exactly(amount: Decimal) -> None:
    assert Decimal(Money.dollars(amount).exact()) == amount


@given(st.integers(0, 10**9), st.integers(0, 10**6))
def test_an_hours_price_costs_itself_and_halves_add_up_within_a_micro(price: int, seconds: int) -> None:
    assert Money(price).for_seconds(3600) == Money(price)
    halves = Money(price).for_seconds(seconds) + Money(price).for_seconds(seconds)
    assert abs(halves.micros - Money(price).for_seconds(2 * seconds).micros) <= 1


@pytest.mark.parametrize("text", ["nan", "inf", "", "1,5", "abc"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        Money.dollars(text)


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (1_200_000, "$1.20"),
        (1_234_567, "$1.23"),
        (999_999, "$1.00"),
        (310_000, "$0.31"),
        (255_000, "$0.255"),
        (50_000, "$0.05"),
        (4600, "$0.0046"),
        (51, "$0.0001"),
        (50, "<$0.0001"),
        (0, "$0.00"),
        (-50_000, "$-0.05"),
    ],
)
def test_money_is_shown_with_the_digits_that_matter(micros: int, shown: str) -> None:
    assert str(Money(micros)) == shown


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {(secret,)!s}"
    assert secret.reveal() == "hunter2"


@pytest.mark.parametrize("name", ["RTX_4090", "RTX 4090", "rtx4090", "NVIDIA GeForce RTX 4090", "rtx-4090"])
def test_all_spellings_of_a_gpu_are_one(name: str) -> None:
    assert gpu_key(name) == "rtx4090"
    assert GpuWish(name).matches("RTX 4090", 1)


def test_neighbouring_models_stay_apart() -> None:
    assert len({gpu_key(name) for name in ("RTX 4090", "RTX 4090D", "RTX 4080", "A100 PCIE", "A100 SXM4")}) == 5


OFFER = Offer(
    "vast",
    "1",
    "m",
    "RTX 4090",
    1,
    Money(250_000),
    vram_mb=24564,
    reliability=0.97,
    down_mbps=300,
    down_price_per_gb=Money(5_000),
    cuda="12.4",
    region="Texas, US",
    cloud=Cloud.COMMUNITY,
)


@pytest.mark.parametrize(
    ("query", "unmet"),
    [
        (Query(), ()),
        (Query(min_reliability=0.98), ("min_reliability",)),
        (Query(min_down_mbps=300), ()),
        (Query(min_down_mbps=301), ("min_down_mbps",)),
        (Query(cuda="12.4"), ()),
        (Query(cuda="12.10"), ("cuda",)),
        (Query(region=("de", "us")), ()),
        (Query(region=("texas",)), ()),
        (Query(region=("u",)), ("region",)),
        (Query(cloud=Cloud.SECURE), ("cloud",)),
        (Query(spot=True), ("spot",)),
        (Query(min_reliability=1, cuda="13"), ("min_reliability", "cuda")),
    ],
)
def test_a_query_names_each_floor_that_an_offer_is_under(query: Query, unmet: tuple[str, ...]) -> None:
    assert query.unmet(OFFER) == unmet


def test_what_a_provider_does_not_tell_meets_the_usual_floors_and_none_that_was_asked_for() -> None:
    silent = Offer("runpod", "1", "", "RTX 4090", 1, Money(1))
    assert Query(cuda="12.4").unmet(silent) == ()
    asked = Query(min_down_mbps=1, region=("US",), cloud=Cloud.SECURE)
    assert asked.unmet(silent) == ("min_down_mbps", "region", "cloud")


def test_the_true_price_counts_the_hours_and_the_bytes_exactly() -> None:
    assert Query().total(OFFER) == OFFER.price
    assert Query(hours=2, data_gb=20).total(OFFER) == Money(600_000)
    assert Query(hours=0.5, data_gb=0.1).total(OFFER) == Money(125_500)


def test_preference_is_the_place_in_the_list_of_wishes() -> None:
    assert Query(gpus=(GpuWish("A100"), GpuWish("24GB"))).preference(OFFER) == 1
    assert Query(gpus=(GpuWish("A100"),)).preference(OFFER) == 1
    assert Query().preference(OFFER) == 0


@pytest.mark.parametrize(
    ("text", "version"), [("12.4", (12, 4)), ("13", (13, 0)), ("12.4.1", (12, 4)), ("", None), ("new", None)]
)
def test_cuda_versions_are_compared_as_numbers(text: str, version: tuple[int, int] | None) -> None:
    assert cuda_version(text) == version


def test_a_code_is_a_whole_word_of_a_region_and_a_name_any_part() -> None:
    assert within("EU-RO-1", "eu")
    assert within("Quebec, CA", "CA")
    assert not within("California, US", "CA")
    assert within("California, US", "califor")
    assert not within("", "US")
