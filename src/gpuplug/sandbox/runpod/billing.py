"""What was spent, in buckets of time: for history, not for what bills now."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.clock import NS
from gpuplug.sandbox.runpod.problems import bad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpuplug.sandbox.clock import ScaledClock
    from gpuplug.sandbox.meter import Meter

SIZES = ("hour", "day", "week", "month", "year")
DEFAULT_DAYS = 30
MOST_BUCKETS = 10_000
Amounts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Span:
    """The window that was asked for, already on the borders of its buckets."""

    start: dt.datetime
    end: dt.datetime
    size: str

    def buckets(self) -> Iterator[tuple[dt.datetime, dt.datetime]]:
        """Return the buckets, oldest first."""
        at = self.start
        while at < self.end:
            following = _next(at, self.size)
            yield at, following
            at = following

    def query(self) -> dict[str, str]:
        """Return it as the service echoes it."""
        return {"startTime": _text(self.start), "endTime": _text(self.end), "bucketSize": self.size}


def span(query: Mapping[str, str], now: float) -> Span:
    """Read the window of a billing query; `now` is Unix time.

    Raises:
        Problem: values that make no sense together.
    """
    size = query.get("bucketSize", "day")
    if size not in SIZES:
        raise bad(f"bucketSize must be one of {', '.join(SIZES)}")
    present = dt.datetime.fromtimestamp(now, dt.timezone.utc)
    if "lastN" in query:
        return _last(query, size, present)
    start = _moment(query.get("startTime"), present - dt.timedelta(days=DEFAULT_DAYS))
    end = _moment(query.get("endTime"), present)
    if end < start:
        raise bad("endTime is before startTime")
    last = _floor(end, size)
    return Span(_floor(start, size), last if last == end else _next(last, size), size)


def records(meters: dict[str, Meter], window: Span, clock: ScaledClock) -> list[tuple[str, dict[str, str], Amounts]]:
    """Return what each meter counted in each bucket: its name, the bucket, the dollars; buckets without any are left out."""
    found = []
    for start, end in window.buckets():
        times = {"startTime": _text(start), "endTime": _text(end)}
        for name, meter in meters.items():
            gpu, disk = meter.between(_ns(start, clock), min(_ns(end, clock), clock.now_ns()))
            if gpu or disk:
                found.append((name, times, {"gpu": float(gpu) / MICROS, "disk": float(disk) / MICROS}))
    return found


def answer(
    rows: list[dict[str, Any]],
    window: Span,
    fields: tuple[str, ...],
    **more: Any,  # noqa: ANN401 - JSON
) -> dict[str, Any]:
    """Return the envelope of `rows`, with the totals of their `fields`."""
    totals = {field: sum(row[field] for row in rows) for field in fields}
    query = {**window.query(), **more.pop("query", {})}
    return {"records": rows, "metadata": {"query": query, "recordCount": len(rows), **more, "totals": totals}}


def _last(query: Mapping[str, str], size: str, present: dt.datetime) -> Span:
    text = query["lastN"]
    if "startTime" in query or "endTime" in query:
        raise bad("lastN and startTime/endTime are mutually exclusive")
    if not text.isdigit() or not 1 <= int(text) <= MOST_BUCKETS:
        raise bad(f"lastN must be a number from 1 to {MOST_BUCKETS}")
    start = _floor(present, size)
    end = _next(start, size)
    for _ in range(int(text) - 1):
        start = _floor(start - dt.timedelta(seconds=1), size)
    return Span(start, end, size)


_FLOORS: dict[str, Callable[[dt.datetime], dt.datetime]] = {
    "hour": lambda at: at.replace(minute=0, second=0, microsecond=0),
    "day": lambda at: at.replace(hour=0, minute=0, second=0, microsecond=0),
    "week": lambda at: _FLOORS["day"](at) - dt.timedelta(days=at.weekday()),
    "month": lambda at: _FLOORS["day"](at).replace(day=1),
    "year": lambda at: _FLOORS["month"](at).replace(month=1),
}
# Longer than any bucket of the size and shorter than two: the floor of a start plus this is the next start.
_STEPS = {
    "hour": dt.timedelta(hours=1),
    "day": dt.timedelta(days=1),
    "week": dt.timedelta(days=7),
    "month": dt.timedelta(days=32),
    "year": dt.timedelta(days=367),
}


def _floor(at: dt.datetime, size: str) -> dt.datetime:
    return _FLOORS[size](at)


def _next(start: dt.datetime, size: str) -> dt.datetime:
    return _floor(start + _STEPS[size], size)


def _text(at: dt.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _ns(at: dt.datetime, clock: ScaledClock) -> int:
    return int((at.timestamp() - clock.epoch) * NS)


def _moment(text: str | None, otherwise: dt.datetime) -> dt.datetime:
    if text is None:
        return otherwise
    try:
        at = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise bad(f"{text!r} is not an RFC 3339 time") from None
    return at.astimezone(dt.timezone.utc)
