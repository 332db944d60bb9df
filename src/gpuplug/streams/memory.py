"""Byte streams inside one process: for tests, and for judging what is built upon streams."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from gpuplug.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.streams import ByteStream

CAPACITY = 1 << 16
_JOIN_S = 5.0


class _Pipe:
    """One direction, bounded like a real pipe, so that a writer can outrun its reader."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bytes = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._broken = ""

    def read(self, limit: int) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes or self._ended or self._broken)
            if self._broken:
                raise LinkError(self._broken)
            taken = bytes(self._bytes[:limit])
            del self._bytes[:limit]
            self._changed.notify_all()
            return taken

    def write(self, data: memoryview) -> None:
        while data:
            data = data[self._write_some(data) :]

    def _write_some(self, data: memoryview) -> int:
        with self._changed:
            self._changed.wait_for(lambda: len(self._bytes) < self._capacity or self._ended or self._broken)
            if self._broken or self._ended:
                raise LinkError(self._broken or "the stream is closed")
            room = self._capacity - len(self._bytes)
            self._bytes += data[:room]
            self._changed.notify_all()
            return min(room, len(data))

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def break_off(self, reason: str) -> None:
        with self._changed:
            self._broken = self._broken or reason
            self._changed.notify_all()


class MemoryStream:
    """One end of `pair()`."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False

    def read(self, limit: int) -> bytes:
        """Block until bytes are there; return 1 to `limit` of them, or b"" at the end.

        Raises:
            LinkError: the link is cut, or this end is closed.
        """
        self._check()
        return self._incoming.read(limit)

    def write(self, data: bytes | memoryview) -> None:
        """Block until the other side has room for all of `data`.

        Raises:
            LinkError: the link is cut, or closed by either side.
        """
        self._check()
        self._outgoing.write(memoryview(data))

    def close_write(self) -> None:
        """Tell the other side that nothing more will come. May be repeated."""
        self._check()
        self._outgoing.end()

    def close(self) -> None:
        """Close both directions; the other side reads what is on the way, then the end. May be repeated."""
        self._closed = True
        self._incoming.break_off("the stream is closed")
        self._outgoing.end()

    def cut(self) -> None:
        """Break the link as a lost network does: both ends raise `LinkError`, what is on the way is lost."""
        self._incoming.break_off("the link is cut")
        self._outgoing.break_off("the link is cut")

    def _check(self) -> None:
        if self._closed:
            msg = "the stream is closed"
            raise LinkError(msg)


def pair(capacity: int = CAPACITY) -> tuple[MemoryStream, MemoryStream]:
    """Return two connected streams; each direction holds `capacity` bytes before its writer blocks."""
    there, back = _Pipe(capacity), _Pipe(capacity)
    return MemoryStream(back, there), MemoryStream(there, back)


class MemoryConnection:
    """A `Connection` to threads of this process.

    Args:
        program: called in a thread of its own with the command and the far end of the stream; the far end is
            closed when it returns. A `LinkError` that it lets through means that the near side went away.
        capacity: bytes that each direction holds.
    """

    def __init__(self, program: Callable[[str, ByteStream], None], capacity: int = CAPACITY) -> None:
        self._program = program
        self._capacity = capacity
        self._lock = threading.Lock()
        self._running: list[tuple[MemoryStream, threading.Thread]] = []
        self._closed = False

    def run(self, command: str) -> ByteStream:
        """Start `program(command, far end)` and return the near end.

        Raises:
            LinkError: the connection is closed or cut.
        """
        near, far = pair(self._capacity)
        thread = threading.Thread(target=self._serve, args=(command, far), daemon=True)
        with self._lock:
            if self._closed:
                msg = "the connection is closed"
                raise LinkError(msg)
            self._running.append((near, thread))
        thread.start()
        return near

    def _serve(self, command: str, far: MemoryStream) -> None:
        with contextlib.suppress(LinkError):
            self._program(command, far)
        far.close()

    def cut(self) -> None:
        """Break every stream as a lost network does; `run` raises from now on."""
        for near, _ in self._stop():
            near.cut()

    def close(self) -> None:
        """Close every stream and wait for the programs. May be repeated."""
        running = self._stop()
        for near, _ in running:
            near.close()
        for _, thread in running:
            thread.join(_JOIN_S)

    def _stop(self) -> list[tuple[MemoryStream, threading.Thread]]:
        with self._lock:
            self._closed = True
            return list(self._running)
