"""The first line that a user sees; cheap to import."""

from __future__ import annotations

NOTHING_BILLS = "0 instances billing, $0.00 today"
_NO_KEY = "no key found, cells run on this computer (platform local)"


def line(platforms: list[str], bill: str) -> str:
    """Return the line of `%load_ext`: where cells can run, and what bills."""
    return f"gpuplug: {', '.join(platforms) or _NO_KEY}; {bill}"
