"""What is said before renting is the most that the meter shows, for every way in which nobody comes back: the real switch decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from switch_kit import OWN, Machine, machines, provider

from gpuplug import config
from gpuplug.engine.consent import worst_case
from gpuplug.engine.purse import SWITCH_GRACE_S
from gpuplug.sandbox.meter import Meter
from gpuplug.types import Money

if TYPE_CHECKING:
    from pathlib import Path

    from providers_kit import Api

Make = Callable[..., Machine]
PRICE = Money(360_000)
BEGAN = 1000
LOOK_S = 10  # a look each 5 s, and 5 s for the cells to end
CENT = 10_000
LINES = ["--for 1m,2h", "--for 15m,30m --budget 0.05", "--for 15m,4h --budget 0.10", "--for 1h,1h --budget 9"]


@pytest.fixture
def api() -> Iterator[Api]:
    with provider() as server:
        yield server


@pytest.fixture
def make(api: Api, tmp_path: Path) -> Iterator[Make]:
    with machines(tmp_path, api.url) as make:
        yield make


def billed(seconds: float) -> int:
    """Return what the meter shows, in micro-dollars, of a machine that ran so long."""
    meter = Meter(0, gpu=PRICE.micros, disk=0)
    meter.switch(0, gpu=True, disk=False)
    return meter.micros(round(seconds * 1e9))


def said(options: config.Options) -> list[int]:
    """Return what is said to be lost at most, in micro-dollars: idle, with a running cell, in all, with waiting results."""
    amounts = re.findall(r"\$(\d+\.\d+)", worst_case(PRICE, options))
    return [Money.dollars(amount).micros for amount in amounts]


def ends_at(machine: Machine, api: Api, second: int, *, in_touch: bool = False) -> None:
    """See the switch end the instance in that second of its life, and not one before."""
    for uptime in (BEGAN + second - 1, BEGAN + second):
        if in_touch:
            machine.write("contact", f"{uptime}\n")
        machine.uptime(uptime)
        if uptime == BEGAN + second - 1:
            machine.beats()
            assert not api.calls("DELETE")
    api.wait("DELETE", OWN)


@pytest.mark.parametrize("line", LINES)
def test_an_idle_machine_bills_no_more_than_was_said(api: Api, make: Make, line: str) -> None:
    options = config.parse(line, config.CELL, {})
    machine = make(lease_s=options.terms.lease, hard_s=options.terms.hard)
    machine.armed()
    ends_at(machine, api, options.terms.lease)
    idle, _, whole, *_ = said(options)
    assert billed(options.terms.lease + LOOK_S) <= idle + CENT
    assert idle <= whole + billed(60) + CENT


@pytest.mark.parametrize("line", LINES)
def test_a_running_cell_bills_no_more_than_was_said_and_two_minutes(api: Api, make: Make, line: str) -> None:
    options = config.parse(line, config.CELL, {})
    paid_s = options.budget.micros * 3600 // PRICE.micros
    machine = make(lease_s=options.terms.lease, hard_s=options.terms.hard)
    machine.armed()
    machine.write("budget", f"{BEGAN + paid_s + SWITCH_GRACE_S:.2f}\n")
    second = min(options.terms.hard, int(paid_s + SWITCH_GRACE_S))
    ends_at(machine, api, second, in_touch=True)
    _, cell, _, *_ = said(options)
    assert billed(second + LOOK_S) <= cell + billed(120) + CENT


@pytest.mark.parametrize("line", LINES)
def test_results_that_wait_bill_no_more_than_was_said(api: Api, make: Make, line: str) -> None:
    options = config.parse(line + " --unfetched wait", config.CELL, {})
    paid_s = options.budget.micros * 3600 // PRICE.micros
    machine = make(lease_s=options.terms.lease, hard_s=options.terms.hard)
    machine.armed()
    machine.write("keep", f"{BEGAN + paid_s}\n")
    second = min(options.terms.hard, max(options.terms.lease, paid_s))
    ends_at(machine, api, second)
    idle, *_, waiting = said(options)
    assert billed(second + LOOK_S) <= max(idle, waiting) + CENT
