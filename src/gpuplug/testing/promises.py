"""Promises as tests: which of them an adapter owes is read from its traits, and a deviation has a name and a reason."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import pytest

from gpuplug.errors import GpuplugError
from gpuplug.providers import Access
from gpuplug.testing.clock import FakeClock
from gpuplug.types import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpuplug.providers import Provider
    from gpuplug.types import Traits

F = TypeVar("F", bound="Callable[..., object]")
_PREFIX = "test_"
_BROKEN = (AssertionError, pytest.fail.Exception, GpuplugError)


def owed(when: Callable[[Traits], bool]) -> Callable[[F], F]:
    """Mark a promise that only adapters owe whose traits fulfil `when`."""

    def mark(function: F) -> F:
        function.__dict__["owed"] = when
        return function

    return mark


class Adapter(Protocol):
    """What makes a provider: its class, as a rule."""

    def __call__(self, access: Access, /) -> Provider:
        """Return an adapter; sends nothing."""
        ...


class Promises:
    """A test class whose subclasses name an adapter, and so owe a choice of its tests.

    `adapter` makes one from its access. `deviations` names promises (a test's name as a sentence) that it does not keep,
    each with the reason: such a test still runs, and fails when the promise is kept after all.

    Raises:
        TypeError: a deviation names no promise that is owed.
    """

    adapter: ClassVar[Adapter]
    deviations: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "adapter" not in cls.__dict__:
            return
        traits = cls.adapter(Access(Secret(""), "", "", "", FakeClock())).traits
        for name, function in list(_tests(cls)):
            if not function.__dict__.get("owed", lambda _: True)(traits):
                setattr(cls, name, None)
        if unknown := set(cls.deviations) - set(cls.promises()):
            msg = f"{cls.__name__} owes no promise {min(unknown)!r}"
            raise TypeError(msg)
        for sentence, reason in cls.deviations.items():
            name = _PREFIX + sentence.replace(" ", "_")
            setattr(cls, name, _deviating(getattr(cls, name), reason))

    @classmethod
    def promises(cls) -> list[str]:
        """Return the promises that are owed, as sentences in the order of the source."""
        return [name.removeprefix(_PREFIX).replace("_", " ") for name, _ in _tests(cls)]


def _tests(cls: type) -> Iterator[tuple[str, Any]]:
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in base.__dict__ if name.startswith(_PREFIX))
    for name in names:
        function = getattr(cls, name)
        if callable(function):
            yield name, function


def _deviating(function: types.FunctionType, reason: str) -> Callable[..., object]:
    """Return a copy that must fail; a copy, so that the other adapters' test stays as it is."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__dict__.update(function.__dict__)
    return pytest.mark.xfail(strict=True, reason=reason, raises=_BROKEN)(copy)
