"""One run's world: clock, market, processes, and what goes wrong at each point that the engine passes."""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import functools
import hashlib
import sqlite3
from typing import TYPE_CHECKING

import httpx
from sim.dialects import DIALECTS, EPOCH, Answer, Asked, Dialect, dumped
from sim.judge import Judge
from sim.market import Market
from sim.plan import PROCESS, Fault, Plan

from gpuplug.config import Options
from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Protocol

    from sim.seams import Kept

    class Process(Protocol):
        """What the world knows of a process."""

        name: str
        dead: bool
        doing: str

        def act(self, word: str) -> bool: ...

        def close(self) -> None: ...


_CALL_S = 0.15
_SLOW_S = 20.0
_DOZE_S = 9_000.0
_JUMP = dt.timedelta(hours=10)
_REPLICA_S = 25.0
_OTHERS = {"other-looks": "look", "other-ends": "down", "other-reaps": "reap", "other-rents": "rent"}
_LATE_S = {"late": 40.0, "very-late": 400.0}
_STORM_S = 90.0
_ALWAYS_S = 900.0
_HTML = b"<html><body>log in</body></html>"


class CrashError(BaseException):
    """The process is dead: whatever its handlers do next, nothing of it leaves the process."""


class World:
    """Everything outside the processes, and the truth about it."""

    def __init__(self, plan: Plan, home: Path, ledger: Kept | None = None) -> None:
        self.plan = plan
        self.ledger = ledger  # None: a file in `home`
        self.home = home
        self.clock = FakeClock()
        self.market = Market(plan.traits)
        volume = 10 if plan.story.startswith("rest") and "runpod" in plan.platforms else 0
        image = "pytorch/pytorch:2.7.0"
        self.options = Options(platform=plan.platforms, image=image, volume=volume, budget=plan.budget)
        self.judge = Judge(self)
        self.processes: list[Process] = []
        self.current: Process | None = None
        self.other: Process | None = None
        self.points: list[str] = []
        self.struck = 0
        self.dozed = 0.0
        self.revoked = self.refused = False  # for good, and ever
        self.trace: list[str] | None = None
        self._calm = False
        self._pending = list(plan.faults)
        self._hash = hashlib.blake2b(digest_size=16)
        self._storm_until = self._lies_until = 0.0
        self._nested = False

    @property
    def now(self) -> float:
        """Seconds since the world began, whatever any wall clock says."""
        return self.clock.monotonic()

    @property
    def digest(self) -> str:
        """The hash of all that happened so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        for process in self.processes:
            process.close()
        self.judge.close()

    def tell(self, text: str) -> None:
        """Add a line to the trace."""
        line = f"{self.now:.3f} {self.current.name if self.current else '-'} {text}"
        self._hash.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    def point(self, name: str) -> str:
        """Pass a point: what happens to the process happens here; return what happens to a call."""
        if self.current is not None and self.current.dead:
            raise CrashError
        number = len(self.points)
        action = self._take(number, name)
        self.points.append(name)
        if action:
            self.struck += 1
            self.tell(f"! {action} at {number}, {name}")
        if action in PROCESS:
            self._happen(action)
            return ""
        return action

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.market.tick(self.now)

    def strike(self, action: str, after: int) -> None:
        """Let `action` happen at the first point where it makes sense, `after` points from now or later."""
        self._pending.append(Fault(len(self.points) + after, action))

    def fair(self) -> None:
        """Let nothing go wrong any more, and let the wall clock be right again."""
        self._calm, self.revoked = True, False
        self._storm_until = self._lies_until = 0.0
        self.clock.set_wall(FakeClock().now() + dt.timedelta(seconds=self.now))

    def exchange(self, host: str, asked: Asked) -> tuple[int, bytes, Mapping[str, str]]:
        """Answer one request to `host`, or raise the HTTP library's error for what the wire does to it."""
        dialect = DIALECTS[host]
        verb = dialect.verb(asked)
        self.point(f"call before {verb}")
        action = self.point(f"wire {verb}")
        self.pass_time(_CALL_S)
        try:
            status, body, headers = self._answer(action, dialect, asked, verb)
        except httpx.HTTPError as error:
            self.tell(f"{asked.method} {asked.path} -> {error}")
            if not isinstance(error, httpx.ConnectError):
                self.pass_time(_SLOW_S)
            raise
        self.tell(f"{asked.method} {asked.path} -> {status}")
        headers = {**headers, "date": _date(int(EPOCH + self.now))}
        if verb == "create":
            self.judge.all_known()
        self.point(f"call after {verb}")
        return status, body, headers

    @contextlib.contextmanager
    def transaction(
        self, whole: AbstractContextManager[sqlite3.Connection]
    ) -> Generator[sqlite3.Connection, None, None]:
        """Wrap one transaction of the ledger: a point before it begins, and one after it is durable."""
        if self.point("ledger before") == "full":
            raise sqlite3.OperationalError("database or disk is full")
        with whole as connection:
            yield connection
        self.judge.written()
        self.point("ledger after")

    def _take(self, number: int, name: str) -> str:
        if self._calm or self._nested:
            return ""
        for fault in self._pending:
            if fault.at <= number and fault.at_point(number, name):
                self._pending.remove(fault)
                return fault.action
        return ""

    def _happen(self, action: str) -> None:
        process = self.current
        if action == "crash" and process is not None:
            process.dead = True
            raise CrashError
        if action == "interrupt":
            raise KeyboardInterrupt
        if action == "doze":
            self.dozed += _DOZE_S
            self.pass_time(_DOZE_S)
        elif action.startswith("jump"):
            self.jump(_JUMP if action == "jump-on" else -_JUMP)
        elif action in _OTHERS:
            self.beside(_OTHERS[action])

    def jump(self, by: dt.timedelta) -> None:
        """Let the wall clock jump; no other clock notices."""
        self.clock.set_wall(self.clock.now() + by)

    def beside(self, word: str) -> None:
        """Let the other process do `word`, undisturbed."""
        process, self._nested = self.current, True
        try:
            if self.other is not None:
                self.other.act(word)
        finally:
            self._nested = False
            self.current = process

    def _answer(self, action: str, dialect: Dialect, asked: Asked, verb: str) -> tuple[int, bytes, Mapping[str, str]]:
        self.revoked = self.revoked or action == "revoked"
        if self.revoked:
            action = "401"
        self.refused = self.refused or action == "401"
        if action == "storm":
            self._storm_until = self.now + _STORM_S
        if self.now < self._storm_until:
            return (503, b"{}", {}) if int(self.now) % 2 else (429, b"{}", {"retry-after": "7"})
        if action == "replica":
            self.market.hide(_REPLICA_S)
        if action == "slow":
            self.pass_time(_SLOW_S)
        refused = _not_applied(action)
        if refused is not None:
            return refused
        if verb == "create":
            answer = self._create(action, dialect, asked)
        elif verb == "end":
            answer = self._end(action, dialect, asked)
        elif verb == "power" and action == "lie":
            answer = dialect.done()
        else:
            answer = dialect.answer(asked, self.market)
        return _delivered(action, answer)

    def _create(self, action: str, dialect: Dialect, asked: Asked) -> Answer:
        order = dialect.order(asked)
        self.judge.ordered(order.label)
        if action == "taken":
            return dialect.taken()
        if action in _LATE_S:
            self.market.create(dialect.name, order, after=_LATE_S[action])
            raise httpx.ReadTimeout("timed out")
        made = self.market.create(dialect.name, order)
        if action == "double":
            made = self.market.create(dialect.name, order)
        elif action == "double-late":
            self.market.create(dialect.name, order, after=_LATE_S["late"])
        return dialect.confessed(made) if action == "confess" else dialect.made(made)

    def _end(self, action: str, dialect: Dialect, asked: Asked) -> Answer:
        machine = self.market.machines.get(asked.target)
        if machine is not None:
            if self.current is not None and self.current.doing == "reap":
                self.judge.reaped(machine)
            machine.asked.append(self.now)
        if action == "lie-always":
            self._lies_until = self.now + _ALWAYS_S
        if action == "lie" or self.now < self._lies_until:
            return dialect.done()
        return dialect.answer(asked, self.market)


@functools.lru_cache(maxsize=4096)
def _date(at: int) -> str:
    return email.utils.formatdate(at, usegmt=True)


def _not_applied(action: str) -> tuple[int, bytes, Mapping[str, str]] | None:
    """Fail or answer without doing anything; None when it is done."""
    if action == "refuse":
        raise httpx.ConnectError("refused")
    if action == "drop":
        raise httpx.ReadTimeout("timed out")
    return {
        "500": (500, b"{}", {}),
        "429": (429, b'{"error": "slow down"}', {"retry-after": "3"}),
        "html": (200, _HTML, {}),
        "401": (401, b'{"error": "auth_error", "title": "Unauthorized", "detail": "no"}', {}),
        "front-door": (404, _HTML, {}),
    }.get(action)


def _delivered(action: str, answer: Answer) -> tuple[int, bytes, Mapping[str, str]]:
    """Return the answer to what was done, or what becomes of it on its way."""
    body = dumped(answer)
    if action == "drop-after":
        raise httpx.ReadTimeout("timed out")
    if action == "500-after":
        return 500, b"{}", {}
    if action == "html-after":
        return 200, _HTML, {}
    if action == "cut-after":
        return 200, body[: len(body) // 2] or b"{", {}
    return answer.status, body, {}
