"""Where imported modules lie in the working folder."""

from __future__ import annotations

import os
import posixpath
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuplug.references.source import Import

_NEVER_LOCAL = frozenset(sys.builtin_module_names) | {"__future__", "__main__"}


@dataclass(slots=True)
class Found:
    """The files behind one import, in the order in which they are loaded; empty for a module from elsewhere."""

    files: list[str] = field(default_factory=list)
    folder: str = ""


def import_folders(root: str) -> list[str]:
    """Return the entries of `sys.path` inside `root`, relative to it, after the root itself ("").

    Folders of installed packages are left out: what is installed is installed on the instance too.
    """
    folders = [""]
    for entry in sys.path:
        real = os.path.realpath(entry) if entry else root
        if not real.startswith(root + os.sep) or not os.path.isdir(real):  # noqa: PTH112 - strings all through
            continue
        relative = os.path.relpath(real, root).replace(os.sep, "/")
        installed = {"site-packages", "dist-packages"} & set(relative.split("/"))
        if relative not in folders and not installed and not _in_environment(real, root):
            folders.append(relative)
    return folders


def is_standard(module: str) -> bool:
    """Tell whether the top-level `module` comes with Python."""
    return module in sys.stdlib_module_names or module in _NEVER_LOCAL


def locate(root: str, item: Import, importer: str | None, folders: Sequence[str]) -> Found:
    """Return the files that `item` loads.

    Args:
        root: the working folder.
        item: an absolute or relative import.
        importer: the importing file relative to `root`; None for the cell.
        folders: where absolute imports look, relative to `root`, in order.
    """
    if item.level:
        return _locate_relative(root, item, importer)
    parts = item.module.split(".")
    if parts[0] in _NEVER_LOCAL or not all(parts):
        return Found()
    for folder in folders:
        files = _walk_down(root, folder, parts, item.names)
        if files:
            return Found(files, folder)
    return Found()


def _in_environment(real: str, root: str) -> bool:
    while real.startswith(root + os.sep):
        if os.path.lexists(os.path.join(real, "pyvenv.cfg")):  # noqa: PTH118 - strings all through
            return True
        real = os.path.dirname(real)  # noqa: PTH120 - strings all through
    return False


def _locate_relative(root: str, item: Import, importer: str | None) -> Found:
    if importer is None:
        return Found()
    folder = posixpath.dirname(importer)
    for _ in range(item.level - 1):
        if not folder:
            return Found()
        folder = posixpath.dirname(folder)
    parts = [part for part in item.module.split(".") if part]
    own = posixpath.join(folder, "__init__.py")
    files = [own] if _is_file(root, own) else []
    return Found(files + _walk_down(root, folder, parts, item.names))


def _walk_down(root: str, folder: str, parts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the files of `parts`, one inside the other, and of those of `names` that are submodules."""
    files: list[str] = []
    for index, part in enumerate(parts):
        package, module = posixpath.join(folder, part, "__init__.py"), posixpath.join(folder, part + ".py")
        if _is_file(root, package):
            files.append(package)
        elif _is_file(root, module):
            # What follows is an attribute: a module holds no modules.
            return [*files, module]
        elif not _is_folder(root, posixpath.join(folder, part)):
            return files
        folder = posixpath.join(folder, part)
        if index == len(parts) - 1:
            break
    for name in names:
        if name.isidentifier():
            files += [file for file in _submodule(root, folder, name) if file not in files]
    return files


def _submodule(root: str, folder: str, name: str) -> list[str]:
    for candidate in (posixpath.join(folder, name, "__init__.py"), posixpath.join(folder, name + ".py")):
        if _is_file(root, candidate):
            return [candidate]
    return []


def _is_file(root: str, relative: str) -> bool:
    try:
        return os.path.isfile(os.path.join(root, relative))  # noqa: PTH113, PTH118 - strings all through
    except ValueError:
        return False


def _is_folder(root: str, relative: str) -> bool:
    try:
        return os.path.isdir(os.path.join(root, relative))  # noqa: PTH112, PTH118 - strings all through
    except ValueError:
        return False
