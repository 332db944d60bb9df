"""One life of a rented machine with the real sshd and the real switch, by a seed; the market's meter is the oracle.

A process of its own is the notebook. Something goes wrong: it is killed while its cell runs, or the laptop is off when it
idles, or the host kills or stops the switch, or nothing gets out of the container, from the start or from the moment that
the cell runs. Whatever it is, the bill must end; where neither notebook nor switch can end it, the timer's `gpuplug reap` does.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from unittest.mock import patch

from engine_kit import Quiet
from sandbox_kit import child_environment

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.frontends import verbs
from gpuplug.sandbox.machine import MachineError, isolation, openssh

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox_kit import RunningMarket

_QUICK = ("killed under a cell", "laptop off", "switch killed", "switch stopped", "no egress", "egress blocked")
REAPED = ("both dead", "both dead under a cell", "egress blocked, laptop off")
IN_TURN = (*_QUICK, *_QUICK, *REAPED)  # each of the latter takes minutes
_NO_WAY_OUT = ("no egress", "egress blocked")
_LONGER_S = 18  # a lease that outlasts the pause between two heartbeats: else the switch would say that it is over
SLACK_S = 60.0
NOTICED_S = 90.0
SHORT_BUDGET = 0.004
HARD_S = 30
_BEAT_S = 20.0  # between two questions of the client: with one it notices, with a later one it acts
_PROOF_S = 30.0  # the client's destroy and its proof, on a loaded computer
_PATIENCE_S = 121.0  # a look takes nothing for left alone before its lease, or its hard end, is over for two minutes
_REAPING_S = 75.0 + _PROOF_S  # it waits whether anybody gets in touch
_STEP_S = 120.0
_TOLD = 40  # requests and lines of a story
_LINES = {
    "vast": "-p vast -g RTX_4090 --max-price 0.60",
    "runpod": "-p runpod -g RTX_4090 --max-price 1",
}


def why_no_openssh() -> str:
    """Return why OpenSSH cannot serve the machines here; "" when it can."""
    try:
        openssh.check(isolation.choose("auto"))
    except MachineError as error:
        return str(error)
    return ""


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
        fault = fault or IN_TURN[seed % len(IN_TURN)]
        life = cls(
            seed=seed,
            fault=fault,
            platform=chance.choice(["vast", "vast", "runpod"]),
            unfetched=chance.choice(["stop", "stop", "wait", "destroy"]),
            lease_s=chance.randint(8, 10) + (_LONGER_S if fault in _NO_WAY_OUT else 0),
            cell_s=round(chance.uniform(0.5, 3), 1),
            volume=chance.random() < 0.5,
        )
        # The agent would have it rest, and nothing would be left to do for the timer.
        return replace(life, unfetched="destroy") if life.fault == "both dead under a cell" and life.rests else life

    @property
    def rests(self) -> bool:
        """Whether results that nobody has wait on a machine that rests."""
        return self.unfetched == "stop" and not self.waits

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
        hard = f"{HARD_S}s" if self.fault == "both dead under a cell" else "1h"
        return f"{_LINES[self.platform]}{volume}{budget} --for {self.lease_s}s,{hard} --unfetched {self.unfetched}"


@dataclass
class Seen:
    """How a life went: seconds from the last contact, or from the end of the cell if that came later, to the end of the bill.

    `story` is what was seen, and is told when a promise was broken.
    """

    life: Life
    idle_s: float = 0.0
    allowed_s: float = 0.0
    rested: bool = False
    broken: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        """Add to the story."""
        self.story.append(f"{time.monotonic() - self.began:6.1f} s  {text}")


def live(life: Life, place: RunningMarket, folder: Path) -> Seen:
    """Live it on a market that nobody else uses."""
    seen = Seen(life)
    try:
        place.reset()
        _live(life, place, folder, seen)
    except Exception as error:  # noqa: BLE001 - whatever it is, the lives after this one go on and its story is told
        seen.broken.append(str(error) or repr(error))
        seen.note(traceback.format_exc())
        _look_around(place, folder, seen)
    return seen


def _live(life: Life, place: RunningMarket, folder: Path, seen: Seen) -> None:
    if life.fault == "no egress":
        place.fault("no_egress", times=None)
    (folder / "project").mkdir(parents=True)
    environ = child_environment(**place.env, GPUPLUG_HOME=str(folder / "home"), HOME=str(folder))
    command = [sys.executable, str(Path(__file__).with_name("soak_client.py")), str(folder / "project")]
    command += [life.line, str(life.cell_s), f"word-{life.seed}"]
    seen.note(f"typed: {life.line}; the cell takes {life.cell_s} s")
    with (folder / "errors").open("wb") as errors:
        client = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
        )
        try:
            _go_wrong(life, place, client, seen, folder)
        finally:
            seen.note(f"the client is {'there' if client.poll() is None else 'over'}")
            client.kill()
            client.communicate()


def _look_around(place: RunningMarket, folder: Path, seen: Seen) -> None:
    """Add what can be seen of a life that broke a promise, as far as it can be seen."""
    try:
        seen.note(f"meter: {place.meter()}")
        for row in place.requests()[-_TOLD:]:
            seen.note(f"request: {row}")
    except (AssertionError, OSError) as error:
        seen.note(f"the market does not answer: {error!r}")
    for path in [folder / "errors", *folder.glob("home/**/*.log")]:
        if path.exists():
            seen.note(f"{path.name}: " + "\n".join(path.read_text(errors="replace").splitlines()[-_TOLD:]))


def _go_wrong(life: Life, place: RunningMarket, client: subprocess.Popen[bytes], seen: Seen, folder: Path) -> None:
    _await(client, "running", seen)
    began = time.monotonic()
    if life.fault == "killed under a cell":
        client.kill()
        _left_alone(life, place, began + life.cell_s, seen)
        _results_come_home(life, place, seen, folder)
        return
    if life.fault == "both dead under a cell":
        os.kill(_switch_of(place), signal.SIGKILL)
        client.kill()
        _reaped(place, seen, folder, began, HARD_S)
        return
    if life.fault.startswith("egress blocked"):
        place.action("block_egress", instance=_machine(place)["id"])
    _await(client, "done", seen)
    at = time.monotonic()
    if life.fault == "laptop off":
        client.kill()
        _left_alone(life, place, at, seen)
        assert not seen.rested, "it rests though everything was fetched"
        return
    if life.fault.startswith("switch") or life.fault == "both dead":
        os.kill(_switch_of(place), signal.SIGSTOP if life.fault == "switch stopped" else signal.SIGKILL)
        at = time.monotonic()
    if life.fault in REAPED:
        client.kill()
        _reaped(place, seen, folder, at, life.lease_s)
        return
    seen.allowed_s = NOTICED_S + _PROOF_S
    if life.fault == "egress blocked":
        at = began
        seen.allowed_s += life.lease_s + _BEAT_S  # only when it idles for a lease
    _until(lambda: place.meter()["billing_now"] == 0, seen.allowed_s + at - time.monotonic(), life.fault)
    seen.idle_s = time.monotonic() - at


def _reaped(place: RunningMarket, seen: Seen, folder: Path, last: float, term_s: float) -> None:
    """Wait until `term_s` after `last` is over for good, and have `gpuplug reap`, as a timer runs it, end it and prove it."""
    seen.allowed_s = term_s + _PATIENCE_S + _REAPING_S
    select.select([], [], [], max(0.0, last + term_s + _PATIENCE_S - time.monotonic()))
    assert place.meter()["billing_now"] == 1, "it ended though nobody there could end it"
    environ = child_environment(**place.env, GPUPLUG_HOME=str(folder / "home"), HOME=str(folder))
    command = [sys.executable, "-c", "import sys; from gpuplug.frontends import cli; sys.exit(cli.main())", "reap"]
    seen.note("gpuplug reap")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=_STEP_S * 2, check=False)
    seen.idle_s = time.monotonic() - last
    seen.note(f"{done.stdout}{done.stderr}status {done.returncode}")
    assert done.returncode == 0, f"gpuplug reap: status {done.returncode}"
    assert "gone (verified)" in done.stdout, "gpuplug reap does not say that it is gone"
    assert place.meter()["billing_now"] == 0, "gpuplug reap says gone, and it bills"
    assert seen.idle_s <= seen.allowed_s, f"it took {seen.idle_s:.0f} s, not {seen.allowed_s:.0f} s"


def _left_alone(life: Life, place: RunningMarket, last: float, seen: Seen) -> None:
    """Wait for the end of the bill, or of the GPU's, with nobody in touch since `last`."""
    one = _machine(place)
    paid_s = 0.0
    if life.fault == "killed under a cell" and life.waits:
        paid_s = SHORT_BUDGET * 3600e6 / one["rate_micros"] - life.cell_s
    seen.allowed_s = max(life.lease_s, paid_s) + SLACK_S
    _until(lambda: _state(place) in {"destroyed", "exited"}, seen.allowed_s + last - time.monotonic(), life.fault)
    seen.idle_s = time.monotonic() - last
    seen.rested = _state(place) == "exited"
    seen.note(f"it is {_state(place)}")


