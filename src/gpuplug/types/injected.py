"""What is handed in from outside: secrets that cannot be printed by accident, and time."""

from __future__ import annotations

import datetime as dt
import time
from typing import Protocol


class Secret:
    """A key or token that cannot be printed by accident; `reveal()` at the one place of use."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret text."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)


class Clock(Protocol):
    """Time as it is injected everywhere; tests pass one that they move by hand."""

    def now(self) -> dt.datetime:
        """Return the aware wall time in UTC: for people and records."""
        ...

    def monotonic(self) -> float:
        """Return seconds for measuring and deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`."""
        ...


class SystemClock:
    """The clock of this computer."""

    def now(self) -> dt.datetime:
        """Return the aware wall time in UTC."""
        return dt.datetime.now(dt.timezone.utc)

    def monotonic(self) -> float:
        """Return seconds for measuring and deadlines."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`."""
        time.sleep(seconds)
