"""A working folder to look into, and the short form of a question about a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.references import References, Request, find

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def plant(root: Path, files: Mapping[str, str] | str) -> Path:
    """Write `files` (path to content, or paths between spaces) below `root`; a path ending in a slash is a folder."""
    contents = dict.fromkeys(files.split(), "x") if isinstance(files, str) else files
    for name, content in contents.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def ask(root: Path, cell: str, *extra: str) -> References:
    """Look into `root` for what `cell` refers to."""
    return find(cell, Request(root, extra=extra))


def shipped(root: Path, cell: str, *extra: str) -> list[str]:
    """Return the paths that `cell` would send, sorted."""
    return sorted(file.path for file in ask(root, cell, *extra).files)


def reasons(root: Path, cell: str) -> dict[str, str]:
    """Return for each path to send why, as a person reads it."""
    return {file.path: f"{file.reason}, line {file.line}" for file in ask(root, cell).files}


def left_here(root: Path, cell: str, *extra: str) -> dict[str, str]:
    """Return for each path that is not sent the reason."""
    return {each.path: each.reason for each in ask(root, cell, *extra).skipped}
