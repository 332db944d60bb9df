"""How money, moments and foreign text are written in the panel's state (docs/panel.md)."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from gpuplug.outputs import clean_text

if TYPE_CHECKING:
    from gpuplug.errors import GpuplugError
    from gpuplug.types import Money

TEXT_LIMIT = 200
LONG_TEXT_LIMIT = 2000
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def usd(amount: Money | None) -> str | None:
    """Return exact dollars as text; None when the amount is not known."""
    return None if amount is None else amount.exact()


def moment(seconds: float | None) -> str | None:
    """Return seconds since 1970 as RFC 3339 in UTC; None when there was no such moment."""
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text(foreign: str, limit: int = TEXT_LIMIT) -> str:
    """Return what a provider or a host sent as one line of plain text, `limit` characters at most."""
    cleaned = " ".join(_COLOUR.sub("", clean_text(foreign[: 4 * limit])).split())
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def trouble(error: GpuplugError) -> dict[str, Any]:
    """Return what an error says, its parts apart."""
    return {
        "text": text(error.message, LONG_TEXT_LIMIT),
        "hint": text(error.hint, LONG_TEXT_LIMIT),
        "billing": text(error.billing, LONG_TEXT_LIMIT),
    }
