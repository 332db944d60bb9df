"""Spend in pieces: whatever it is cut by, the pieces add up to the whole, over midnights, month ends and odd days."""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_ledger import lease as a_lease

from gpuplug.ledger import PERIODS, BytePrices, CellRow, Lease, Ledger, Passed, Rate, State, Toll, spend_lines
from gpuplug.ledger.spending import BY
from gpuplug.testing import FakeClock
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "America/Havana", "Asia/Kathmandu", "Australia/Lord_Howe")
DAY = 86_400.0
# Around the days on which clocks are changed, there and elsewhere, and the end of a year.
STARTS = [dt.datetime(2018, 11, 4, 3, tzinfo=dt.timezone.utc), dt.datetime(2026, 3, 29, tzinfo=dt.timezone.utc)]
STARTS += [dt.datetime(2026, month, 25, tzinfo=dt.timezone.utc) for month in (2, 10, 12)]

prices = st.integers(0, 3_000_000).map(Money)
seconds = st.floats(-4 * DAY, 8 * DAY, allow_nan=False).map(lambda value: round(value, 3))


tolls = st.lists(st.tuples(seconds, st.integers(0, 10**16)), max_size=5)


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FakeClock) -> Iterator[Ledger]:
    made = Ledger(tmp_path, clock)
    yield made
    made.close()


@st.composite
def leases(draw: st.DrawFn) -> list[Lease]:
    """Leases whose rates need be in no order: a clock may have been set back between two of them."""
    base = draw(st.sampled_from(STARTS)).timestamp()
    found = []
    for number in range(draw(st.integers(1, 4))):
        rates = tuple(Rate(base + at, price) for at, price in draw(st.lists(st.tuples(seconds, prices), max_size=5)))
        made = a_lease(
            f"gp-{number}",
            rates=rates,
            tolls=tuple(Toll(base + at, exact) for at, exact in draw(tolls)),
            created=base + draw(seconds),
            ended=draw(st.none() | seconds.map(lambda at: base + at)),
            stopped_price=draw(prices),
            gpu=draw(st.sampled_from(["A", "B"])),
            provider=draw(st.sampled_from(["vast", "runpod"])),
            notebook=draw(st.sampled_from(["x", "y"])),
            simulated=draw(st.booleans()),
            state=draw(st.sampled_from([State.READY, State.GONE, State.FAILED])),
        )
        found.append(made)
    return found


cells = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 5 * DAY), st.floats(0, DAY)).map(
        lambda drawn: CellRow(str(drawn), f"gp-{drawn[0]}", "x", STARTS[1].timestamp() + drawn[1], drawn[2], ZERO, "ok")
    ),
    max_size=5,
)


@given(leases(), cells, seconds, seconds)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_sums_by_anything_are_the_same_and_are_the_total(
    zone: str, found: list[Lease], ran: list[CellRow], since: float, now: float
) -> None:
    base = min(lease.created for lease in found)
    since, now = base + min(since, now), base + max(since, now)
    whole = sum((each.cost(max(now, each.ended or now), since) for each in found if not each.simulated), ZERO)
    for by in BY:
        lines = spend_lines(found, ran, now, since, by)
        assert sum((line.parts.total for line in lines if not line.simulated), ZERO) == whole, (zone, by)


@given(leases(), seconds)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_nothing_is_lost_or_counted_twice_across_a_midnight(zone: str, found: list[Lease], at: float) -> None:
    assert zone == os.environ["TZ"]
    begin, end = PERIODS["day"](found[0].created + at)
    _, following = PERIODS["day"](end)
    for lease in found:
        assert lease.cost(end, begin) + lease.cost(following, end) == lease.cost(following, begin)
        assert lease.cost(end, begin) >= ZERO


@given(st.sampled_from(STARTS), st.floats(-400 * DAY, 400 * DAY))
@example(STARTS[0], 0.0)
@example(STARTS[0], -1.6e-07)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_days_and_months_follow_each_other_without_a_gap(zone: str, start: dt.datetime, shift: float) -> None:
    at = start.timestamp() + shift
    for per, shortest, longest in (("day", 22.9, 25.1), ("month", 27.9 * 24, 31.1 * 24)):
        begin, end = PERIODS[per](at)
        assert begin <= at < end, zone
        assert shortest <= (end - begin) / 3600 <= longest
        assert PERIODS[per](end)[0] == end
        assert PERIODS[per](begin - 0.001)[1] == begin
        assert PERIODS[per](begin) == (begin, end)


