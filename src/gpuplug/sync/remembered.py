"""What is remembered of local files: their hashes, and the content that both sides last had in common."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpuplug.agent.safepath import Folders, Part, Stamp, is_digest

if TYPE_CHECKING:
    from pathlib import Path

    from gpuplug.types import Clock

_YOUNG_NS = 2_000_000_000
_FIELDS = 4


class Remembered:
    """Hashes by path and stamp, and the base of each path: its content as last shipped or brought home.

    A file that is damaged, is a link or belongs to someone else counts as empty: more is hashed, and more is kept
    beside instead of replaced.

    Args:
        path: the JSON file, mode 0600; its folder is made with mode 0700.
        clock: tells which files are too young for their stamp to be trusted.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._hashes: dict[str, tuple[Stamp, str]] = {}
        self._bases: dict[str, str] = {}
        self._changed = False
        with suppress(OSError, ValueError):
            self._load(json.loads(_own_text(path)))

    def _load(self, document: Any) -> None:  # noqa: ANN401 - JSON, looked at here
        if not isinstance(document, dict):
            return
        hashes, bases = document.get("hashes"), document.get("bases")
        if isinstance(hashes, dict):
            self._hashes = {
                path: ((row[0], row[1], row[2]), row[3])
                for path, row in hashes.items()
                if isinstance(row, list) and len(row) == _FIELDS and is_digest(row[3])
            }
        if isinstance(bases, dict):
            self._bases = {path: digest for path, digest in bases.items() if is_digest(digest)}

    def digest(self, path: str, stamp: Stamp) -> str | None:
        """Return the sha256 that the file had with exactly this stamp, or None when that is not known."""
        row = self._hashes.get(path)
        return row[1] if row is not None and row[0] == stamp else None

    def remember(self, path: str, stamp: Stamp, digest: str) -> bool:
        """Keep `digest` for this stamp, unless the file is so young that a write could leave the stamp as it is.

        Returns whether it is kept.
        """
        if int(self._clock.now().timestamp() * 1e9) - stamp[1] < _YOUNG_NS:
            return False
        self._hashes[path] = (stamp, digest)
        self._changed = True
        return True

    def forget(self, path: str) -> None:
        """Have the file hashed anew the next time."""
        self._changed |= self._hashes.pop(path, None) is not None

    def base(self, path: str) -> str | None:
        """Return the content that both sides last had in common, or None when they never had."""
        return self._bases.get(path)

    def set_base(self, path: str, digest: str) -> None:
        """Take note that both sides have this content now."""
        if self._bases.get(path) != digest:
            self._bases[path] = digest
            self._changed = True

    def save(self) -> None:
        """Write the file anew, in one step, when something changed.

        Raises:
            OSError: the disk is full or broken; the old file is as it was.
        """
        if not self._changed:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        hashes = {path: [*stamp, digest] for path, (stamp, digest) in self._hashes.items()}
        text = json.dumps({"hashes": hashes, "bases": self._bases}).encode()
        with Folders(str(self._path.parent)) as folders, Part(folders.open(())) as part:
            part.write(text)
            part.finish(self._path.name, 0o600, replace=True, durable=True)
        self._changed = False


def _own_text(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
            return b""
        return file.read()
