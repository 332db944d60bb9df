"""The paged list of instances, API version 1: filters, order, tokens, at most 25 rows a page."""

from __future__ import annotations

import base64
import binascii
import collections
import json
from collections.abc import Mapping
from typing import Any

from gpuplug.sandbox import query
from gpuplug.sandbox.instances import COMPUTED
from gpuplug.sandbox.replies import ApiError

PAGE = 25
SMALL_PAGE = 5
Row = Mapping[str, Any]


def _refuse(text: str) -> ApiError:
    return ApiError(400, "invalid_request", f"Error in query parameters: {text}")


def _json(parameters: Mapping[str, str], name: str, default: object) -> Any:  # noqa: ANN401 - JSON
    text = parameters.get(name)
    if not text:
        return default
    try:
        return json.loads(text)
    except ValueError:
        raise _refuse(f"{name} is not JSON") from None


def _limit(text: str | None) -> int:
    try:
        limit = PAGE if text is None else int(text)
    except ValueError:
        raise _refuse("limit is not a number") from None
    return SMALL_PAGE if limit <= 0 else min(limit, PAGE)


def _order(parameters: Mapping[str, str]) -> tuple[str, bool]:
    steps = _json(parameters, "order_by", [])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise _refuse("order_by is a list of {col, dir}")
    first = steps[0] if steps else {}
    return str(first.get("col", "id")), first.get("dir", "asc") == "desc"


def _token(column: str, row: Row) -> str:
    values = {column: row.get(column), "id": row["id"]}
    return base64.b64encode(json.dumps({"values": values}).encode()).decode()


def _position(token: str) -> dict[str, Any]:
    try:
        values = json.loads(base64.b64decode(token, validate=True))["values"]
        int(values["id"])
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise ApiError(400, "invalid_token", "Invalid page token") from None
    found: dict[str, Any] = values
    return found


def page(rows: list[dict[str, Any]], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Answer one page of `rows`, which are all instances of the account.

    Raises:
        ApiError: parameters that the service refuses.
        QueryError: filters that are not in the filter language.
    """
    filters = _json(parameters, "select_filters", {})
    if not isinstance(filters, dict):
        raise _refuse("select_filters is an object")
    column, descending = _order(parameters)
    for name in [*filters, column]:
        if name in COMPUTED or (rows and name not in rows[0]):
            raise _refuse(f"{name} is not a valid search key")
    found = [row for row in rows if query.matches(row, filters)]

    def place(row: Row) -> tuple[int, float, str, int]:
        return (*query.sort_key(row.get(column)), int(row["id"]))

    found.sort(key=place, reverse=descending)
    total = len(found)
    if parameters.get("after_token"):
        last = place(_position(parameters["after_token"]))
        found = [row for row in found if (place(row) < last if descending else place(row) > last)]
    limit = _limit(parameters.get("limit"))
    shown = found[:limit]
    return {
        "success": True,
        "instances_found": total,
        "total_instances": len(rows),
        "label_counts": dict(collections.Counter(str(row["label"] or "") for row in rows)),
        "next_token": _token(column, shown[-1]) if len(found) > limit else None,
        "instances": [_columns(row, parameters) for row in shown],
    }


def _columns(row: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    wanted = _json(parameters, "select_cols", ["*"])
    if not isinstance(wanted, list) or "*" in wanted:
        return row
    return {name: row.get(name) for name in wanted}
