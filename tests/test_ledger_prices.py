"""Prices in the ledger: one asks at a time, within the pace; samples are thinned; an older ledger gets the new pages."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_kit import child_environment

from gpuplug.ledger import Ledger, PriceBook, Sample, Seen, prices
from gpuplug.testing import FakeClock
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR, DAY = 3600, 86_400
NOW = 1_900_000_000.0
NO_PACE = (0, 0.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path, FakeClock())
    yield made
    made.close()


@pytest.fixture
def book(ledger: Ledger) -> PriceBook:
    return ledger.prices


def sample(at: float, low: int = 100, median: int = 200, gpu: str = "RTX 4090", **more: bool) -> Sample:
    return Sample(gpu, "community", more.get("spot", False), int(at), Money(low), Money(median), 5)


def keep(book: PriceBook, *samples: Sample, at: float = NOW) -> None:
    book.store("vast", "q", Seen(at, b"body"), samples)


def test_what_was_seen_is_kept_for_each_market_and_question(book: PriceBook) -> None:
    assert book.seen("vast", "q") is None
    keep(book)
    assert book.seen("vast", "q") == Seen(NOW, b"body")
    assert book.taken("vast", "q") == NOW
    assert book.taken("vast", "other") is None
    assert book.taken("vast elsewhere", "q") is None


def test_reading_prices_from_an_absent_ledger_makes_no_file(ledger: Ledger) -> None:
    assert ledger.prices.history("vast") == []
    assert ledger.prices.taken("vast", "q") is None
    assert not ledger.exists


def test_one_holder_asks_a_market_and_another_waits_until_it_is_done(book: PriceBook) -> None:
    assert book.take_turn("vast", "a", NOW, NO_PACE, 1) == 0
    assert book.take_turn("vast", "b", NOW, NO_PACE, 1) > 0
    assert book.take_turn("runpod", "b", NOW, NO_PACE, 1) == 0
    book.end_turn("vast", "b")
    assert book.take_turn("vast", "b", NOW, NO_PACE, 1) > 0
    book.end_turn("vast", "a")
    assert book.take_turn("vast", "b", NOW, NO_PACE, 1) == 0


def test_the_lease_of_a_holder_that_died_ends_by_itself_also_when_the_clock_went_back(book: PriceBook) -> None:
    book.take_turn("vast", "dead", NOW, NO_PACE, 1)
    assert 0 < book.take_turn("vast", "b", NOW + 39, NO_PACE, 1) <= 1
    assert book.take_turn("vast", "b", NOW + 40, NO_PACE, 1) == 0
    assert book.take_turn("vast", "c", NOW - DAY, NO_PACE, 1) == 0


def test_all_processes_together_stay_within_the_pace(book: PriceBook) -> None:
    for second in range(3):
        assert book.take_turn("vast", "a", NOW + second, (3, 60), 1) == 0
        book.end_turn("vast", "a")
    assert book.take_turn("vast", "b", NOW + 10, (3, 60), 1) == 50
    assert book.take_turn("vast", "b", NOW + 10, (3, 60), 2) == 51
    assert book.take_turn("vast", "b", NOW + 60, (3, 60), 1) == 0


def test_more_searches_than_the_pace_allows_at_once_wait_for_all_others_and_are_not_refused_for_ever(
    book: PriceBook,
) -> None:
    book.take_turn("vast", "a", NOW, (3, 60), 1)
    book.end_turn("vast", "a")
    assert book.take_turn("vast", "b", NOW + 1, (3, 60), 9) == 59
    assert book.take_turn("vast", "b", NOW + 60, (3, 60), 9) == 0


def test_a_market_that_asked_for_patience_is_left_alone_but_not_for_days(book: PriceBook) -> None:
    book.take_turn("vast", "a", NOW, NO_PACE, 1)
    book.end_turn("vast", "a", NOW + 100)
    assert book.take_turn("vast", "b", NOW, NO_PACE, 1) == 100
    assert book.take_turn("vast", "b", NOW + 100, NO_PACE, 1) == 0
    book.end_turn("vast", "b", NOW + 7 * DAY)
    assert book.take_turn("vast", "c", NOW + 100, NO_PACE, 1) == 0


def test_two_processes_never_hold_the_same_lease(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gpuplug.ledger import Ledger; from gpuplug.types import SystemClock\n"
        "book = Ledger(Path(sys.argv[1]), SystemClock()).prices; sys.stdin.readline()\n"
        "print(book.take_turn('vast', sys.argv[2], 1000.0, (0, 0.0), 1) == 0)"
    )
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), name],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for one in racing:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.communicate(timeout=30)[0].strip() for one in racing]
    assert sorted(said) == ["False", "False", "True"]


def test_samples_come_back_by_market_in_order_and_a_minute_holds_one(book: PriceBook) -> None:
    keep(book, sample(NOW), sample(NOW, gpu="A10"), sample(NOW, low=50, spot=True))
    keep(book, sample(NOW + 1, low=90), at=NOW + 1)
    keep(book, sample(NOW + 120, low=80), at=NOW + 120)
    found = book.history("vast")
    assert [(one.gpu, one.spot, one.low.micros) for one in found] == [
        ("A10", False, 100),
        ("RTX 4090", False, 90),
        ("RTX 4090", False, 80),
        ("RTX 4090", True, 50),
    ]
    assert book.history("vast elsewhere") == []
    assert [one.low.micros for one in book.history("vast", NOW + 60)] == [80]


def test_after_a_day_an_hour_and_after_thirty_days_a_day_is_one_sample(book: PriceBook) -> None:
    begin = NOW // DAY * DAY
    for minute in range(0, 120, 10):
        keep(book, sample(begin + minute * 60, low=100 + minute), at=begin)
    assert len(book.history("vast")) == 12
    keep(book, sample(begin + 2 * DAY), at=begin + 2 * DAY)
    hours = [one for one in book.history("vast") if one.at < begin + DAY]
    assert [(one.span, one.low.micros) for one in hours] == [(HOUR, 100), (HOUR, 160)]
    keep(book, sample(begin + 40 * DAY), at=begin + 40 * DAY)
    first = book.history("vast")[0]
    assert (first.at, first.span, first.low.micros, first.offers) == (begin, DAY, 100, 5)


@given(st.lists(st.tuples(st.integers(0, 100 * DAY), st.integers(1, 10**9)), min_size=1, max_size=60))
def test_thinning_never_loses_the_lowest_price_nor_grows_without_end(points: list[tuple[int, int]]) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(prices.SCHEMA)
    book = PriceBook(
        lambda: contextlib.nullcontext(connection), lambda query, *values: connection.execute(query, values).fetchall()
    )
    ordered = sorted(points)
    for at, low in ordered:
        book.store("vast", "q", Seen(NOW + at, b""), [sample(NOW + at, low=low)])
    found = book.history("vast")
    by_minute = {(int(NOW) + at) // 60: low for at, low in ordered}  # a later one replaces an earlier one of its minute
    assert min(one.low.micros for one in found) == min(by_minute.values())
    assert len(found) <= len(by_minute)
    connection.close()
