"""One run from its plan to its verdict."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sim.judge import Violation
from sim.plan import STORIES, Plan
from sim.process import AGAIN_S, HALF_DAY_S, Process
from sim.seams import ledger_in_memory, wired
from sim.world import CrashError, World

if TYPE_CHECKING:
    from collections.abc import Generator

# A RAM disk where there is one: what is tested is the order of the commits, not the disk.
_SHM = Path("/dev/shm")
_ROOT = str(_SHM) if _SHM.is_dir() else None
_ROUNDS = 40
_ROUND_S = 60.0
_ATTENDED_S = (300.0, 3_600.0)
_LOOKS = 6
_LONGEST_S = 16_000.0  # of the cells of the stories, with a lease after it


class Verdict(NamedTuple):
    """What a run has come to. Money in micro-dollars: what the market billed, and what the ledger says."""

    digest: str
    points: list[str]
    machines: int
    idle_s: float
    billed: float
    recorded: int


@contextlib.contextmanager
def standing(plan: Plan, *, traced: bool = False, on_disk: bool = False) -> Generator[World, None, None]:
    """Give a world for `plan`, in a folder of its own; its ledger is there when `on_disk`, else in memory."""
    home = Path(tempfile.mkdtemp(prefix="gpuplug-sim-", dir=_ROOT))
    with contextlib.ExitStack() as closing:
        closing.callback(shutil.rmtree, home, ignore_errors=True)
        kept = None if on_disk else closing.enter_context(ledger_in_memory())
        world = World(plan, home, kept)
        closing.callback(world.close)
        world.trace = [] if traced else None
        with wired(world):
            world.other = Process(world, "B")
            yield world


def run(plan: Plan) -> Verdict:
    """Play `plan` to its end.

    Raises:
        Violation: a promise was broken; names the plan, the least of it that still breaks one, and how to play it again.
    """
    try:
        with standing(plan) as world:
            return through(world)
    except Violation as error:
        again = f"again: GP_PLAN='{plan.name}' make soak"
        raise Violation(f"{error}\n  in {plan}\n  least {shrunk(plan)}\n  {again}") from error


def through(world: World) -> Verdict:
    """Play the plan of `world` to its end.

    Raises:
        Violation: a promise was broken.
    """
    process = Process(world, "A1")
    for word in STORIES[world.plan.story]:
        process = play(world, process, word)
    if world.revoked:
        without_a_key(world)
    leases = settle(world).engine.ledger.leases()
    machines = [machine for machine in world.market.machines.values() if machine not in world.market.strangers()]
    now = world.clock.now().timestamp()
    return Verdict(
        digest=world.digest,
        points=world.points,
        machines=len(machines),
        idle_s=max((machine.idle_s(world.now) for machine in machines), default=0.0),
        billed=sum(machine.bill(world.now) for machine in machines),
        recorded=sum(lease.cost(now).micros for lease in leases),
    )


def holds(plan: Plan) -> bool:
    """Tell whether a run of `plan` keeps every promise."""
    try:
        with standing(plan) as world:
            through(world)
    except Violation:
        return False
    return True


def shrunk(plan: Plan) -> Plan:
    """Return `plan` without the faults that its failure does not need."""
    for fault in plan.faults:
        if not holds(plan.without(fault)):
            plan = plan.without(fault)
    return plan


def play(world: World, process: Process, word: str) -> Process:
    """Let `process` do `word`. When it crashes, the laptop is off for a while and a new process looks first."""
    try:
        process.act(word)
    except CrashError:
        return restart(world, process)
    if word == "leave":
        return restart(world, process)
    return process


def restart(world: World, process: Process) -> Process:
    """Start the next process on the same ledger; it reconciles first."""
    process.close()
    away(world)
    following = Process(world, f"A{int(process.name[1:]) + 1}")
    return play(world, play(world, following, "reap"), "look")


def away(world: World) -> None:
    """Let the time pass for which the laptop is off; for an hour at most it may be on, and a timer of it looks."""
    if world.plan.off_s not in _ATTENDED_S:
        world.pass_time(world.plan.off_s)
        return
    for _ in range(_LOOKS):
        world.pass_time(world.plan.off_s / _LOOKS)
        world.beside("reap")


def without_a_key(world: World) -> None:
    """Let the key stay refused for longer than the terms of any machine; the looks of a timer do no more than look."""
    for _ in range(_LOOKS):
        world.pass_time(max(world.options.terms.hard, _LONGEST_S) / _LOOKS)
        world.beside("reap")
    world.judge.switched()


def look_for_days(world: World, process: Process) -> None:
    """Let days pass in fair weather, in which a timer looks twice a day: longer than any budget but the large one lasts."""
    for _ in range(8):
        for seconds in (HALF_DAY_S, AGAIN_S):
            world.pass_time(seconds)
            process.act("reap")
    world.judge.rested()


def settle(world: World) -> Process:
    """In fair weather a new process looks each minute, as a reaper or as a panel does, then ends all; nothing may be left."""
    world.fair()
    process = Process(world, "C")
    if any(machine.resting and machine.results for machine in world.market.ours()):
        look_for_days(world, process)
    for turn in range(_ROUNDS):
        process.act("look" if turn % 2 else "reap")
        world.pass_time(_ROUND_S)
        if turn >= 2 and not world.market.restless():
            process.act("down")
            if not process.engine.ledger.open_leases():
                break
    process.act("look")
    world.judge.ended()
    return process
