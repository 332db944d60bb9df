"""Files that a cell reads and that are not there."""

from __future__ import annotations

import difflib
import itertools
import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.references.calls import Use
from gpuplug.references.files import relative_path
from gpuplug.references.model import Missing
from gpuplug.references.values import literal

if TYPE_CHECKING:
    from gpuplug.references.source import Mention, Scan

_LONGEST_NAME = 255
_NAMES_LOOKED_AT = 2000
_NO_PATH = frozenset("\n{}<>|*?[]")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A path that the cell reads and that was not found."""

    path: str
    mention: Mention


def still_missing(root: str, wanted: list[Wanted], scans: list[Scan], *, warm: bool) -> tuple[Missing, ...]:
    """Return those of `wanted` that nothing earlier in the cell makes or mentions."""
    made = [
        (posixpath.normpath(text), mention.line)
        for scan in scans
        for mention in scan.mentions
        if mention.use is not Use.READ and (text := literal(mention.text))
    ]
    unknown = [line for scan in scans for line in scan.makes]
    found: dict[str, Missing] = {}
    for each in wanted:
        path, mention = relative_path(each.path), each.mention
        if path is None or path in found or mention.guarded or not _is_plain(path):
            continue
        last = float("inf") if mention.deferred else mention.line
        if any(line < last for line in unknown) or any(_is_same(path, text) and line <= last for text, line in made):
            continue
        reason = mention.reason + ("; the instance may have it" if warm else "")
        found[path] = Missing(path, mention.line, reason, nearest_name(root, path))
    return tuple(found.values())


def nearest_name(root: str, path: str) -> str | None:
    """Return the path in the same folder whose name is most like that of `path`."""
    normal = relative_path(path)
    if normal is None:
        return None
    folder, name = posixpath.split(normal)
    try:
        with os.scandir(f"{root}/{folder}") as entries:
            names = [entry.name for entry in itertools.islice(entries, _NAMES_LOOKED_AT)]
    except (OSError, ValueError):
        return nearest_name(root, folder) if folder else None
    close = difflib.get_close_matches(name, sorted(names), n=1)
    return posixpath.join(folder, close[0]) if close else None


def _is_plain(path: str) -> bool:
    return len(path) <= _LONGEST_NAME and not _NO_PATH & set(path)


def _is_same(path: str, mentioned: str) -> bool:
    """Tell whether making `mentioned` may make `path`: it is the file, its folder, or a file of that name elsewhere."""
    return path == mentioned or path.startswith(mentioned + "/") or mentioned.endswith("/" + path)
