from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from gpuplug.types import Clock


def test_time_moves_only_when_told() -> None:
    clock: Clock = FakeClock()
    before = clock.now(), clock.monotonic()
    assert (clock.now(), clock.monotonic()) == before


def test_a_sleep_moves_on_at_once_and_is_remembered() -> None:
    clock = FakeClock()
    before = clock.now()
    clock.sleep(90)
    clock.advance(10)
    assert clock.monotonic() == 100
    assert clock.now() - before == dt.timedelta(seconds=100)
    assert clock.slept == [90]


def test_a_jump_of_the_wall_time_leaves_measured_time_alone() -> None:
    clock = FakeClock()
    clock.sleep(5)
    clock.set_wall(dt.datetime(2020, 2, 2, tzinfo=dt.timezone.utc))
    assert clock.monotonic() == 5
    assert clock.now() == dt.datetime(2020, 2, 2, tzinfo=dt.timezone.utc)
