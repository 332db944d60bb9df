"""A process that dies at any point: the next one has reconciled all of it within a minute of its start."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sim.plan import STORIES, Fault, Plan, clean, fits, single
from sim.process import Process
from sim.run import settle, standing
from sim.world import CrashError, World

RUNS = [("vast", "calm", "plain"), ("runpod", "calm", "rest and end"), ("vast", "lagging", "again")]
# At once, while what the dead process was renting is still held, and later.
OFF_S = [(RUNS[0], 0.0), (RUNS[0], 300.0), (RUNS[1], 0.0), (RUNS[2], 300.0)]
ROUND_S = 20.0


def points(words: tuple[str, str, str]) -> list[int]:
    """Return the numbers of the points of a clean life at which a process can die."""
    with standing(clean(*words)) as world:
        live(world)
        return [number for number, point in enumerate(world.points) if fits("crash", point)]


def live(world: World) -> bool:
    """Let one process live its story; tell whether it died."""
    process = Process(world, "A1")
    try:
        for word in STORIES[world.plan.story]:
            process.act(word)
    except CrashError:
        process.close()
        return True
    return False


def start_again(plan: Plan) -> None:
    with standing(plan) as world:
        assert live(world), f"{plan} was survived"
        world.fair()
        world.pass_time(plan.off_s)
        following, began = Process(world, "A2"), world.now
        while world.now - began < 60.0:
            following.act("reap")
            world.pass_time(max(0.0, ROUND_S - (world.now - began) % ROUND_S))
        world.judge.reconciled(began)
        settle(world)


@pytest.mark.parametrize(("words", "off_s"), OFF_S)
def test_after_a_crash_at_each_point_the_next_process_has_reconciled_within_a_minute(
    words: tuple[str, str, str], off_s: float
) -> None:
    for number in points(words):
        start_again(replace(single(*words, Fault(number, "crash")), off_s=off_s))


def test_there_are_more_than_a_hundred_and_twenty_such_points() -> None:
    found = {"/".join(words): len(points(words)) for words in RUNS}
    assert sum(found.values()) >= 120, found
