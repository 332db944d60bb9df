"""The way from a cell's text to all that it refers to."""

from __future__ import annotations

import glob
import os
import posixpath
import shlex
from collections import deque
from dataclasses import dataclass, field, replace
from functools import lru_cache

from gpuplug.errors import MissingFileError, UsageError
from gpuplug.references import modules, names, shell, source
from gpuplug.references.calls import Use
from gpuplug.references.cell import Cell, parse, parse_file, split
from gpuplug.references.files import OUTSIDE, Collector, Why, relative_path
from gpuplug.references.missing import Wanted, nearest_name, still_missing
from gpuplug.references.model import Missing, References, Request
from gpuplug.references.source import Import, Mention, Scan
from gpuplug.references.values import literal, pattern

_LONGEST_PATH = 4096
_SOURCE_MAX = 2 << 20
_LOOK = "!ls shows what is here; -f takes a path or a glob below this folder, such as -f 'data/*.csv'"
_PATH_USES = frozenset({Use.READ, Use.PATH, Use.LIST, Use.GLOB})


def find(source_text: str, request: Request) -> References:
    """Return what a cell refers to: files, names and modules. Reads local files, costs nothing and may be repeated.

    Blocks for milliseconds, and longer only for folders that the cell names.

    Raises:
        MissingFileError: a path or glob of `-f` matches nothing.
        TooLargeError: the folders that the cell names have too many entries.
        UsageError: the cell is no Python.
    """
    cell = split(source_text, shell=request.shell)
    tree = parse(cell.python, source_text)
    try:
        uses = () if cell.foreign else names.used_names(tree, request.defined)
        scans = [source.scan(tree), *_command_scans(cell)]
        scans += [shell.scan_call(each) for scan in scans for each in scan.shell]
    except RecursionError:
        msg = "the cell nests too deeply to be read"
        raise UsageError(msg) from None
    search = _Search(request)
    search.take_extras()
    search.read_cell(scans)
    search.follow()
    return References(
        files=tuple(search.collector.files.values()),
        skipped=search.collector.skipped,
        missing=search.missing(),
        names=uses,
        modules=tuple(search.foreign),
        import_folders=tuple(search.used_folders),
    )


def _command_scans(cell: Cell) -> list[Scan]:
    return [shell.scan_command(command) for command in cell.commands]


@dataclass(frozen=True, slots=True)
class _Source:
    """A local file to read on: `role` is script, module or shell; `folders` are where its imports look."""

    path: str
    role: str
    folders: tuple[str, ...]


