"""Lengths of time in words, and whether this computer's clock can be believed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from gpuplug.errors import GpuplugError
from gpuplug.providers import accountable

if TYPE_CHECKING:
    from gpuplug.providers import Provider
    from gpuplug.types import Clock

_MOST_SKEW_S = 300.0


def span(seconds: float) -> str:
    """Return a length of time as people say it: `12 s`, `15 min`, `6 h 2 min`, `3 d 4 h`."""
    whole = dt.timedelta(seconds=max(0, round(seconds)))
    hours, rest = divmod(whole.seconds, 3600)
    if whole.days:
        return f"{whole.days} d {hours} h"
    if hours:
        return f"{hours} h {rest // 60} min"
    return f"{rest // 60} min" if rest >= 60 else f"{rest} s"  # noqa: PLR2004 - a minute


def skew(provider: Provider, clock: Clock) -> str:
    """Say what is wrong with this computer's clock, going by the provider's; "" when nothing is, as far as it tells.

    Asks the provider for the account, which blocks.
    """
    try:
        skew_s = _skew_s(provider, clock)
    except GpuplugError as error:
        return f"{provider.name} does not tell the time: {error.message}"
    return "" if skew_s <= _MOST_SKEW_S else f"it differs by {span(skew_s)} from that of {provider.name}"


def is_wrong(provider: Provider, clock: Clock) -> bool:
    """Tell whether the provider tells another time than this computer; one that tells none says nothing. Blocks."""
    try:
        return _skew_s(provider, clock) > _MOST_SKEW_S
    except GpuplugError:
        return False  # a key may lack the right to see the account


def _skew_s(provider: Provider, clock: Clock) -> float:
    power = accountable(provider)
    told = power.account().told if power is not None else None
    return 0.0 if told is None else abs((clock.now() - told).total_seconds())
