"""What is known of files that were hashed once, so that a warm check asks the file system and hashes nothing.

Python 3.8, standard library only.
"""

import contextlib
import json
import os
import time
from typing import Any, Dict, Optional, Tuple

from .safepath import Stamp, is_digest

_TICK_NS = 100_000_000
_FIELDS = 4


class Table:
    """Path -> stamp and sha256, kept in memory and in a JSON file of mode 0600.

    A damaged file is taken as empty: everything is then hashed once more.

    Args:
        path: the JSON file; its folder exists.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._rows: Dict[str, Tuple[Stamp, str]] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            self._load(json.load(file))

    def _load(self, rows: Any) -> None:  # noqa: ANN401 - JSON, looked at here
        if not isinstance(rows, dict):
            return
        for path, row in rows.items():
            if isinstance(row, list) and len(row) == _FIELDS and is_digest(row[3]):
                self._rows[path] = ((row[0], row[1], row[2]), row[3])

    def digest(self, path: str, stamp: Stamp) -> Optional[str]:
        """Return the sha256 that the file had with exactly this stamp, or None when that is not known."""
        row = self._rows.get(path)
        return row[1] if row is not None and row[0] == stamp else None

    def remember(self, path: str, stamp: Stamp, digest: str) -> None:
        """Keep `digest` for this stamp, unless the file is so young that a write could leave the stamp as it is."""
        if time.time_ns() - stamp[1] < _TICK_NS:
            return
        self._rows[path] = (stamp, digest)
        self._changed = True

    def places(self) -> Dict[str, str]:
        """Return for every known sha256 one path that had it."""
        return {digest: path for path, (_, digest) in self._rows.items()}

    def save(self) -> None:
        """Write the file anew when something changed.

        Raises:
            OSError: the disk is full or broken; the old file is as it was.
        """
        if not self._changed:
            return
        temporary = self._path + ".new"
        text = json.dumps({path: [*stamp, digest] for path, (stamp, digest) in self._rows.items()})
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, self._path)
        self._changed = False
