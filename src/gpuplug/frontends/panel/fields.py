"""How money, moments and foreign text are written in the panel's state (docs/panel.md)."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

from gpuplug.outputs import clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    cleaned = foreign[: 4 * limit]
    if not cleaned.isprintable():  # nothing that is printable steers a terminal or turns the direction of writing
        cleaned = _COLOUR.sub("", clean_text(cleaned))
    cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def trouble(error: GpuplugError) -> dict[str, Any]:
    """Return what an error says, its parts apart."""
    return {
        "text": text(error.message, LONG_TEXT_LIMIT),
        "hint": text(error.hint, LONG_TEXT_LIMIT),
        "billing": text(error.billing, LONG_TEXT_LIMIT),
    }


def encoded(body: Mapping[str, Any]) -> str:
    """Return `body` as JSON; its lists row by row, since one call for 10,000 rows keeps every other thread waiting."""
    fields = (
        f"{json.dumps(name)}: {_list(each) if isinstance(each, list) else json.dumps(each)}"
        for name, each in body.items()
    )
    return f"{{{', '.join(fields)}}}"


def _list(rows: list[Any]) -> str:
    return f"[{', '.join([json.dumps(row) for row in rows])}]"
