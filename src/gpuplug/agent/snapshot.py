"""Which files a cell made or changed: the working folder looked at before and after, by stat alone.

Python 3.8, standard library only.
"""

import contextlib
import os
import stat
from typing import Dict, Iterator, List, Tuple, Union

from .safepath import PART_SUFFIX

Entry = Tuple[int, int, int, bool]
"""Size, mtime in nanoseconds, inode, executable."""
Snapshot = Dict[str, Entry]

MAX_ENTRIES = 200_000
_SKIPPED = frozenset(
    (
        "__pycache__",
        ".cache",
        ".git",
        ".hypothesis",
        ".ipynb_checkpoints",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "node_modules",
    )
)
# A virtual environment holds the first, a cache that follows the standard the second.
_MARKS = frozenset(("pyvenv.cfg", "CACHEDIR.TAG"))


def snapshot(root: str) -> Snapshot:
    """Return the regular files below `root` by relative path.

    Links, special files, caches, virtual environments and unfinished files are left out. Folders are walked in the
    order of their names, and after 200,000 entries the walk ends. What cannot be read is left out.
    """
    found: Snapshot = {}
    left = MAX_ENTRIES
    waiting = [""]
    while waiting and left > 0:
        prefix = waiting.pop()
        entries = _entries(os.path.join(root, prefix))
        if prefix and any(entry.name in _MARKS for entry in entries):
            continue
        entries = entries[:left]
        left -= len(entries)
        found.update(_files(prefix, entries))
        waiting += [f"{prefix}{entry.name}/" for entry in reversed(entries) if _is_folder(entry)]
    return found


def _entries(folder: str) -> "List[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (each for each in entries if each.name not in _SKIPPED and not each.name.endswith(PART_SUFFIX)),
                key=lambda each: each.name,
            )
    except OSError:
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _files(prefix: str, entries: "List[os.DirEntry[str]]") -> Iterator[Tuple[str, Entry]]:
    for entry in entries:
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield prefix + entry.name, _entry(status)


def _entry(status: os.stat_result) -> Entry:
    return status.st_size, status.st_mtime_ns, status.st_ino, bool(status.st_mode & stat.S_IXUSR)


def changed(before: Snapshot, after: Snapshot) -> List[List[Union[str, int, bool]]]:
    """Return `[path, size, mtime_ns, executable]` of each file that is new in `after` or differs, ordered by path."""
    return [[path, entry[0], entry[1], entry[3]] for path, entry in sorted(after.items()) if before.get(path) != entry]
