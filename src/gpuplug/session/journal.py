"""Frames of the control stream -> events in order, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.errors import AgentError
from gpuplug.session.messages import Event

if TYPE_CHECKING:
    from gpuplug.agent.wire import Header


class JournalReader:
    """Counts bytes and sequence numbers of one journal over all links.

    Args:
        offset: where reading begins; 0 is the beginning of the journal.
        journal: the name it must have; "" accepts any the first time.
    """

    def __init__(self, offset: int = 0, journal: str = "") -> None:
        self.offset = offset
        self.journal = journal
        self._next_seq = 1 if offset == 0 else None
        self._last_seq = 0

    def resume(self, journal: str, offset: int) -> int:
        """Accept where the agent goes on, and return how many bytes it no longer has.

        Raises:
            AgentError: it is another journal (the instance lost its state), or an offset that was not asked for.
        """
        if self.journal and journal != self.journal:
            msg = "the agent has lost its journal: what became of the cells is not known"
            raise AgentError(msg)
        if offset < self.offset:
            msg = f"the agent goes on at byte {offset} of the journal, before {self.offset}"
            raise AgentError(msg)
        lost = offset - self.offset
        if lost:
            self._next_seq = None
        self.journal, self.offset = journal, offset
        return lost

    def event(self, header: Header, payload: bytes, size: int) -> Event:
        """Return the event of a frame of `size` bytes.

        Raises:
            AgentError: it is none, or not the next one.
        """
        seq, cell, kind = header.get("seq"), header.get("cell"), header.get("kind")
        if not isinstance(seq, int) or not isinstance(cell, str) or not isinstance(kind, str):
            msg = "the agent sent an event without number, cell or kind"
            raise AgentError(msg)
        if seq <= self._last_seq or self._next_seq not in {None, seq}:
            msg = f"the agent sent event {seq} after {self._last_seq}"
            raise AgentError(msg)
        self._last_seq, self._next_seq = seq, seq + 1
        self.offset += size
        return Event(cell, kind, header, payload)


def gap(cell: str, lost: int) -> Event:
    """Return the event that tells of `lost` bytes that the agent no longer has."""
    header = {"cell": cell, "kind": "truncated", "name": "journal", "bytes": lost}
    return Event(cell, "truncated", header, b"")
