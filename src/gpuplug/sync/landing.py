"""Where a file from the instance lands in the user's folder: its own name, a name beside, or nowhere."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from gpuplug.agent.safepath import Folders, Parts, PathError, Stamp, digest_of, parts_of, stamp_of

from .names import fold, is_in, would_run

if TYPE_CHECKING:
    from pathlib import Path

    from .remembered import Remembered

_MAX_NUMBERED = 100


class NoPlaceError(Exception):
    """Nothing may be written for this file; the text says why."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that a cell made or changed, as the instance says; nothing of it is taken on trust."""

    path: str
    size: int
    mtime_ns: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Landing:
    """Where to write: `replaces` is the stamp of the file that goes, None when the name must still be free."""

    path: str
    replaces: Stamp | None
    note: str


@dataclass(frozen=True, slots=True)
class _Here:
    """What lies at a path: nothing (`stamp` None), a file with its hash, or what cannot be compared (no hash)."""

    stamp: Stamp | None
    digest: str | None


class Landings:
    """Decides for each file, and never twice for one local name.

    Args:
        root: the user's folder.
        remembered: hashes and bases.
        out: folders in which files of any kind keep their names.
    """

    def __init__(self, root: Path, remembered: Remembered, out: tuple[str, ...]) -> None:
        self._root = root
        self._remembered = remembered
        self._out = out
        self._used: dict[str, str] = {}

    def decide(self, remote: RemoteFile, digest: str) -> Landing | None:
        """Return where content `digest` goes, or None when it is there already. Reads the local file; may be repeated.

        Raises:
            NoPlaceError: links on the way, or no free name.
            OSError: the folder cannot be read.
        """
        here = self._look(remote.path)
        if here.digest == digest:
            self._remembered.set_base(remote.path, digest)
            return None
        if would_run(remote.path, executable=remote.executable) and not is_in(remote.path, self._out):
            return self._beside(remote.path, digest, "it would run on this computer: look at it before you rename it")
        if self._is_used(remote.path, remote.path):
            return self._beside(remote.path, digest, "another file of this run has that name already")
        base = self._remembered.base(remote.path)
        if here.stamp is None or (here.digest is not None and here.digest == base):
            return self._take(remote.path, remote.path, here.stamp, "")
        if base is None:
            return self._beside(remote.path, digest, "your own file of that name was never shipped and is kept")
        return self._beside(remote.path, digest, "yours was changed since it was shipped and is kept")

    def _is_used(self, target: str, path: str) -> bool:
        return self._used.get(fold(target), path) != path

    def _take(self, target: str, path: str, replaces: Stamp | None, note: str) -> Landing:
        self._used[fold(target)] = path
        return Landing(target, replaces, note)

    def _beside(self, path: str, digest: str, note: str) -> Landing | None:
        for number in count(1):
            target = f"{path}.remote" if number == 1 else f"{path}.remote.{number}"
            if number > _MAX_NUMBERED:
                break
            if self._is_used(target, path):
                continue
            here = self._look(target)
            if here.digest == digest:
                return None
            ours = here.digest is not None and here.digest == self._remembered.base(target)
            if here.stamp is None or ours:
                return self._take(target, path, here.stamp, note)
        raise NoPlaceError(f"{_MAX_NUMBERED} files with '.remote' lie beside it already")

    def is_unchanged(self, landing: Landing) -> bool:
        """Tell whether the local name is still as it was when the landing was decided."""
        return self._look(landing.path).stamp == landing.replaces

    def _look(self, path: str) -> _Here:
        try:
            with Folders(str(self._root)) as folders:
                return self._look_in(folders, path)
        except PathError as error:
            raise NoPlaceError(str(error)) from error

    def _look_in(self, folders: Folders, path: str) -> _Here:
        parts = parts_of(path)
        status = folders.status(parts)
        if status is None:
            return _Here(None, None)
        stamp = stamp_of(status)
        if not stat.S_ISREG(status.st_mode):
            return _Here(stamp, None)
        known = self._remembered.digest(path, stamp)
        if known is not None:
            return _Here(stamp, known)
        try:
            digest = _hashed(folders, parts, stamp)
        except PermissionError:
            digest = None
        if digest is not None:
            self._remembered.remember(path, stamp, digest)
        return _Here(stamp, digest)


def _hashed(folders: Folders, parts: Parts, stamp: Stamp) -> str | None:
    """Return the sha256 of the file, or None when it is another one than `stamp` says."""
    descriptor = folders.open_file(parts)
    if descriptor is None:
        return None
    try:
        digest = digest_of(descriptor)
        return digest if stamp_of(os.fstat(descriptor)) == stamp else None
    finally:
        os.close(descriptor)
