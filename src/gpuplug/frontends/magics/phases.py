"""The line of phases: what somebody waits for before and after a cell runs, and how long each took."""

from __future__ import annotations

RUN = "run"
_NOTICED_S = 0.05
_COUNTED_S = 1.0
_BAR = 20
_MEGA = 1e6


class Phases:
    """Names with their seconds. The time of the cell itself is left out: the cost line has it."""

    def __init__(self) -> None:
        self._ended: list[tuple[str, float]] = []
        self._name = ""
        self._began = 0.0
        self._detail = ""

    @property
    def current(self) -> str:
        """The phase at hand; empty when there is none."""
        return self._name

    def begin(self, name: str, detail: str, now: float) -> None:
        """End the phase before and begin `name`; the same name again changes the detail only."""
        if name != self._name:
            self.end(now)
            self._name, self._began = name, now
        self._detail = detail

    def progress(self, done: int, total: int, rate: float) -> None:
        """Make bytes the detail of the phase at hand; `rate` in bytes per second."""
        width = _BAR * done // max(total, 1)
        bar = "#" * width + "." * (_BAR - width)
        self._detail = f"[{bar}] {done / _MEGA:.1f} of {total / _MEGA:.1f} MB, {rate / _MEGA:.1f} MB/s"

    def end(self, now: float) -> None:
        """End the phase at hand. May be repeated."""
        if self._name and self._name != RUN:
            self._ended.append((self._name, now - self._began))
        self._name = self._detail = ""

    def text(self, now: float, *, waiting: bool = True) -> str:
        """Return the line; phases that nobody can have noticed are left out unless there are no others.

        Without `waiting` the phase at hand is left out: the line stays as it is.
        """
        at_hand = bool(self._name) and waiting
        noticed = [phase for phase in self._ended if phase[1] >= _NOTICED_S]
        parts = [f"{name} {seconds:.1f}s" for name, seconds in noticed or ([] if at_hand else self._ended)]
        if at_hand:
            waited = now - self._began
            counted = f" {waited:.0f}s" if waited >= _COUNTED_S and self._name != RUN else ""
            parts.append(f"{self._name}{counted} ... {self._detail}".rstrip())
        return " - ".join(parts)
