"""What was asked for in the panel, and how it goes: each in a thread and an engine of its own."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpuplug.errors import GpuplugError, NotReadyError
from gpuplug.frontends.panel.fields import LONG_TEXT_LIMIT, moment, text, trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.engine import Engine
    from gpuplug.outputs import SafeBundle
    from gpuplug.types import Clock

KEPT_S = 600.0
MOST = 8  # at the same time
_NOTES = 20


@dataclass(slots=True)
class Operation:
    """One action. Times are seconds since 1970."""

    id: str
    action: str
    pod: str | None
    words: str
    started: float
    phase: str = ""
    notes: list[str] = field(default_factory=list)
    state: str = "running"
    ended: float | None = None
    error: GpuplugError | None = None

    def row(self) -> dict[str, Any]:
        """Return it as docs/panel.md writes it."""
        return {
            "id": self.id,
            "action": self.action,
            "pod": self.pod,
            "text": self.words,
            "phase": self.phase or None,
            "notes": list(self.notes),
            "state": self.state,
            "started": moment(self.started),
            "ended": moment(self.ended),
            "error": trouble(self.error) if self.error else None,
        }


class OperationTalk:
    """The engine's counterpart while an operation runs: keeps what is said; the person has agreed before it began."""

    can_ask = True

    def __init__(self, operation: Operation, changed: Callable[[], None]) -> None:
        self._operation = operation
        self._changed = changed

    def phase(self, name: str, detail: str = "") -> None:
        """Show the phase."""
        self._operation.phase = text(f"{name} {detail}")
        self._changed()

    def progress(self, done: int, total: int, rate: float) -> None:
        """Nothing is sent by an operation."""

    def note(self, said: str) -> None:
        """Keep what the user must know."""
        self._operation.notes = [*self._operation.notes, text(said, LONG_TEXT_LIMIT)][-_NOTES:]
        self._changed()

    def ask(self, _question: str) -> bool:
        """Agree: the panel has shown the price and the worst case, and was answered yes."""
        return True

    def read_input(self, prompt: str, *, password: bool) -> str | None:  # noqa: ARG002 - no cell runs here
        """Answer nothing."""
        return None

    def stream(self, name: str, text: str) -> None:
        """No cell runs here."""

    def display(self, bundle: SafeBundle, display_id: str | None, *, update: bool) -> None:
        """No cell runs here."""

    def result(self, bundle: SafeBundle) -> None:
        """No cell runs here."""

    def clear(self, *, wait: bool) -> None:
        """No cell runs here."""

    def cost(self, line: str) -> None:
        """Keep the line."""
        self.note(line)


class Operations:
    """The running operations and those that ended lately.

    Args:
        open_engine: makes an engine for a notebook's name.
        clock: time.
        changed: is called from another thread when anything changed.
    """

    def __init__(self, open_engine: Callable[[str], Engine], clock: Clock, changed: Callable[[], None]) -> None:
        self._open_engine = open_engine
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._all: list[Operation] = []

    def rows(self) -> tuple[dict[str, Any], ...]:
        """Return the operations as rows, oldest first; those that ended more than ten minutes ago are forgotten."""
        now = self._now()
        with self._lock:
            self._all = [each for each in self._all if each.ended is None or now - each.ended < KEPT_S]
            return tuple(each.row() for each in self._all)

    def begin(
        self,
        action: str,
        words: str,
        work: Callable[[Engine, OperationTalk], None],
        *,
        pod: str | None = None,
        notebook: str = "",
    ) -> str:
        """Begin `work` and return the operation's id; the same action on the same pod that runs already is that one.

        Raises:
            NotReadyError: too many run.
        """
        with self._lock:
            running = [each for each in self._all if each.state == "running"]
            for each in running:
                if pod is not None and (each.action, each.pod) == (action, pod):
                    return each.id
            if len(running) >= MOST:
                raise NotReadyError(f"{MOST} actions run already; wait for one to end", hint="try again in a moment")
            operation = Operation(str(next(self._numbers)), action, pod, text(words), self._now())
            self._all.append(operation)
        thread = threading.Thread(
            target=self._run, args=(operation, work, notebook), name=f"gpuplug-{action}", daemon=True
        )
        thread.start()
        return operation.id

    def _run(self, operation: Operation, work: Callable[[Engine, OperationTalk], None], notebook: str) -> None:
        try:
            engine = self._open_engine(notebook)
            try:
                work(engine, OperationTalk(operation, self._changed))
            finally:
                engine.close()
        except GpuplugError as error:
            self._end(operation, "failed", error)
        except Exception as error:  # noqa: BLE001 - nobody above a thread would ever tell the user
            self._end(operation, "failed", GpuplugError(f"{operation.action} failed: {type(error).__name__}: {error}"))
        else:
            self._end(operation, "done", None)

    def _end(self, operation: Operation, state: str, error: GpuplugError | None) -> None:
        with self._lock:
            operation.state, operation.error, operation.ended, operation.phase = state, error, self._now(), ""
        self._changed()

    def _now(self) -> float:
        return self._clock.now().timestamp()
