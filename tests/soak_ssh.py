"""Many lives of machines with the real sshd and the real switch: `make soak-ssh`, GP_LIVES of them (500) from GP_FIRST on.

SIGTERM lets the lives that go on come to their end, and begins no more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox_kit import market
from soak_kit import Life, Seen, live, why_no_openssh

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Lock

WORKERS = 24  # they mostly wait
_seeds: list[Synchronized[int]] = []  # the next one and the end, shared by all workers
_turns: list[Lock] = []


def share(following: Synchronized[int], end: Synchronized[int], turn: Lock) -> None:
    """Begin a worker: it takes its seeds from these, and starts its market while no other does."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _seeds[:], _turns[:] = [following, end], [turn]


def take() -> int | None:
    """Return the next seed; None when there is none."""
    following, end = _seeds
    with following.get_lock():
        seed = following.value
        if seed >= end.value:
            return None
        following.value += 1
    return seed


def worker(number: int) -> list[Seen]:
    """Live one life after the other on a market of its own, as long as there are some."""
    found = []
    with contextlib.ExitStack() as stack:
        with _turns[0]:
            place = stack.enter_context(market(seed=number + 1, sshd="openssh"))
        while (seed := take()) is not None:
            with tempfile.TemporaryDirectory(prefix="soak-") as folder:
                seen = live(Life.of(seed), place, Path(folder))
            sys.stdout.write(told(seen))
            sys.stdout.flush()
            found.append(seen)
    return found


def told(seen: Seen) -> str:
    """Return a life's line, and its whole story when it broke a promise."""
    life = seen.life
    words = f"seed {life.seed}: {life.fault}, {life.platform}, --unfetched {life.unfetched}"
    if seen.broken:
        return f"{words}: BROKEN: {'; '.join(seen.broken)}\n" + "".join(f"    {line}\n" for line in seen.story)
    return f"{words}: {seen.idle_s:.0f} of {seen.allowed_s:.0f} s{', rests' if seen.rested else ''}\n"


def table(done: list[Seen]) -> str:
    """Return one line for each fault and platform."""
    lines = ["| fault | platform | lives | longest bill, s | allowed, s | its seed |", "|---|---|---|---|---|---|"]
    for fault, platform in sorted({(seen.life.fault, seen.life.platform) for seen in done}):
        lives = [seen for seen in done if (seen.life.fault, seen.life.platform) == (fault, platform)]
        worst = max(lives, key=lambda seen: seen.idle_s)
        numbers = f"{len(lives)} | {worst.idle_s:.0f} | {worst.allowed_s:.0f} | {worst.life.seed}"
        lines.append(f"| {fault} | {platform} | {numbers} |")
    return "\n".join(lines)


def main() -> int:
    """Live what the environment says; 0 only when every promise was kept."""
    if why := why_no_openssh():
        sys.stderr.write(f"{why}\n")
        return 1
    first, lives = int(os.environ.get("GP_FIRST", "0")), int(os.environ.get("GP_LIVES", "500"))
    context = get_context("spawn")
    following, end = context.Value("q", first), context.Value("q", first + lives)
    signal.signal(signal.SIGTERM, lambda *_: setattr(end, "value", first))
    began = time.monotonic()
    with context.Pool(min(WORKERS, lives), share, (following, end, context.Lock())) as pool:
        done = [seen for part in pool.imap_unordered(worker, range(min(WORKERS, lives))) for seen in part]
    broken = sorted(seen.life.seed for seen in done if seen.broken)
    kept = [seen for seen in done if not seen.broken]
    sys.stdout.write(
        f"{len(done)} lives from seed {first} in {time.monotonic() - began:.0f} s, "
        f"{sum(os.times()[:4]):.0f} s of a processor: "
        f"{len(broken)} broke a promise {broken or ''}; {sum(seen.rested for seen in kept)} rested with results and gave them back\n"
        f"{table(kept)}\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
