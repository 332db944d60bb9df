"""What Vast.ai has billed for each instance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gpuplug.errors import ReplyError
from gpuplug.providers._calls import Call, Reply
from gpuplug.providers._reading import clean, mapping, number
from gpuplug.types import Billed, Money

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CHARGES = "/api/v0/charges/"
_SOURCE = "instance-"
_PAGE = 200
_MOST_PAGES = 100
_MOST = 1_000_000


def billed(ask: Callable[[Call], Reply], since: float, until: float) -> list[Billed]:
    """Return the charges of that time (seconds since 1970), summed for each instance; all pages.

    Raises:
        ReplyError: no whole bill; part of one would prove nothing.
    """
    filters = json.dumps({"day": {"gte": int(since), "lte": int(until) + 1}, "type": {"in": ["instance"]}})
    query = {"select_filters": filters, "latest_first": "false", "limit": str(_PAGE), "format": "table"}
    sums: dict[str, Billed] = {}
    token: object = None
    for _ in range(_MOST_PAGES):
        page = {**query, "after_token": str(token)} if token else query
        body = mapping(ask(Call("GET", _CHARGES, query=page, safe=True)).body)
        rows = body.get("results")
        if not isinstance(rows, list):
            raise ReplyError("vast's answer holds no list of charges")
        for row in rows:
            one = _read(mapping(row))
            known = sums.get(one.instance_id, Billed(one.instance_id, Money(0), one.label))
            sums[one.instance_id] = Billed(one.instance_id, known.amount + one.amount, known.label or one.label)
        token = body.get("next_token")
        if not token:
            return list(sums.values())
    raise ReplyError("vast's list of charges has no end")


def _read(row: Mapping[str, object]) -> Billed:
    amount = number(row.get("amount"), -_MOST, _MOST)
    source = clean(row.get("source"))
    if amount is None or not source.startswith(_SOURCE):
        raise ReplyError("vast shows a charge that makes no sense")
    label = clean(mapping(row.get("metadata")).get("label"))
    return Billed(source.removeprefix(_SOURCE), Money.dollars(amount), label)
