"""Days and months of the computer's own time zone, as seconds since 1970 in UTC. Cheap to import."""

from __future__ import annotations

import datetime as dt
import math


def day(at: float) -> tuple[float, float]:
    """Return the beginning and the end of the local day that `at` lies in: 23 to 25 hours."""
    today = _local(at).date()
    return _midnight(today), _midnight(today + dt.timedelta(days=1))


def month(at: float) -> tuple[float, float]:
    """Return the beginning and the end of the local month that `at` lies in."""
    first = _local(at).date().replace(day=1)
    # Four weeks and four days lead from any first of a month into the next one.
    return _midnight(first), _midnight((first + dt.timedelta(days=32)).replace(day=1))


def zone(at: float) -> str:
    """Return the name of the local time zone, as it is called at `at`."""
    return _local(at).tzname() or "local time"


def _local(at: float) -> dt.datetime:
    # A moment before midnight that is shorter than a date can tell would be rounded into the next day.
    return dt.datetime.fromtimestamp(math.floor(at), dt.timezone.utc).astimezone()


def _midnight(date: dt.date) -> float:
    return dt.datetime.combine(date, dt.time.min).timestamp()


PERIODS = {"day": day, "month": month}
