"""The filter language of the marketplace: `{"field": {"operator": value}}`, order lists, the cap of 64 rows."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
CAP = 64
# Keys of a search body that are not filters.
OPTIONS = frozenset({"order", "type", "limit", "allocated_storage", "disable_bundling", "select_cols", "resource_type"})
# Names that can be filtered on although no offer carries them in that form.
_DERIVED: dict[str, Callable[[Row], object]] = {
    "datacenter": lambda row: row.get("hosting_type") == 1,
    "verified": lambda row: row.get("verification") == "verified",
    "driver_version": lambda row: row.get("driver_vers"),
    "external": lambda row: bool(row.get("external")),
    "id": lambda _row: None,  # a filter on the id matches nothing; ask_contract_id works
}


class QueryError(ValueError):
    """A search that is not in the filter language."""


def number(value: object) -> float | None:
    """Return a number that may be written as text; None when it is none."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    if not isinstance(value, str):
        return None
    if value.lower() in {"true", "false"}:
        return float(value.lower() == "true")
    try:
        return float(value)
    except ValueError:
        return None


def _equal(have: object, want: object) -> bool:
    if have is None or want is None:
        return have is want
    if isinstance(have, str):
        return have == str(want)
    left, right = number(have), number(want)
    return left is not None and left == right


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[object, object], bool]:
    def test(have: object, want: object) -> bool:
        if isinstance(have, str) and isinstance(want, str):
            return compare(have, want)
        left, right = number(have), number(want)
        return left is not None and right is not None and compare(left, right)

    return test


def _within(have: object, want: object) -> bool:
    if not isinstance(want, list):
        msg = f"in and notin take a list, not {want!r}"
        raise QueryError(msg)
    return any(_equal(have, one) for one in want)


_OPERATORS: dict[str, Callable[[object, object], bool]] = {
    "eq": _equal,
    "neq": lambda have, want: not _equal(have, want),
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
    "in": _within,
    "notin": lambda have, want: not _within(have, want),
}


def _value(row: Row, name: str) -> object:
    derived = _DERIVED.get(name)
    if derived is not None:
        return derived(row)
    value = row.get(name)
    if name == "geolocation" and isinstance(value, str):
        return value.rpartition(", ")[2]
    return value


def matches(row: Row, filters: Mapping[str, Any]) -> bool:
    """Tell whether `row` passes every filter.

    Numbers may be written as strings. A place is compared by its country code.

    Raises:
        QueryError: a filter is no object of known operators.
    """
    for name, tests in filters.items():
        if not isinstance(tests, dict):
            msg = f"{name}: a filter is an object of operators, not {tests!r}"
            raise QueryError(msg)
        have = _value(row, name)
        for symbol, want in tests.items():
            test = _OPERATORS.get(symbol)
            if test is None:
                msg = f"{name}: no operator {symbol!r}; there are {', '.join(_OPERATORS)}"
                raise QueryError(msg)
            if not test(have, want):
                return False
    return True


def in_order(rows: Sequence[Row], order: object) -> list[Row]:
    """Sort by `[[field, "asc" | "desc"], ...]`, first the first; rows that lack the field come last.

    Raises:
        QueryError: `order` is something else.
    """
    if not isinstance(order, list):
        msg = f"order is a list of [field, direction], not {order!r}"
        raise QueryError(msg)
    ordered = list(rows)
    for step in reversed(order):
        if not isinstance(step, list) or len(step) != 2 or step[1] not in {"asc", "desc"}:  # noqa: PLR2004 - a pair
            msg = f"order is a list of [field, asc or desc], not {step!r}"
            raise QueryError(msg)
        name, descending = str(step[0]), step[1] == "desc"
        have = [row for row in ordered if row.get(name) is not None]
        lack = [row for row in ordered if row.get(name) is None]
        have.sort(key=lambda row, name=name: sort_key(row[name]), reverse=descending)  # type: ignore[misc]
        ordered = have + lack
    return ordered


def sort_key(value: object) -> tuple[int, float, str]:
    """Return what sorts numbers before text, and numbers written as text as numbers."""
    figure = number(value)
    return (1, 0.0, str(value)) if figure is None else (0, figure, "")


def search(rows: Sequence[Row], body: Mapping[str, Any]) -> list[Row]:
    """Answer a search body: filter, sort (best score first unless said otherwise), cut at `limit` and at 64.

    Raises:
        QueryError: the body is not in the filter language.
    """
    filters = {name: tests for name, tests in body.items() if name not in OPTIONS}
    found = [row for row in rows if matches(row, filters)]
    ordered = in_order(found, body.get("order") or [["score", "desc"]])
    limit = number(body.get("limit"))
    return ordered[: CAP if limit is None or limit <= 0 else min(CAP, int(limit))]
