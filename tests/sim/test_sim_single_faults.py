"""Every single fault: each thing that can go wrong, at each point where it can, in a run that is well otherwise."""

from __future__ import annotations

import pytest
from sim.plan import CALLS, LASTING, LEDGER, PROCESS, Fault, clean, fits, named, single
from sim.run import run

RUNS = [("vast", "calm", "plain"), ("runpod", "calm", "rest and end")]
ACTIONS = sorted({*PROCESS, *LEDGER, *LASTING, *(action for several in CALLS.values() for action in several)})


def faults(platform: str, weather: str, story: str, action: str) -> list[Fault]:
    """Return `action` at each point of the clean run where it can happen."""
    points = run(clean(platform, weather, story)).points
    return [Fault(number, action) for number, point in enumerate(points) if fits(action, point)]


@pytest.mark.parametrize("words", RUNS, ids="/".join)
@pytest.mark.parametrize("action", ACTIONS)
def test_no_single_fault_breaks_a_promise(words: tuple[str, str, str], action: str) -> None:
    for fault in faults(*words, action):
        run(single(*words, fault))


def test_a_single_fault_is_played_again_by_its_name() -> None:
    plan = single(*RUNS[0], Fault(7, "crash"))
    assert named(plan.name) == plan
    assert run(named(plan.name)).digest == run(plan).digest


def test_every_crash_point_of_a_life_is_met() -> None:
    assert sum(len(faults(*words, "crash")) for words in RUNS) >= 120
