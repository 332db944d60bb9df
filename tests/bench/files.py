"""1,000 small files, cold, over SSH: our sync on its open session against `rsync -az` as one types it, interleaved.

What rsync needs when a live connection is lent to it is measured beside.
"""

from __future__ import annotations

import contextlib
import random
import select
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplug import references
from gpuplug.sync import Sync
from gpuplug.types import SystemClock

from .place import Place, rented

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES = 1000
SIZE = 8192
ROUNDS = 9
FAR_ROUNDS = 5
FAR_S = 0.03


def measure() -> dict[str, float]:
    """Return ratios of medians: side by side on loopback, and 30 ms of round trip away."""
    if shutil.which("rsync") is None:
        return {"small_files_times_faster_than_rsync": 0.0}
    with tempfile.TemporaryDirectory() as folder, rented() as place:
        root = Path(folder) / "root"
        _make(root)
        near = _pairs(place, root, Path(folder) / "near", ROUNDS)
        with place.behind(FAR_S) as far_place:
            far = _pairs(far_place, root, Path(folder) / "far", FAR_ROUNDS)
    return {
        "small_files_times_faster_than_rsync": near[2] / near[0],
        "small_files_times_faster_than_rsync_on_a_lent_connection": near[1] / near[0],
        "small_files_s": near[0],
        "small_files_rsync_s": near[2],
        "small_files_rsync_on_a_lent_connection_s": near[1],
        "small_files_times_faster_than_rsync_at_30_ms": far[2] / far[0],
        "small_files_times_faster_than_rsync_at_30_ms_on_a_lent_connection": far[1] / far[0],
        "small_files_at_30_ms_s": far[0],
    }


def _make(root: Path) -> None:
    words = [f"word{number} = {number}\n" for number in range(200)]
    seeded = random.Random(5)  # noqa: S311 - test data
    for number in range(FILES):
        path = root / f"part{number % 20}" / f"file{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(seeded.choices(words, k=SIZE // 14)))


def _pairs(place: Place, root: Path, folder: Path, rounds: int) -> tuple[float, float, float]:
    """Return the medians: ours, rsync over a live connection, rsync as typed; the first round warms up and does not count."""
    folder.mkdir()
    ours, live, typed = [], [], []
    with _rsync(place, root, folder) as rsync:
        for turn in range(rounds + 1):
            ours.append(_sync(place, root, folder, turn))
            live.append(rsync(f"live{turn}", True))  # noqa: FBT003 - see run
            typed.append(rsync(f"typed{turn}", False))  # noqa: FBT003 - see run
    return statistics.median(ours[1:]), statistics.median(live[1:]), statistics.median(typed[1:])


def _sync(place: Place, root: Path, folder: Path, turn: int) -> float:
    with place.session(f"{folder.name}{turn}") as session:
        session.open(30.0)
        session.request("ping")
        found = references.find("", references.Request(root=root, extra=("**/*.py",)))
        sync = Sync(session, root, folder / f"state{turn}.json", clock=SystemClock())
        began = time.perf_counter()
        shipped = sync.ship(found.files, lambda _: None)
        took = time.perf_counter() - began
        assert shipped.sent_files == FILES
        return took


@contextlib.contextmanager
def _rsync(place: Place, root: Path, folder: Path) -> Iterator[Callable[[str, bool], float]]:
    key, known = folder / "key", folder / "known"
    key.write_text(place.user_key)
    key.chmod(0o600)
    known.write_text(f"[{place.host}]:{place.port} {place.host_key}\n")
    alone = f"ssh -F none -p {place.port} -i {key} -o UserKnownHostsFile={known} -c aes128-gcm@openssh.com"
    ssh = f"{alone} -S {folder}/mux"
    target = f"{place.user}@{place.host}"
    with subprocess.Popen([*ssh.split(), "-M", "-N", target]) as master:
        try:
            while subprocess.run([*ssh.split(), "-O", "check", target], check=False, capture_output=True).returncode:
                assert master.poll() is None
                select.select([], [], [], 0.05)

            def run(name: str, live: bool) -> float:  # noqa: FBT001 - over the live connection, or one of its own
                began = time.perf_counter()
                way = ssh if live else alone
                subprocess.run(["rsync", "-az", "-e", way, f"{root}/", f"{target}:{folder.name}-{name}/"], check=True)
                return time.perf_counter() - began

            yield run
        finally:
            master.terminate()
