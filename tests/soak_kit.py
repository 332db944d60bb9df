"""One life of a rented machine with the real sshd and the real switch, by a seed; the market's meter is the oracle.

A process of its own is the notebook. Something goes wrong: it is killed while its cell runs, or the laptop is off when it
idles, or the host kills or stops the switch, or nothing gets out of the container. Whatever it is, the bill must end.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING
from unittest.mock import patch

from engine_kit import Quiet
from sandbox_kit import child_environment

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.frontends import verbs

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox_kit import RunningMarket

FAULTS = ("killed under a cell", "laptop off", "switch killed", "switch stopped", "no egress")
SLACK_S = 60.0
NOTICED_S = 90.0
SHORT_BUDGET = 0.004
_PROOF_S = 30.0  # the client's destroy and its proof, on a loaded computer
_STEP_S = 120.0
_LINES = {
    "vast": "-p vast -g RTX_4090 --max-price 0.60",
    "runpod": "-p runpod -g RTX_4090 --max-price 1",
}


@dataclass(frozen=True)
class Life:
    """What a seed stands for."""

    seed: int
    fault: str
    platform: str
    unfetched: str
    lease_s: int
    cell_s: float
    volume: bool

    @classmethod
    def of(cls, seed: int, fault: str = "") -> Life:
        """Return the life of `seed`; the same one each time."""
        chance = random.Random(seed)  # noqa: S311 - a life to live, no secret
        return cls(
            seed=seed,
            fault=fault or FAULTS[seed % len(FAULTS)],
            platform=chance.choice(["vast", "vast", "runpod"]),
            unfetched=chance.choice(["stop", "stop", "wait", "destroy"]),
            lease_s=chance.randint(12, 16),
            cell_s=round(chance.uniform(0.5, 3), 1),
            volume=chance.random() < 0.5,
        )

    @property
    def waits(self) -> bool:
        """Whether results that nobody has wait on the running machine: it was asked for, or it cannot rest."""
        return self.unfetched == "wait" or (self.unfetched == "stop" and self.platform == "runpod" and not self.volume)

    @property
    def line(self) -> str:
        """What is typed."""
        volume = " --volume 10" if self.platform == "runpod" and self.volume else ""
        # A budget that is soon used up where it is waited for; elsewhere a day of a disk is paid for.
        budget = f" --budget {SHORT_BUDGET}" if self.waits else ""
        return f"{_LINES[self.platform]}{volume}{budget} --for {self.lease_s}s,1h --unfetched {self.unfetched}"


@dataclass
class Seen:
    """How a life went: seconds from the last contact, or from the end of the cell if that came later, to the end of the bill."""

    life: Life
    idle_s: float = 0.0
    allowed_s: float = 0.0
    rested: bool = False
    spend_micros: int = 0
    broken: list[str] = field(default_factory=list)


def live(life: Life, place: RunningMarket, folder: Path) -> Seen:
    """Live it on a market that nobody else uses."""
    place.reset()
    seen = Seen(life)
    if life.fault == "no egress":
        place.fault("no_egress", times=None)
    (folder / "project").mkdir(parents=True)
    environ = child_environment(**place.env, GPUPLUG_HOME=str(folder / "home"), HOME=str(folder))
    command = [sys.executable, str(Path(__file__).with_name("soak_client.py")), str(folder / "project")]
    command += [life.line, str(life.cell_s), f"word-{life.seed}"]
    with (folder / "errors").open("w+") as errors:
        client = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
        )
        try:
            _go_wrong(life, place, client, seen, folder)
        except AssertionError as error:
            errors.seek(0)
            seen.broken.append(f"{error}; {errors.read()[-500:]}")
        finally:
            client.kill()
            client.communicate()
    seen.spend_micros = int(place.meter()["spend_micros"])
    return seen


def _go_wrong(life: Life, place: RunningMarket, client: subprocess.Popen[bytes], seen: Seen, folder: Path) -> None:
    _await(client, "running")
    began = time.monotonic()
    if life.fault == "killed under a cell":
        client.kill()
        _left_alone(life, place, began + life.cell_s, seen)
        _results_come_home(life, place, seen, folder)
        return
    _await(client, "done")
    at = time.monotonic()
    if life.fault == "laptop off":
        client.kill()
        _left_alone(life, place, at, seen)
        if seen.rested:
            seen.broken.append("it rests though everything was fetched")
        return
    if life.fault != "no egress":
        number = signal.SIGKILL if life.fault == "switch killed" else signal.SIGSTOP
        os.kill(_switch_of(place), number)
        at = time.monotonic()
    seen.allowed_s = NOTICED_S + _PROOF_S
    _until(lambda: place.meter()["billing_now"] == 0, seen.allowed_s, life.fault)
    seen.idle_s = time.monotonic() - at


def _left_alone(life: Life, place: RunningMarket, last: float, seen: Seen) -> None:
    """Wait for the end of the bill, or of the GPU's, with nobody in touch since `last`."""
    (one,) = [each for each in place.meter()["instances"] if each["billing"]]
    paid_s = 0.0
    if life.fault == "killed under a cell" and life.waits:
        paid_s = SHORT_BUDGET * 3600e6 / one["rate_micros"] - life.cell_s
    seen.allowed_s = max(life.lease_s, paid_s) + SLACK_S
    _until(lambda: _state(place) in {"destroyed", "exited"}, seen.allowed_s + last - time.monotonic(), life.fault)
    seen.idle_s = time.monotonic() - last
    seen.rested = _state(place) == "exited"


def _results_come_home(life: Life, place: RunningMarket, seen: Seen, folder: Path) -> None:
    """What the cell has written comes home from a machine that rests; elsewhere it was agreed that it goes."""
    assert seen.rested == (life.unfetched == "stop" and not life.waits), f"it rests: {seen.rested}"
    if not seen.rested:
        return
    with patch.dict(os.environ, {**place.env, "GPUPLUG_HOME": str(folder / "home"), "HOME": str(folder)}):
        engine = Engine("soak", folder / "project")
        try:
            verbs.start(engine, config.parse("", "start"), Quiet())
            assert (folder / "project" / "out.txt").read_text() == f"word-{life.seed}"
        finally:
            engine.down(config.parse("", "down"), lambda _: None)
            engine.close()


def _state(place: RunningMarket) -> str:
    """Return the state of the machine that was rented last."""
    return str(place.meter()["instances"][-1]["state"]).lower()


def _switch_of(place: RunningMarket) -> int:
    """Return the process of the switch on the one machine that runs there."""
    (one,) = [each for each in place.meter()["instances"] if each["billing"]]
    mark = f"SANDBOX_MACHINE={one['id']}-".encode()
    found = [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and _has(folder / "cmdline", b"deadman.sh") and _has(folder / "environ", mark)
    ]
    shells = [pid for pid in found if _below(place.process.pid, pid)]
    assert shells, f"no switch among {found}"
    return min(shells)


def _has(path: Path, text: bytes) -> bool:
    try:
        return text in path.read_bytes()
    except OSError:
        return False


def _below(ancestor: int, pid: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def _await(client: subprocess.Popen[bytes], word: str) -> None:
    assert client.stdout is not None
    deadline = time.monotonic() + _STEP_S
    while (line := _line(client.stdout, deadline)) != word:
        assert line or client.poll() is None, f"the client ended before it was {word}"


def _line(stream: IO[bytes], deadline: float) -> str:
    ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
    assert ready, "the client says nothing"
    return stream.readline().decode().strip()  # unbuffered: a line in a buffer would not wake the wait


def _until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: it bills after {limit_s:.0f} s"
        select.select([], [], [], 0.1)