def test_kinds_of_cost_are_told_apart() -> None:
    rates = (Rate(0, Money(3600)), Rate(3600, Money(360_000)), Rate(7200, Money(5000)), Rate(10_800, Money(400_000)))
    lease = a_lease("gp-1", created=0.0, rates=rates, stopped_price=Money(5000), state=State.GONE, ended=14_400.0)
    (line,) = spend_lines([lease], [], 20_000.0, 0.0, "gpu")
    assert line.parts.disk == Money(3600 + 5000 + 5000)
    assert line.parts.stopped == Money(5000)
    assert line.parts.compute == Money(360_000 + 400_000 - 10_000)
    assert line.parts.total == Money(3600 + 360_000 + 5000 + 400_000)


def test_a_cell_costs_what_the_meter_says_and_the_rest_stands_beside_it() -> None:
    lease = a_lease("gp-1", instance_id="7", created=0.0, rates=(Rate(0, Money(360_000)),), stopped_price=ZERO)
    ran = [CellRow("c1", "gp-1", "nb", 100.0, 100.0, ZERO, "ok"), CellRow("c2", "gp-2", "nb", 0.0, 9.0, ZERO, "ok")]
    lines = {line.what.split()[-1]: line.parts.total for line in spend_lines([lease], ran, 1000.0, 0.0, "cell")}
    assert lines == {"c1": Money(10_000), "#7": Money(90_000)}


def test_simulated_money_is_a_line_of_its_own(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = Ledger(tmp_path, clock)
    now = clock.now().timestamp()
    for label, simulated in (("gp-1", True), ("gp-2", False)):
        rates = (Rate(now, Money(360_000)),)
        ledger.intend(a_lease(label, created=now, rates=rates, simulated=simulated, state=State.READY))
    clock.advance(3600.0)
    lines = spend_lines(ledger.leases(), [], clock.now().timestamp(), now, "gpu")
    assert {line.simulated: line.parts.total for line in lines} == {True: Money(360_000), False: Money(360_000)}
    assert ledger.spent(now) == Money(360_000)
    ledger.close()


def test_bytes_are_a_kind_of_cost_of_their_own_exact_and_counted_once(ledger: Ledger, clock: FakeClock) -> None:
    ledger.intend(a_lease("gp-1", created=clock.now().timestamp(), rates=(), stopped_price=ZERO))
    ledger.traffic.agree("gp-1", BytePrices(Money(5_000), Money(1_953)))
    clock.advance(1.0)
    ledger.touch("gp-1", 1, passed=Passed(3 * 10**9, 10**9))
    ledger.touch("gp-1", 1, passed=Passed(1, 0))
    ledger.traffic.keep("gp-1", Passed(10**9 - 1, 0), clock.now().timestamp())
    clock.advance(1.0)
    (line,) = spend_lines(ledger.leases(), [], clock.now().timestamp(), 0.0, "instance")
    assert line.parts.bytes == Money(4 * 5_000 + 1_953) == ledger.spent(0) == line.parts.total


def test_nothing_is_written_of_the_bytes_of_a_host_that_bills_none(ledger: Ledger, clock: FakeClock) -> None:
    ledger.intend(a_lease("gp-1", created=clock.now().timestamp(), rates=(), stopped_price=ZERO))
    ledger.touch("gp-1", 1, passed=Passed(10**12, 10**12))
    ledger.traffic.agree("gp-1", BytePrices(Money(5_000), Money(1_953)))
    clock.advance(1.0)
    assert ledger.spent(0) == ZERO


def test_the_bytes_of_a_cell_are_in_its_line(ledger: Ledger, clock: FakeClock) -> None:
    begun = clock.now().timestamp()
    ledger.intend(a_lease("gp-1", created=begun - 5000, rates=(), stopped_price=ZERO))
    ledger.traffic.agree("gp-1", BytePrices(Money(5_000)))
    clock.advance(60.0)
    ledger.touch("gp-1", 0, passed=Passed(10**9, 0), at=begun)
    ran = [CellRow("c1", "gp-1", "x", begun, 50.0, ZERO, "ok")]
    lines = spend_lines(ledger.leases(), ran, clock.now().timestamp(), 0.0, "cell")
    assert {line.what.split()[-1]: line.parts.bytes for line in lines} == {"c1": Money(5_000)}
