"""Files between the user's folder and the instance: what a cell needs goes there, what it made comes home."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .home import Brought, Home, Homecoming, HomeRules, Left, remote_files
from .landing import RemoteFile
from .link import Progress, Reply, Session
from .remembered import Remembered
from .ship import ShipFile, Shipment, Shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gpuplug.types import Clock

__all__ = [
    "Brought",
    "Home",
    "HomeRules",
    "Left",
    "Progress",
    "RemoteFile",
    "Reply",
    "Session",
    "ShipFile",
    "Shipped",
    "Sync",
    "remote_files",
]


class Sync:
    """Keeps one local folder and one working folder on an instance in step. One call at a time.

    Args:
        session: requests to the agent.
        root: the user's folder.
        state: JSON file for what is remembered; one for each working folder on an instance.
        clock: measures, and tells which files are too young for their time stamps to be trusted.
    """

    def __init__(self, session: Session, root: Path, state: Path, *, clock: Clock) -> None:
        self._session = session
        self._root = root
        self._clock = clock
        self._remembered = Remembered(state, clock)

    def ship(self, files: Sequence[ShipFile], progress: Callable[[Progress], None]) -> Shipped:
        """Have every file on the instance with exactly the content it has here. Blocks; may be repeated.

        What is there already is not sent again, down to 1 MiB within a file. When it returns, each hash was matched
        on the instance.

        Raises:
            MissingFileError: a file has vanished.
            UsageError: a file cannot be read, or changed each of four times while it was sent.
            AgentError: the instance's disk is full, or contents arrived damaged each of four times.
            LinkError: the link is down; calling again goes on where it ended.
        """
        try:
            return Shipment(self._session, self._remembered, self._clock, progress).run(files)
        finally:
            self._remembered.save()

    def bring_home(self, changed: Sequence[RemoteFile], rules: HomeRules, progress: Callable[[Progress], None]) -> Home:
        """Write what the cell made or changed into the user's folder. Blocks; may be repeated and interrupted.

        Each local path holds its old or its new bytes entire. A file that the user changed is kept, and the remote
        one lands beside it as `name.remote`; so does a file that would run here later.

        Raises:
            AgentError: the instance sent other bytes than it announced; nothing was written for that file.
            GpuplugError: the local disk is full; every file is as it was or as it should be.
            LinkError: the link is down; calling again brings what is missing.
        """
        coming = Homecoming(self._session, self._root, self._remembered, rules, clock=self._clock, tell=progress)
        try:
            return coming.run(changed)
        finally:
            self._remembered.save()
