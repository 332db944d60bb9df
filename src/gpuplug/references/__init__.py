"""What a cell refers to: files, local modules, names and packages. Nothing is run, rented or sent."""

from __future__ import annotations

from gpuplug.references.cell import check_syntax
from gpuplug.references.find import find
from gpuplug.references.model import (
    GUARD_BYTES,
    Missing,
    NameUse,
    References,
    Request,
    ShipFile,
    Skipped,
    total_size,
)
from gpuplug.references.tree import notes_on_skipped, ship_tree

__all__ = [
    "GUARD_BYTES",
    "Missing",
    "NameUse",
    "References",
    "Request",
    "ShipFile",
    "Skipped",
    "check_syntax",
    "find",
    "notes_on_skipped",
    "ship_tree",
    "total_size",
]
