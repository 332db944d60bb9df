"""How text that was made for a notebook reads in a shell; cheap to import."""

from __future__ import annotations

import re

# What the command cannot do stays what is typed in a notebook.
_MAGIC = re.compile(r"(?<!%)%gpu\b(?! (?:up|start|extend|files)\b)")


def as_command(text: str) -> str:
    """Name what is typed in a shell: `gpuplug ls`, not `%gpu ls`; the verbs that need a notebook stay as they are."""
    return _MAGIC.sub("gpuplug", text)
