"""Reading what a stranger wrote: JSON without surprises, bounded numbers, text that cannot play tricks."""

from __future__ import annotations

import contextlib
import email.utils
import functools
import json
import re
import unicodedata
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_NAN = Decimal("NaN")
_LARGEST_ID = 1 << 53
_DEAREST = 1_000_000
_LEAST_SENSIBLE = Decimal("0.01")
_MOST_SENSIBLE = Decimal(200)
# Control, format (bidi among them), surrogate, private and unassigned characters.
_TRICKS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Ambiguous:
    """Stands where a JSON object had the same key twice: no object, so nobody reads either value."""


def parse_json(text: str, fields: frozenset[str] | None = None) -> object:
    """Parse JSON with exact numbers; NaN, infinities and numbers out of range become `Decimal("NaN")`.

    One row that makes no sense must not hide the others, so an object with a duplicate key becomes `Ambiguous`.
    With `fields`, all other keys are dropped as they are read, and a number with a point stays the text that it is:
    of a long list most of the cost is in what nobody asks for.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        parsed: object = _decoder(fields).decode(text)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error.with_traceback(None)
    return parsed


@functools.lru_cache(maxsize=64)
def _decoder(fields: frozenset[str] | None) -> json.JSONDecoder:
    return json.JSONDecoder(
        parse_float=_exact if fields is None else str,
        parse_constant=lambda _: _NAN,
        object_pairs_hook=_unambiguous if fields is None else _keeping(fields),
    )


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return _NAN


def _unambiguous(pairs: list[tuple[str, object]]) -> dict[str, object] | Ambiguous:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Ambiguous()


def _keeping(fields: frozenset[str]) -> Callable[[list[tuple[str, object]]], dict[str, object] | Ambiguous]:
    def hook(pairs: list[tuple[str, object]]) -> dict[str, object] | Ambiguous:
        return _unambiguous([pair for pair in pairs if pair[0] in fields])

    return hook


def number(value: object, low: int, high: int) -> Decimal | None:
    """Return `value` as an exact number in [low, high]; None for everything else.

    Providers send numbers as JSON numbers and as strings; true and false are none.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value) if low <= value <= high else None
    if isinstance(value, str):
        text = value.strip()
        exact = Decimal(text) if _NUMBER.fullmatch(text) else None
        return exact if exact is not None and low <= exact <= high else None
    if isinstance(value, float):
        value = Decimal(str(value))
    if not isinstance(value, Decimal) or not value.is_finite():
        return None
    return value if low <= value <= high else None


def integer(value: object, low: int, high: int) -> int | None:
    """Return `value` as a whole number in [low, high], cut towards zero; None for everything else."""
    if type(value) is int:
        return value if low <= value <= high else None
    # Compared before it is converted: 1e999999 as an integer would fill the memory.
    exact = number(value, low, high)
    return None if exact is None else int(exact)


def digits(value: object) -> str:
    """Return a positive whole number, as providers use for ids, as digits; "" for everything else."""
    known = integer(value, 1, _LARGEST_ID)
    return "" if known is None else str(known)


def clean(value: object, limit: int = 120) -> str:
    """Return `value` as one line of at most `limit` visible characters; "" when it is no text or number."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return ""
    text = value if isinstance(value, str) else f"{value:.20}" if isinstance(value, Decimal) else str(value)
    if text.isascii() and text.isprintable():
        return " ".join(text[: limit * 8].split())[:limit]
    kept = (
        " " if letter.isspace() else letter
        for letter in text[: limit * 8]
        if letter.isspace() or unicodedata.category(letter) not in _TRICKS
    )
    return " ".join("".join(kept).split())[:limit]


def http_date(headers: Mapping[str, str]) -> dt.datetime | None:
    """Return the server's aware wall time from its Date header; None when it tells none."""
    with contextlib.suppress(ValueError, TypeError):
        told = email.utils.parsedate_to_datetime(headers.get("date", ""))
        return told if told.tzinfo else None
    return None


def mapping(value: object) -> Mapping[str, object]:
    """Return `value` when it is a JSON object, an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def price(value: object) -> tuple[Money, str]:
    """Return a price per hour, and in words why it cannot be believed; "" when it can."""
    told = number(value, 0, _DEAREST)
    if told is None:
        return ZERO, "its price is no number"
    if not _LEAST_SENSIBLE <= told <= _MOST_SENSIBLE:
        return Money.dollars(told), f"its price is outside ${_LEAST_SENSIBLE} to ${_MOST_SENSIBLE} an hour"
    return Money.dollars(told), ""
