"""What RunPod has billed for each pod."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from gpuplug.errors import ReplyError
from gpuplug.providers._calls import Call, Reply
from gpuplug.providers._reading import clean, mapping, number
from gpuplug.types import Billed, Money

if TYPE_CHECKING:
    from collections.abc import Callable

_BILLING = "/v2/billing/pods"
_MOST = 1_000_000


def billed(ask: Callable[[Call], Reply], since: float) -> list[Billed]:
    """Return what each pod was billed since `since` (seconds since 1970), in whole days of UTC.

    Raises:
        ReplyError: no whole bill; part of one would prove nothing.
    """
    start = dt.datetime.fromtimestamp(since, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = mapping(ask(Call("GET", _BILLING, query={"startTime": start, "bucketSize": "day"}, safe=True)).body)
    records = body.get("records")
    if not isinstance(records, list):
        raise ReplyError("runpod's answer holds no list of records")
    sums: dict[str, Money] = {}
    for record in records:
        row = mapping(record)
        pod, amount = clean(row.get("podId")), number(row.get("totalAmount"), -_MOST, _MOST)
        if not pod or amount is None:
            raise ReplyError("runpod shows a record of its bill that makes no sense")
        sums[pod] = sums.get(pod, Money(0)) + Money.dollars(amount)
    return [Billed(pod, amount) for pod, amount in sums.items()]
