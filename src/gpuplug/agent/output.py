"""What of a cell's output goes into the journal: all of it up to a cap, then a count of what was not kept."""

from typing import Dict, List, Tuple

from . import wire
from .journal import Journal

STREAM_CAP = 20 << 20
DISPLAY_CAP = 512 << 20
IDLE_CAP = 1 << 20
_DISPLAYS = ("display", "result", "clear")


class Output:
    """Writes the events of one cell after the other.

    What arrives between two cells (a thread, a process left behind) is held for the next one, as a terminal would show it.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._cell = ""
        self._held: List[Tuple[str, bytes]] = []
        self._kept: Dict[str, int] = {}
        self._lost: Dict[str, int] = {}
        self._owed: List[Tuple[wire.Header, bytes]] = []

    def begin(self, cell: str, count: int) -> None:
        """Let what follows belong to `cell`."""
        self._cell = cell
        self.owe({"cell": cell, "kind": "started", "count": count})
        held, self._held = self._held, []
        self._kept = {}
        for name, data in held:
            self.stream(name, data)

    def stream(self, name: str, data: bytes) -> None:
        """Keep bytes of stdout or stderr, or count them."""
        if not self._cell:
            self._hold(name, data)
            return
        room = STREAM_CAP - self._kept.get(name, 0)
        if room > 0:
            self._keep(name, {"kind": "stream", "name": name}, data[:room])
        if len(data) > room:
            self._lose(name, len(data) - max(0, room))

    def _hold(self, name: str, data: bytes) -> None:
        room = IDLE_CAP - sum(len(held) for _, held in self._held)
        if room > 0:
            self._held.append((name, data[:room]))
        if len(data) > room:
            self._lose(name, len(data) - max(0, room))

    def event(self, header: wire.Header, payload: bytes) -> int:
        """Keep one event of the cell; return its `seq`, 0 when it was not kept.

        A display between two cells belongs to none and is dropped.
        """
        kind = str(header.get("kind"))
        if not self._cell:
            return 0
        if kind not in _DISPLAYS:
            return self.owe({"cell": self._cell, **header}, payload)
        if len(payload) > DISPLAY_CAP - self._kept.get("display", 0):
            self._lose("display", len(payload))
            return 0
        return self._keep("display", header, payload)

    def _keep(self, name: str, header: wire.Header, payload: bytes) -> int:
        """Write what may be counted instead when the disk is full."""
        if not self.settle():
            self._lose(name, len(payload))
            return 0
        try:
            seq = self._journal.append({"cell": self._cell, **header}, payload)
        except OSError:
            self._lose(name, len(payload))
            return 0
        self._kept[name] = self._kept.get(name, 0) + len(payload)
        return seq

    def _lose(self, name: str, count: int) -> None:
        self._lost[name] = self._lost.get(name, 0) + count

    def owe(self, header: wire.Header, payload: bytes = b"") -> int:
        """Write an event that must not be lost: when the disk is full it waits in memory; 0 is returned then."""
        self._owed.append((header, payload))
        return self.settle()

    def settle(self) -> int:
        """Write what is owed; return 0 as long as the disk is full, else the last `seq` or 1."""
        seq = 1
        while self._owed:
            try:
                seq = self._journal.append(*self._owed[0])
            except OSError:
                return 0
            del self._owed[0]
        return seq

    def end(self, events: List[Tuple[wire.Header, bytes]]) -> None:
        """Say what was not kept, then write the last `events` of the cell."""
        lost, self._lost = self._lost, {}
        for name, count in lost.items():
            self.owe({"cell": self._cell, "kind": "truncated", "name": name, "bytes": count})
        for header, payload in events:
            self.owe({"cell": self._cell, **header}, payload)
        self._cell = ""
