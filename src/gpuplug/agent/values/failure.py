"""The one error of the codec, and the advice it carries."""

from __future__ import annotations

from typing import Any

SAVE = "save it to a file under out/ and read it back"


class ValueCodecError(ValueError):
    """A value that cannot travel, or bytes that are no value; the text says what to do instead."""


def full_name(value: object) -> str:
    """Return the module and name of the type of `value`."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def refusal(value: object, advice: str = SAVE) -> ValueCodecError:
    """Return the error for a type that does not travel."""
    return ValueCodecError(f"a {full_name(value)} cannot be sent; {advice}")


def require(condition: Any, what: str) -> None:  # noqa: ANN401 - anything with a truth value
    """Check bytes that came from the other side.

    Raises:
        ValueCodecError: `condition` is false.
    """
    if not condition:
        raise ValueCodecError(f"this is no value: {what}")
