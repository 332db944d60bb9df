"""Many lives of machines with the real sshd and the real switch: `make soak-ssh`, GP_LIVES of them (60) from GP_FIRST on."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

from sandbox_kit import market
from soak_kit import Life, Seen, live

WORKERS = 8  # they mostly wait


def block(seeds: list[int]) -> list[Seen]:
    """Live some lives, one after the other, on a market of their own."""
    found = []
    with market(seed=seeds[0] + 1) as place:
        for seed in seeds:
            with tempfile.TemporaryDirectory(prefix="soak-") as folder:
                seen = live(Life.of(seed), place, Path(folder))
            words = f"seed {seed}: {seen.life.fault}, {seen.life.platform}, --unfetched {seen.life.unfetched}"
            end = f"{seen.idle_s:.0f} of {seen.allowed_s:.0f} s{', rests' if seen.rested else ''}"
            sys.stdout.write(f"{words}: {'; '.join(seen.broken) or end}\n")
            sys.stdout.flush()
            found.append(seen)
    return found


def main() -> int:
    """Live what the environment says; 0 only when every promise was kept."""
    first, lives = int(os.environ.get("GP_FIRST", "0")), int(os.environ.get("GP_LIVES", "60"))
    seeds = range(first, first + lives)
    began = time.monotonic()
    with get_context("spawn").Pool(WORKERS) as pool:
        # Each worker gets every fault in turn.
        parts = [[seed for seed in seeds if (seed - first) // 5 % WORKERS == number] for number in range(WORKERS)]
        done = [seen for part in pool.imap_unordered(block, [part for part in parts if part]) for seen in part]
    broken = [seen for seen in done if seen.broken]
    faults = Counter(seen.life.fault for seen in done)
    alone = [seen for seen in done if not seen.broken and seen.life.fault in {"laptop off", "killed under a cell"}]
    over = max((seen.idle_s - seen.allowed_s + 60 for seen in alone), default=0.0)
    noticed = max((seen.idle_s for seen in done if seen.life.fault.startswith("switch")), default=0.0)
    told = ", ".join(f"{count} x {name}" for name, count in sorted(faults.items()))
    sys.stdout.write(
        f"{len(done)} lives from seed {first}: {len(broken)} broke a promise; {told}; "
        f"{sum(seen.rested for seen in done)} rested with results and gave them back; longest bill past the end of the lease or of "
        f"what was paid for, with nobody in touch: {over:.0f} s; longest from a killed or stopped switch to the proven end: "
        f"{noticed:.0f} s; {time.monotonic() - began:.0f} s in all\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
