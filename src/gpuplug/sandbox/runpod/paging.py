"""Pages of a list; the service has them in some versions and on some lists."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.runpod.problems import bad

if TYPE_CHECKING:
    from collections.abc import Mapping


def paged(name: str, rows: list[dict[str, Any]], query: Mapping[str, str], size: int | None) -> dict[str, Any]:
    """Return `rows` in their envelope: all of them, or with `size` one page and where the next begins.

    Raises:
        Problem: a cursor or limit that the service refuses.
    """
    if size is None:
        return {name: rows}
    limit = query.get("limit", str(size))
    if not limit.isdigit() or not int(limit):
        raise bad("limit must be a positive number")
    first = _position(query.get("cursor", ""))
    end = first + min(int(limit), size)
    more = end < len(rows)
    cursor = base64.urlsafe_b64encode(f"from {end}".encode()).decode() if more else None
    return {name: rows[first:end], "pagination": {"hasNextPage": more, "nextCursor": cursor}}


def _position(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        return int(base64.urlsafe_b64decode(cursor).decode().removeprefix("from "))
    except (ValueError, binascii.Error):
        raise bad("invalid cursor") from None
