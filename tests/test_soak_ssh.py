"""A few lives of the soak in each run of the tests: with the real sshd and the real switch, judged by the meter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sandbox_kit import RunningMarket, market
from soak_kit import Life, live, why_no_openssh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def place() -> Iterator[RunningMarket]:
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("GP_PERIOD", "0.5")
        with market(seed=7, sshd="asyncssh" if why_no_openssh() else "openssh") as made:
            yield made


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_goes_wrong_the_bill_ends_in_time_and_no_result_is_lost(
    place: RunningMarket, tmp_path: Path, seed: int
) -> None:
    seen = live(Life.of(seed), place, tmp_path)
    assert seen.broken == []
    assert seen.idle_s <= seen.allowed_s


def test_a_seed_stands_for_the_same_life_each_time() -> None:
    assert Life.of(11) == Life.of(11)
    assert len({Life.of(seed).line for seed in range(40)}) > 20