def _results_come_home(life: Life, place: RunningMarket, seen: Seen, folder: Path) -> None:
    """What the cell has written comes home from a machine that rests; elsewhere it was agreed that it goes."""
    assert seen.rested == life.rests, f"it rests: {seen.rested}"
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


def _machine(place: RunningMarket) -> dict[str, Any]:
    """Return the one machine that bills."""
    billing: list[dict[str, Any]] = [each for each in place.meter()["instances"] if each["billing"]]
    assert len(billing) == 1, f"{len(billing)} machines bill"
    return billing[0]


def _state(place: RunningMarket) -> str:
    """Return the state of the machine that was rented last."""
    return str(place.meter()["instances"][-1]["state"]).lower()


def _switch_of(place: RunningMarket) -> int:
    """Return the process of the switch on the one machine that runs there."""
    mark = f"SANDBOX_MACHINE={_machine(place)['id']}-".encode()
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


def _await(client: subprocess.Popen[bytes], word: str, seen: Seen) -> None:
    assert client.stdout is not None
    deadline = time.monotonic() + _STEP_S
    while (line := _line(client.stdout, deadline)) != word:
        seen.note(f"client: {line}")
        assert line or client.poll() is None, f"the client ended before it was {word}"
    seen.note(f"client: {line}")


def _line(stream: IO[bytes], deadline: float) -> str:
    ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
    assert ready, "the client says nothing"
    return stream.readline().decode().strip()  # unbuffered: a line in a buffer would not wake the wait


def _until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: it bills after {limit_s:.0f} s"
        select.select([], [], [], 0.1)
