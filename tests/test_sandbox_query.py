"""The filter language of the market's search."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplug.sandbox.query import CAP, QueryError, in_order, matches, search

ROW: dict[str, Any] = {
    "id": 7,
    "ask_contract_id": 7,
    "gpu_name": "RTX 4090",
    "num_gpus": 2,
    "reliability": 0.99,
    "hosting_type": 1,
    "verification": "verified",
    "external": None,
    "geolocation": "Guangxi, CN",
    "driver_version": "535.183.01",
    "driver_vers": 535183001,
    "rentable": True,
}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"num_gpus": {"eq": 2}}, True),
        ({"num_gpus": {"eq": "2"}}, True),
        ({"num_gpus": {"neq": 2}}, False),
        ({"num_gpus": {"gt": 1, "lt": "3"}}, True),
        ({"num_gpus": {"gte": 3}}, False),
        ({"num_gpus": {"lte": 2}}, True),
        ({"reliability": {"gt": "0.98"}}, True),
        ({"gpu_name": {"eq": "RTX 4090"}}, True),
        ({"gpu_name": {"eq": "RTX_4090"}}, False),
        ({"gpu_name": {"in": ["RTX 3090", "RTX 4090"]}}, True),
        ({"gpu_name": {"notin": ["RTX 3090"]}}, True),
        ({"geolocation": {"notin": ["CN", "RU"]}}, False),
        ({"geolocation": {"eq": "CN"}}, True),
        ({"rentable": {"eq": True}}, True),
        ({"rentable": {"eq": "true"}}, True),
        ({"external": {"eq": False}}, True),
        ({"verified": {"eq": True}}, True),
        ({"datacenter": {"eq": False}}, False),
        ({"driver_version": {"gte": 535086005}}, True),
        ({"id": {"eq": 7}}, False),
        ({"ask_contract_id": {"eq": 7}}, True),
        ({"no_such_field": {"gt": 1}}, False),
    ],
)
def test_a_filter_passes_what_the_service_would_pass(filters: dict[str, Any], *, expected: bool) -> None:
    assert matches(ROW, filters) is expected


@pytest.mark.parametrize(
    "body",
    [
        {"num_gpus": 2},
        {"num_gpus": {"equals": 2}},
        {"num_gpus": {"in": 2}},
        {"order": "dph_total"},
        {"order": [["dph_total", "upwards"]]},
    ],
)
def test_what_is_not_the_language_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        search([ROW], body)


@given(values=st.lists(st.integers(-999, 999) | st.none(), max_size=100), descending=st.booleans())
def test_order_sorts_and_puts_rows_without_the_field_last(values: list[int | None], *, descending: bool) -> None:
    rows = [{"price": value} for value in values]
    found = [row["price"] for row in in_order(rows, [["price", "desc" if descending else "asc"]])]
    there = sorted((value for value in values if value is not None), reverse=descending)
    assert found == there + [None] * values.count(None)


@given(st.integers(-5, 200) | st.none(), st.integers(0, 150))
def test_no_search_gives_more_than_its_limit_or_64(limit: int | None, count: int) -> None:
    rows = [{"score": number} for number in range(count)]
    found = search(rows, {} if limit is None else {"limit": limit})
    top = CAP if limit is None or limit <= 0 else min(CAP, limit)
    assert [row["score"] for row in found] == list(range(count))[::-1][:top]
