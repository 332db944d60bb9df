"""What is asked about a cell, and what is answered: files, names, modules, and what stays here and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

GUARD_BYTES = 1 << 30
SECRET = "secret: name it with -f to send it"  # noqa: S105 - a sentence


@dataclass(frozen=True, slots=True)
class Request:
    """How to look at a cell.

    Args:
        root: the notebook's working folder; nothing outside it is ever sent.
        defined: the names that the notebook's namespace defines.
        extra: paths and globs of `-f`, relative to `root`.
        no_files: send nothing but `extra`.
        shell: the cell is a shell script.
        warm: an instance with state exists, so a file that is missing here may be there.
    """

    root: Path
    defined: frozenset[str] = frozenset()
    extra: tuple[str, ...] = ()
    no_files: bool = False
    shell: bool = False
    warm: bool = False


@dataclass(frozen=True, slots=True)
class ShipFile:
    """One file to send.

    `path` is where it goes, relative to the working folder in POSIX form; `source` is where its bytes lie here
    (another path when it is reached by a symlink). `size` is in bytes. `reason` and `line` say what named it.
    """

    path: str
    source: Path
    size: int
    mtime_ns: int
    executable: bool
    reason: str
    line: int | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is not sent. `named_by` is what named it, or what it lies in, with its line; "" when nothing did."""

    path: str
    reason: str
    named_by: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that the cell reads, that is not here, and that nothing in the cell makes."""

    path: str
    line: int
    reason: str
    nearest: str | None


@dataclass(frozen=True, slots=True)
class NameUse:
    """A name of the notebook's namespace that the cell loads before it binds it; `line` is the first such line."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class References:
    """All that a cell refers to.

    `modules` are the top-level names of third-party modules that the cell, its scripts and its local modules import.
    `import_folders` are the folders other than the working folder that local modules were found in, relative to it:
    they belong on `sys.path` of the instance.
    """

    files: tuple[ShipFile, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    missing: tuple[Missing, ...] = ()
    names: tuple[NameUse, ...] = ()
    modules: tuple[str, ...] = ()
    import_folders: tuple[str, ...] = ()


def total_size(files: Iterable[ShipFile]) -> int:
    """Return the sum of the sizes of `files` in bytes."""
    return sum(file.size for file in files)
