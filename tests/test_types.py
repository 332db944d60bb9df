"""Money is exact, secrets stay secret, GPU names meet in any spelling."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplug.types import GpuWish, Money, Secret, gpu_key

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
