"""Many seeds, on all cores: `make soak`, with GP_SEEDS of them from GP_FIRST on, or GP_PLAN played once with its trace."""

from __future__ import annotations

import gc
import os
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "src")]

from sim.judge import Violation  # noqa: E402 - found through the path above
from sim.plan import STORIES, named, seeded  # noqa: E402 - likewise
from sim.run import run, standing, through  # noqa: E402 - likewise

if TYPE_CHECKING:
    from collections.abc import Iterable

SEEDS = 1_000_000
BLOCK = 250
WORST_SHOWN = 5
_RARELY = (20_000, 50, 100)


class Sum(NamedTuple):
    """What a block of seeds has come to."""

    seeds: int = 0
    machines: int = 0
    points: int = 0
    idle_s: float = 0.0
    cpu_s: float = 0.0
    broken: tuple[str, ...] = ()


def block(first: int) -> Sum:
    """Play a block of seeds."""
    gc.freeze()  # what was imported is never garbage: looking at it each time costs a tenth of a run
    gc.set_threshold(*_RARELY)
    began = time.process_time()
    total = Sum()
    for seed in range(first, first + BLOCK):
        try:
            seen = run(seeded(seed))
        except Violation as error:
            total = total._replace(seeds=total.seeds + 1, broken=(*total.broken, str(error)))
            continue
        total = Sum(
            total.seeds + 1,
            total.machines + seen.machines,
            total.points + len(seen.points),
            max(total.idle_s, seen.idle_s if seeded(seed).traits.armed else 0.0),
            0.0,
            total.broken,
        )
    return total._replace(cpu_s=time.process_time() - began)


def together(sums: Iterable[Sum]) -> Sum:
    """Add up blocks as they come; what is broken is told at once."""
    total = Sum()
    for each in sums:
        for text in each.broken[:WORST_SHOWN]:
            sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        total = Sum(
            total.seeds + each.seeds,
            total.machines + each.machines,
            total.points + each.points,
            max(total.idle_s, each.idle_s),
            total.cpu_s + each.cpu_s,
            total.broken + each.broken,
        )
    return total


def again(name: str) -> int:
    """Play one plan and print all that happens in it."""
    plan = named(name)
    sys.stdout.write(f"{plan}\nstory: {', '.join(STORIES[plan.story])}\n")
    broken = ""
    with standing(plan, traced=True) as world:
        try:
            through(world)
        except Violation as error:
            broken = str(error)
        sys.stdout.write(
            "\n".join([*(world.trace or []), f"trace hash {world.digest}", broken or "every promise kept", ""])
        )
    return 1 if broken else 0


def main() -> int:
    """Play what the environment says; 0 only when every promise was kept."""
    if os.environ.get("GP_PLAN"):
        return again(os.environ["GP_PLAN"])
    first, seeds = int(os.environ.get("GP_FIRST", "0")), int(os.environ.get("GP_SEEDS", str(SEEDS)))
    began = time.perf_counter()
    with get_context("spawn").Pool() as pool:
        total = together(pool.imap_unordered(block, range(first, first + seeds, BLOCK)))
    sys.stdout.write(
        f"{total.seeds} seeds from {first}: {len(total.broken)} broke a promise; {total.machines} instances rented, "
        f"{total.points} points passed; longest with nobody in touch, its switch armed: {total.idle_s:.0f} s; "
        f"{1000 * total.cpu_s / max(1, total.seeds):.1f} ms of CPU a seed, {time.perf_counter() - began:.0f} s in all\n"
    )
    return 1 if total.broken else 0


if __name__ == "__main__":
    sys.exit(main())
