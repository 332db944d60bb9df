"""The billing oracle must be right before it may judge anything."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplug.sandbox.catalogue import stock
from gpuplug.sandbox.meter import NS_PER_HOUR, Meter, disk_price, dollars

PRICES = st.integers(0, 10_000_000)
STEPS = st.lists(st.tuples(st.integers(0, 10 * NS_PER_HOUR), st.booleans(), st.booleans()), max_size=12)


@given(gpu=PRICES, disk=PRICES, steps=STEPS)
def test_the_sum_is_price_times_time_of_what_was_on(gpu: int, disk: int, steps: list[tuple[int, bool, bool]]) -> None:
    meter, now, exact, rate = Meter(0, gpu=gpu, disk=disk), 0, Fraction(0), 0
    for length, gpu_on, disk_on in steps:
        now += length
        exact += Fraction(rate * length, NS_PER_HOUR)
        meter.switch(now, gpu=gpu_on, disk=disk_on)
        rate = gpu * gpu_on + disk * disk_on
        assert meter.rate == rate
    assert abs(meter.micros(now) - exact) <= Fraction(1, 2)


@given(gpu=PRICES, looks=st.lists(st.integers(0, NS_PER_HOUR), max_size=20))
def test_looking_at_the_meter_changes_nothing_and_it_never_runs_back(gpu: int, looks: list[int]) -> None:
    watched, alone = Meter(0, gpu=gpu, disk=7), Meter(0, gpu=gpu, disk=7)
    for meter in (watched, alone):
        meter.switch(0, gpu=True, disk=True)
    seen = [watched.micros(moment) for moment in sorted(looks)]
    assert seen == sorted(seen)
    assert watched.micros(NS_PER_HOUR) == alone.micros(NS_PER_HOUR) == gpu + 7


@given(first=PRICES, second=PRICES, cut=st.integers(0, NS_PER_HOUR))
def test_a_new_price_counts_from_its_moment_on(first: int, second: int, cut: int) -> None:
    meter = Meter(0, gpu=first, disk=0)
    meter.switch(0, gpu=True, disk=False)
    meter.reprice(cut, gpu=second)
    exact = Fraction(first * cut + second * (NS_PER_HOUR - cut), NS_PER_HOUR)
    assert abs(meter.micros(NS_PER_HOUR) - exact) <= Fraction(1, 2)


@given(gpu=PRICES, disk=PRICES, steps=STEPS, cut=st.integers(0, 60 * NS_PER_HOUR))
def test_the_parts_of_two_spans_are_the_whole_sum(
    gpu: int, disk: int, steps: list[tuple[int, bool, bool]], cut: int
) -> None:
    meter, now = Meter(0, gpu=gpu, disk=disk), 0
    for length, gpu_on, disk_on in steps:
        now += length
        meter.switch(now, gpu=gpu_on, disk=disk_on)
    parts = [*meter.between(0, min(cut, now)), *meter.between(min(cut, now), now)]
    assert abs(sum(parts, Fraction(0)) - meter.micros(now)) <= Fraction(1, 2)


def test_time_that_goes_back_is_an_error_and_no_refund() -> None:
    meter = Meter(10, gpu=1, disk=1)
    with pytest.raises(ValueError, match="time went back by 5 ns"):
        meter.switch(5, gpu=True, disk=True)


def test_a_disk_costs_its_gigabytes_by_a_month_of_30_days() -> None:
    assert disk_price(0.15, 20) == 4167
    assert disk_price(0.9333, 8) == 10370


@given(st.integers(0, 10**12))
def test_dollars_keep_every_micro_dollar(micros: int) -> None:
    text = dollars(micros)
    assert Fraction(text) * 1_000_000 == micros
    assert len(text.partition(".")[2]) in {4, 6}


@given(st.integers(0, 50))
def test_the_same_seed_stocks_the_same_market(seed: int) -> None:
    assert stock(seed) == stock(seed)
    assert stock(seed) != stock(seed + 1)
