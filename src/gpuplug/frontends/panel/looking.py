"""Who looks at the panel now, and at what: nothing is asked of a provider for nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.types import Clock

LOOK_S = 30.0
MOST = 64


@dataclass(frozen=True, slots=True)
class _Look:
    until: float
    parts: frozenset[str]
    gpus: tuple[str, ...]


class Lookers:
    """Looks by the name of their client; each ends by itself after `LOOK_S` seconds. At most `MOST` are kept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # While it says so no look ends: a kernel that is busy does not hear that somebody still looks.
        self.held: Callable[[], bool] = lambda: False
        self._looks: dict[str, _Look] = {}

    def look(self, client: str, parts: frozenset[str], gpus: tuple[str, ...]) -> float:
        """Note that `client` looks at `parts` for the next `LOOK_S` seconds, or no longer at any; return how long."""
        kept = {name: each for name, each in tuple(self._looks.items())[-MOST:] if name != client}
        if parts:
            kept[client] = _Look(self._clock.monotonic() + LOOK_S, parts, gpus)
        self._looks = kept
        return LOOK_S if parts else 0.0

    def parts(self) -> frozenset[str]:
        """Return what somebody looks at now."""
        return frozenset().union(*(each.parts for each in self._living()))

    def gpus(self) -> tuple[str, ...]:
        """Return which models the last one to look asked for; all when there are none."""
        return next((each.gpus for each in reversed(self._living()) if "prices" in each.parts), ())

    def _living(self) -> list[_Look]:
        if not self.held():
            now = self._clock.monotonic()
            self._looks = {name: each for name, each in tuple(self._looks.items()) if each.until > now}
        return list(self._looks.values())
