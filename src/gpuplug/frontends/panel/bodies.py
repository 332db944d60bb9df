"""Reading the bodies of requests: what does not fit is refused at once, with what would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuplug.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

WORD_LIMIT = 200
PATH_LIMIT = 4096
_MOST_WORDS = 32
_LEAST_S, _MOST_S = 60, 30 * 86_400


def checked(body: object, names: Collection[str]) -> dict[str, Any]:
    """Return `body` as an object that has no other names than `names`.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(body, dict):
        raise UsageError("the body is no JSON object")
    if unknown := sorted(str(name) for name in set(body) - set(names)):
        raise UsageError(f"unknown field {unknown[0][:WORD_LIMIT]!r}; known are {', '.join(sorted(names))}")
    return body


def word(body: dict[str, Any], name: str, limit: int = WORD_LIMIT) -> str:
    """Return a text that is there, is not empty and has `limit` characters at most.

    Raises:
        UsageError: it is not so.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value or len(value) > limit:
        raise UsageError(f"{name} must be a text of 1 to {limit} characters")
    return value


def words(body: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts, () when it is not there.

    Raises:
        UsageError: it is not so.
    """
    value = body.get(name, [])
    if not isinstance(value, list) or len(value) > _MOST_WORDS or not all(_is_word(each) for each in value):
        raise UsageError(f"{name} must be a list of at most {_MOST_WORDS} texts")
    return tuple(value)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= WORD_LIMIT


def seconds(body: dict[str, Any], name: str) -> int:
    """Return a whole number of seconds from a minute to thirty days.

    Raises:
        UsageError: it is not so.
    """
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not _LEAST_S <= value <= _MOST_S:
        raise UsageError(f"{name} must be a whole number of seconds from {_LEAST_S} to {_MOST_S}")
    return value