@dataclass(slots=True)
class _Search:
    """One run of `find`: what was met and what is still to be read."""

    request: Request
    collector: Collector = field(init=False)
    foreign: dict[str, None] = field(default_factory=dict)
    used_folders: dict[str, None] = field(default_factory=dict)
    _folders: tuple[str, ...] = ()
    _bases: list[str] = field(default_factory=lambda: [""])
    _waiting: deque[_Source] = field(default_factory=deque)
    _known: set[tuple[str, str]] = field(default_factory=set)
    _wanted: list[Wanted] = field(default_factory=list)
    _scans: list[Scan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.collector = Collector(os.path.realpath(self.request.root))

    def take_extras(self) -> None:
        """Take what `-f` names; it must be there."""
        why = Why("-f", None, named=True)
        root = self.collector.root
        for extra in self.request.extra:
            text = extra.removeprefix(root.rstrip("/") + "/") or "."
            if relative_path(text) is None and os.path.lexists(os.path.join(root, text)):  # noqa: PTH118 - strings
                msg = f"-f {extra} is outside the working folder {root}"
                raise UsageError(msg, hint="copy or link it into the working folder")
            if self.collector.take(text, why, folder=True) is None and not (
                glob.has_magic(text) and self.collector.take_glob(text, why)
            ):
                nearest = nearest_name(root, text)
                msg = f"-f {extra} matches no file in {root}" + (f"; the nearest is {nearest}" if nearest else "")
                raise MissingFileError(msg, hint=f"-f {shlex.quote(nearest)}" if nearest else _LOOK)

    def read_cell(self, scans: list[Scan]) -> None:
        """Take what the cell itself mentions."""
        self._scans = scans
        root = self.collector.root
        added = [path for scan in scans for text in scan.import_folders if (path := relative_path(text))]
        self._folders = tuple(
            dict.fromkeys(["", *(path for path in added if path != "."), *modules.import_folders(root)])
        )
        self._add_bases(scans)
        if not self.request.no_files:
            mentions = sorted((each for scan in scans for each in scan.mentions), key=lambda each: each.line)
            for mention in mentions:
                self._mention(mention, self._folders, "")
        for scan in scans:
            for item in scan.imports:
                self._import(item, None, self._folders, "module")
            for item in scan.run_modules:
                self._import(item, None, self._folders, "script")

    def follow(self) -> None:
        """Read scripts and local modules, and what they lead to."""
        while self._waiting:
            item = self._waiting.popleft()
            self._read_file(item)

    def missing(self) -> tuple[Missing, ...]:
        """Return what the cell reads and neither the working folder nor the cell has."""
        if self.request.no_files or len(self._bases) > 1:
            return ()
        return still_missing(self.collector.root, self._wanted, self._scans, warm=self.request.warm)

    def _add_bases(self, scans: list[Scan]) -> None:
        for scan in scans:
            for text in scan.chdirs:
                self._bases += [text] if text not in self._bases and relative_path(text) else []

    def _read_file(self, item: _Source) -> None:
        file = self.collector.files.get(item.path)
        if file is None or file.size > _SOURCE_MAX:
            return
        scan = _scan_file(str(file.source), item.path, item.role, file.size, file.mtime_ns)
        scans = [scan, *(shell.scan_call(each) for each in scan.shell)]
        self._add_bases(scans)
        own = posixpath.dirname(item.path)
        added = [path for text in scan.import_folders if (path := relative_path(text)) and path != "."]
        first = (own,) if item.role == "script" else ()
        folders = tuple(dict.fromkeys([*first, *item.folders, *added]))
        for each in scans:
            for mention in each.mentions:
                self._mention(mention, folders, item.path)
            for imported in each.imports:
                self._import(imported, item.path, folders, "module")
            for imported in each.run_modules:
                self._import(imported, None, folders, "script")
        if scan.imports_unknown and own and f"{own}/__init__.py" in self.collector.files:
            self._take_package(own, item)

    def _take_package(self, folder: str, item: _Source) -> None:
        before = set(self.collector.files)
        self.collector.take_glob(f"{glob.escape(folder)}/**/*.py", Why(f"import in {item.path}", None))
        for path in self.collector.files.keys() - before:
            self._read_on(path, "module", item.folders)

    def _read_on(self, path: str, role: str, folders: tuple[str, ...]) -> None:
        if (path, role) not in self._known:
            self._known.add((path, role))
            self._waiting.append(_Source(path, role, folders))

    def _import(self, item: Import, importer: str | None, folders: tuple[str, ...], role: str) -> None:
        found = modules.locate(self.collector.root, item, importer, folders)
        if not found.files:
            top = item.module.partition(".")[0]
            if not item.level and top and not modules.is_standard(top):
                self.foreign.setdefault(top)
            return
        if self.request.no_files:
            return
        if found.folder in self._folders[1:]:
            self.used_folders.setdefault(found.folder)
        why = Why(f"import in {importer}" if importer else "import", item.line)
        for path in found.files:
            self.collector.take(path, why, folder=False)
            self._read_on(path, role if path == found.files[-1] else "module", folders)

    def _mention(self, mention: Mention, folders: tuple[str, ...], origin: str) -> None:
        if mention.use is Use.WRITE:
            return
        why = Why(f"{mention.reason} in {origin}" if origin else mention.reason, mention.line)
        text = literal(mention.text)
        if text is None:
            self._take_pattern(pattern(mention.text, is_glob=mention.use is Use.GLOB), mention, why)
            return
        if not text or len(text) > _LONGEST_PATH or "://" in text:
            return
        path = self._take_text(text, mention, why)
        if path is None and mention.use is Use.READ and not origin:
            self._wanted.append(Wanted(text, mention))
        if path is not None and mention.runs:
            self._read_on(path, "script" if path.endswith(".py") else "shell", folders)

    def _take_text(self, text: str, mention: Mention, why: Why) -> str | None:
        if relative_path(text) is None:
            self._note_outside(text, mention, why)
            return None
        for base in self._bases:
            path = self.collector.take(posixpath.join(base, text), why, folder=mention.folder)
            if path is not None:
                return path
        if glob.has_magic(text) and (mention.use in _PATH_USES or mention.reason.startswith(("!", "%"))):
            for base in self._bases:
                self.collector.take_glob(posixpath.join(glob.escape(base), text), why)
        return None

    def _take_pattern(self, text: str, mention: Mention, why: Why) -> None:
        """Take what a text with gaps may name, unless it may name anything."""
        first, slash, _ = text.partition("/")
        vague = not first.strip("*.") if mention.use in _PATH_USES else not slash or "*" in first
        if vague or len(text) > _LONGEST_PATH or "://" in text:
            return
        why = replace(why, folders=mention.folder)
        for base in self._bases:
            self.collector.take_glob(posixpath.join(glob.escape(base), text), why)

    def _note_outside(self, text: str, mention: Mention, why: Why) -> None:
        """Say of a file that is there, but not on the instance under that path."""
        root = self.collector.root
        full = os.path.join(root, os.path.expanduser(text))  # noqa: PTH111, PTH118 - strings all through
        try:
            there = os.path.isfile(full) or (mention.use in _PATH_USES and len(text) > 1 and os.path.isdir(full))  # noqa: PTH112, PTH113 - as above
            real = os.path.realpath(full)
        except (OSError, ValueError):
            return
        if not there or real == root:
            return
        if self.collector.inside(real):
            relative = os.path.relpath(real, root)
            self.collector.skip(relative, f"absolute path: write {relative!r}, which the instance has too", why)
        else:
            self.collector.skip(text, OUTSIDE, why)


@lru_cache(maxsize=512)
def _scan_file(file: str, path: str, role: str, _size: int, _mtime_ns: int) -> Scan:
    """Read a local source once for each of its versions; one that cannot be parsed says nothing."""
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - a string all through
            content = opened.read(_SOURCE_MAX)
        if role == "shell":
            return shell.scan_shell(content.decode(errors="replace"))
        return source.scan(parse_file(content), file=path, imported=role == "module")
    except (OSError, UsageError, RecursionError):
        return Scan()
