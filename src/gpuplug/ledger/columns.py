"""A lease as a row of SQLite, and back."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

from gpuplug.ledger.rows import Lease, Rate, State
from gpuplug.types import Money

COLUMNS = tuple(field.name for field in dataclasses.fields(Lease) if field.name != "tolls")
_TEXTS = tuple(field.name for field in dataclasses.fields(Lease) if field.type == "str")


def plain(value: str | float | Money | None) -> str | float | None:
    """Return a value as SQLite takes it."""
    return value.micros if isinstance(value, Money) else value


def to_row(lease: Lease) -> tuple[object, ...]:
    """Return the lease in the order of `COLUMNS`."""
    return tuple(_column(getattr(lease, name)) for name in COLUMNS)


def _column(value: object) -> object:
    if isinstance(value, State):
        return value.value
    if isinstance(value, Money):
        return value.micros
    if isinstance(value, tuple):
        return json.dumps([[rate.since, rate.price.micros] for rate in value])
    return value


@functools.lru_cache(maxsize=1024)
def from_row(row: tuple[Any, ...]) -> Lease:
    """Return the lease of a row; a row that was read before costs nothing, since most of a ledger never changes again.

    Raises:
        ValueError: it makes no sense: a damaged file, or somebody else's row.
    """
    try:
        return _lease(dict(zip(COLUMNS, row, strict=True)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the row of {row[0]!r} makes no sense: {error}") from error


def _lease(values: dict[str, Any]) -> Lease:
    for name in _TEXTS:
        if not isinstance(values[name], str):
            raise TypeError(f"{name} is {values[name]!r}")
    for name in ("price", "stopped_price", "bid"):
        values[name] = Money(int(values[name]))
    for name in ("rotated", "simulated"):
        values[name] = bool(values[name])
    values["rates"] = tuple(Rate(float(since), Money(int(micros))) for since, micros in json.loads(values["rates"]))
    return Lease(**{**values, "state": State(values["state"])})
