"""All speed claims in one run: ratios against a peer measured beside it, written to result.json."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "src")]

from bench import browser, cells, files, panel, place, prices, start, warm  # noqa: E402 - found through the path above

Measure = Callable[[], dict[str, float]]
GOALS: dict[str, tuple[str, float]] = {
    "empty_cell_over_local_ipykernel": ("at most", 0.35),
    "prints_100k_times_faster_than_ipykernel": ("at least", 5.0),
    "flushed_prints_lost_or_doubled": ("at most", 0.0),
    "first_line_seen_after_ms": ("at most", 50.0),
    "load_ext_ms": ("at most", 10.0),
    "load_ext_heavy_imports": ("at most", 0.0),
    "small_files_times_faster_than_rsync": ("at least", 2.0),
    "agent_ready_s": ("at most", 0.5),
    "warm_cell_ms_beyond_the_round_trip": ("at most", 10.0),
    "prices_over_the_slower_api": ("at most", 1.2),
    "warm_prices_ms": ("at most", 30.0),
    "offers_10k_s": ("at most", 0.5),
    "offers_10k_mb": ("at most", 100.0),
    "panel_server_loop_held_ms": ("at most", 50.0),
    "panel_kernel_held_ms": ("at most", 100.0),
    "panel_widget_opens_ms": ("at most", 100.0),
    "panel_idle_server_percent": ("at most", 1.0),
    "panel_idle_kernel_percent": ("at most", 1.0),
    "sidebar_visible_ms": ("at most", 300.0),
    "sidebar_longest_frame_ms": ("at most", 100.0),
    "panel_js_gz_kb": ("at most", 25.0),
}
# What has no figure where there is no npm or no browser; of all others a figure that is missing is a fault.
SKIPPED = ("panel_", "sidebar_")
MEASURES: tuple[Measure, ...] = (
    start.measure,
    prices.measure,
    cells.measure,
    warm.measure,
    files.measure,
    panel.measure,
    browser.measure,
)


def met(name: str, value: float) -> bool:
    """Tell whether a figure meets its goal."""
    direction, goal = GOALS[name]
    return value <= goal if direction == "at most" else value >= goal


def main() -> int:
    """Measure, print, write; 0 only when every goal that could be measured here is met."""
    figures: dict[str, float] = {}
    load = os.getloadavg()[0]
    for measure in MEASURES:
        figures |= measure()
    reason = panel.why_not() or browser.why_not()
    skipped = {name: reason for name in GOALS if name not in figures and name.startswith(SKIPPED) and reason}
    rows = {
        name: {
            "value": round(figures[name], 4),
            "goal": " ".join(map(str, GOALS[name])),
            "met": met(name, figures[name]),
        }
        for name in GOALS
        if name not in skipped
    }
    others = {name: round(value, 4) for name, value in figures.items() if name not in GOALS}
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "sshd": place.sshd(),
        "disk": "memory" if place.disk() == "/dev/shm" else "ordinary",
        "when": time.strftime("%Y-%m-%d"),
    }
    (HERE / "result.json").write_text(
        json.dumps({"goals": rows, "measured": others, "skipped": skipped, "machine": machine}, indent=1) + "\n",
        encoding="utf-8",
    )
    for name, row in rows.items():
        sys.stdout.write(f"{'met ' if row['met'] else 'MISS'}  {name:<42} {row['value']:>10}  ({row['goal']})\n")
    for name, reason in skipped.items():
        sys.stdout.write(f"skip  {name:<42} {reason}\n")
    sys.stdout.write(f"{len(rows)} measured, {len(skipped)} skipped\n")
    return 0 if all(row["met"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
