"""The files behind paths, folders and globs: what is sent, what is left here, and why."""

from __future__ import annotations

import glob
import os
import posixpath
import stat
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from gpuplug.errors import TooLargeError
from gpuplug.references import ignore, private
from gpuplug.references.ignore import Chain
from gpuplug.references.model import SECRET, ShipFile, Skipped

WALK_LIMIT = 200_000

OUTSIDE = "outside the working folder"
WHOLE = "the working folder as a whole is sent only with -f"
_LEAVES = "symlink that leaves the working folder"
_SPECIAL = "no regular file"
_UNREADABLE = "cannot be read"
_NOTEBOOK = "notebook"


@dataclass(frozen=True, slots=True)
class Why:
    """What named files, and how far that goes.

    `named` says that it was `-f`, so that no ignore rule holds; `secrets` that even keys may go;
    `folders` that a folder which a glob matches is meant with all that it holds.
    """

    reason: str
    line: int | None
    named: bool = False
    secrets: bool = False
    folders: bool = True

    def __str__(self) -> str:
        return self.reason if self.line is None else f"{self.reason}, line {self.line}"


@dataclass(slots=True)
class _Folder:
    """One folder of a walk; `above` are the real folders on the way to it."""

    real: str
    relative: str
    chain: Chain
    above: tuple[str, ...]


