"""How text that was made for a notebook reads in a shell; cheap to import."""

from __future__ import annotations

import re

_MAGIC = re.compile(r"(?<!%)%gpu\b")


def as_command(text: str) -> str:
    """Name what is typed in a shell: `gpuplug ls`, not `%gpu ls`."""
    return _MAGIC.sub("gpuplug", text)
