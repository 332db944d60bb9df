"""The stable name of a notebook, under which the ledger keeps its instances; cheap to import."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def notebook_name(path: Path) -> str:
    """Return the name of the notebook in the file `path`, an absolute one: readable, and different for each file."""
    return f"{path.stem[:40] or 'notebook'}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