@dataclass(slots=True)
class Collector:
    """Gathers files below `root`, a real path; the first reason for a file stays."""

    root: str
    limit: int = WALK_LIMIT
    files: dict[str, ShipFile] = field(default_factory=dict)
    _skipped: dict[str, Skipped] = field(default_factory=dict)
    _seen: int = 0
    _met: int = 0

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What is left here, in the order in which it was met."""
        return tuple(each for path, each in self._skipped.items() if path not in self.files)

    def skip(self, path: str, reason: str, why: Why) -> None:
        """Note that `path`, which `why` names or leads to, is not sent; the first reason stays."""
        self._met += 1
        self._skipped.setdefault(path, Skipped(path, reason, str(why)))

    def take(self, text: str, why: Why, *, folder: bool) -> str | None:
        """Take the file `text` names, or all of the folder when `folder` says that folders are meant.

        Returns:
            the path relative to `root` when something is there, else None.

        Raises:
            TooLargeError: the folder has too many entries.
        """
        path = relative_path(text)
        if path is None:
            return None
        try:
            real = os.path.realpath(f"{self.root}/{path}")
            found = os.stat(real)  # noqa: PTH116 - strings all through
        except (OSError, ValueError):
            return None
        if stat.S_ISDIR(found.st_mode):
            if folder:
                self._take_folder(path, real, why)
            return path
        if why.named or self._may_name(path, real, why):
            self._add(path, real, found, replace(why, secrets=why.named))
        return path

    def take_glob(self, pattern: str, why: Why) -> bool:
        """Take what `pattern` (relative to `root`) matches; tell whether it matched anything.

        Raises:
            TooLargeError: too many entries had to be looked at.
        """
        path = relative_path(pattern)
        if path is None:
            return False
        parts = path.split("/")
        fixed = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
        if all(set(part) <= {"*", "."} for part in parts[fixed:]) and not fixed and not why.named:
            self.skip(pattern, WHOLE, why)
            return False
        base = "/".join(_unescaped(part) for part in parts[:fixed])
        if fixed == len(parts):
            return self.take(base, why, folder=True) is not None
        try:
            real = os.path.realpath(f"{self.root}/{base}" if base else self.root)
        except (OSError, ValueError):
            return False
        if not os.path.isdir(real) or not self._may_enter(base, real, why):  # noqa: PTH112 - strings all through
            return False
        before = self._met
        why = replace(why, secrets=why.named and private.is_secret_path(parts[-1]))
        self._expand(self._start(base, real, why), parts[fixed:], why)
        return self._met > before

    def inside(self, real: str) -> bool:
        """Tell whether the real path `real` lies below the working folder."""
        return real == self.root or real.startswith(self.root.rstrip("/") + "/")

    def _may_name(self, path: str, real: str, why: Why) -> bool:
        """Judge a file that the cell names exactly: `.gitignore` does not hold for it."""
        never = next((found for part in path.split("/")[:-1] if (found := private.never_sent(part))), "")
        if never:
            self.skip(path, never, why)
        elif not self.inside(real):
            self.skip(path, _LEAVES, why)
        elif ignore.hidden_by(self.root, path, ".gpuplugignore"):
            self.skip(path, ".gpuplugignore", why)
        else:
            return True
        return False

    def _may_enter(self, path: str, real: str, why: Why) -> bool:
        if why.named:
            return True
        never = next((found for part in path.split("/") if (found := private.never_sent(part))), "")
        if never:
            self.skip(f"{path}/", never, why)
        elif not self.inside(real):
            self.skip(f"{path}/", _LEAVES, why)
        elif path and ignore.hidden_by(self.root, f"{path}/", ".gpuplugignore"):
            self.skip(f"{path}/", ".gpuplugignore", why)
        else:
            return True
        return False

    def _take_folder(self, path: str, real: str, why: Why) -> None:
        if path == "." and not why.named:
            return
        path = "" if path == "." else path
        if self._may_enter(path, real, why):
            why = replace(why, secrets=why.named and private.is_secret_path(f"{path}/x"))
            self._walk(self._start(path, real, why), why)

    def _start(self, path: str, real: str, why: Why) -> _Folder:
        chain = Chain() if why.named else ignore.chain_for(self.root, path).named(path)
        return _Folder(real, path, chain, (real,))

    def _walk(self, start: _Folder, why: Why) -> None:
        waiting = [start]
        while waiting:
            folder = waiting.pop()
            deeper = []
            for entry in self._entries(folder, why):
                inner = self._take_entry(folder, entry, why)
                if inner is not None:
                    deeper.append(inner)
            waiting += reversed(deeper)

    def _expand(self, folder: _Folder, parts: list[str], why: Why) -> None:
        head, rest = parts[0], parts[1:]
        if head == "**" and rest:
            self._expand(folder, rest, why)
        for entry in self._entries(folder, why):
            hidden = entry.name.startswith(".") and not head.startswith(".")
            if hidden or not fnmatchcase(entry.name, "*" if head == "**" else head):
                continue
            is_folder = _leads_to_folder(entry)
            if is_folder and (rest or head == "**"):
                inner = self._deeper(folder, entry, why)
                if inner is not None:
                    self._expand(inner, parts if head == "**" else rest, why)
            elif why.folders if is_folder else not rest:
                inner = self._take_entry(folder, entry, why, notebooks=head.endswith(".ipynb"))
                if inner is not None:
                    self._walk(inner, why)

    def _entries(self, folder: _Folder, why: Why) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder.real) as found:
                entries = []
                for entry in found:
                    self._seen += 1
                    if self._seen > self.limit:
                        raise self._too_many(folder.relative)
                    entries.append(entry)
        except OSError:
            self.skip(f"{folder.relative or '.'}/", _UNREADABLE, why)
            return []
        return sorted(entries, key=lambda entry: entry.name)

    def _too_many(self, folder: str) -> TooLargeError:
        where = folder.partition("/")[0] or "the working folder"
        return TooLargeError(
            f"the folders that the cell names have more than {self.limit:,} entries (at {where})",
            hint="pack them into one file, or choose with --no-files -f GLOB",
        )

    def _take_entry(
        self, folder: _Folder, entry: os.DirEntry[str], why: Why, *, notebooks: bool = False
    ) -> _Folder | None:
        """Take a file, or return a folder to go into."""
        try:
            if _leads_to_folder(entry):
                return self._deeper(folder, entry, why)
            path = posixpath.join(folder.relative, entry.name)
            if entry.name.endswith(".ipynb") and not notebooks:
                self.skip(path, _NOTEBOOK, why)
            elif hidden := folder.chain.hides(path):
                self.skip(path, hidden, why)
            else:
                self._take_file(path, entry, why)
        except OSError:
            self.skip(posixpath.join(folder.relative, entry.name), _UNREADABLE, why)
        return None

    def _take_file(self, path: str, entry: os.DirEntry[str], why: Why) -> None:
        real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        if self.inside(real) or (why.named and not entry.is_symlink()):
            self._add(path, real, entry.stat(), why)
        else:
            self.skip(path, _LEAVES, why)

    def _deeper(self, folder: _Folder, entry: os.DirEntry[str], why: Why) -> _Folder | None:
        path = posixpath.join(folder.relative, entry.name)
        real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        reason = private.never_sent(entry.name, _marks(real)) or folder.chain.hides(f"{path}/")
        if not reason and entry.is_symlink():
            reason = "" if self.inside(real) else _LEAVES
            reason = reason or private.never_sent(posixpath.basename(real))
        if reason:
            if entry.name not in private.SILENT_FOLDERS:
                self.skip(f"{path}/", reason, why)
            return None
        if real in folder.above:
            return None  # a symlink back to a folder above
        chain = folder.chain if why.named else folder.chain.below(self.root, path)
        return _Folder(real, path, chain, (*folder.above, real))

    def _add(self, path: str, real: str, found: os.stat_result, why: Why) -> None:
        self._met += 1
        if path in self.files:
            return
        reason = self._refusal(path, real, found, secrets=why.secrets)
        if reason:
            self.skip(path, reason, why)
            return
        executable = bool(found.st_mode & stat.S_IXUSR)
        source = Path(real)
        self.files[path] = ShipFile(path, source, found.st_size, found.st_mtime_ns, executable, why.reason, why.line)

    def _refusal(self, path: str, real: str, found: os.stat_result, *, secrets: bool) -> str:
        if not stat.S_ISREG(found.st_mode):
            return _SPECIAL
        if not is_utf8(path):
            return "its name is no UTF-8"
        try:
            holds_key = private.holds_private_key(real, found.st_size)
        except OSError:
            return _UNREADABLE
        target = real[len(self.root) + 1 :] if self.inside(real) else posixpath.basename(real)
        secret = holds_key or any(private.is_secret_path(each) for each in {path, target})
        return SECRET if secret and not secrets else ""


def relative_path(text: str) -> str | None:
    """Return `text` as a normal path below the working folder; None when it is absolute or leaves it."""
    if not text or "\0" in text or text.startswith(("/", "~/")):
        return None
    path = posixpath.normpath(text)
    return None if path == ".." or path.startswith("../") else path


def is_utf8(name: str) -> bool:
    """Tell whether `name` can be written in UTF-8; names of other encodings come from the disk with surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a symlink to itself


def _marks(folder: str) -> set[str]:
    return {mark for mark in ("pyvenv.cfg", "conda-meta") if os.path.lexists(f"{folder}/{mark}")}


def _unescaped(part: str) -> str:
    """Undo `glob.escape`."""
    for character in "*?[":
        part = part.replace(f"[{character}]", character)
    return part
