"""The file that is the outgoing stream: frames appended, clients one byte offset each.

The folder holds one file, `<id>-<base>-<seq>`: `base` is the offset of its first byte, counted from the journal's very
beginning, and `seq` the number of the event before it.
"""

import contextlib
import os
from typing import Dict, List, Set, Tuple

from . import wire

KEEP_BYTES = 1 << 26
_BLOCK = 1 << 20
_PARTS = 3


class Journal:
    """The events of one kernel. An earlier journal in `folder` is continued; a torn last frame is cut off.

    Attributes:
        id: random, new with each journal.
        base: offset of the oldest byte that is kept.
        end: offset behind the newest byte.
        done: cells whose `done` event is kept.
        unfinished: cells that were under way when the earlier daemon ended.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._folder = folder
        self.id, self.base, self._seq = self._newest()
        self._path = self._file(self.base, self._seq)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.done: Set[str] = set()
        self.unfinished: List[str] = []
        self.end = self.base + self._recover()

    def _newest(self) -> Tuple[str, int, int]:
        """Return id, base and seq of the file that goes on; one that a broken change left over is removed."""
        found = []
        for name in os.listdir(self._folder):
            parts = name.split("-")
            if len(parts) == _PARTS:
                found.append((int(parts[1]), int(parts[2]), parts[0], name))
            else:
                os.unlink(os.path.join(self._folder, name))
        found.sort()
        for *_, name in found[:-1]:
            os.unlink(os.path.join(self._folder, name))
        return (found[-1][2], found[-1][0], found[-1][1]) if found else (os.urandom(8).hex(), 0, 0)

    def _file(self, base: int, seq: int) -> str:
        return os.path.join(self._folder, f"{self.id}-{base}-{seq}")

    def _recover(self) -> int:
        """Read what an earlier daemon left; return how many bytes of it are whole frames."""
        decoder = wire.Decoder()
        begun: Dict[str, None] = {}
        size = os.fstat(self._fd).st_size
        with contextlib.suppress(wire.WireError):
            for offset in range(0, size, _BLOCK):
                for header, _ in decoder.feed(os.pread(self._fd, _BLOCK, offset)):
                    self._note(header, begun)
        os.ftruncate(self._fd, decoder.consumed)
        self.unfinished = list(begun)
        return decoder.consumed

    def _note(self, header: wire.Header, begun: Dict[str, None]) -> None:
        self._seq = int(header.get("seq", 0))
        cell = str(header.get("cell", ""))
        begun[cell] = None
        if header.get("kind") == "done":
            self.done.add(cell)
            del begun[cell]

    def append(self, header: wire.Header, payload: bytes = b"") -> int:
        """Append one event and return its `seq`; either all of it is kept or nothing.

        Raises:
            OSError: the disk is full.
        """
        frame = wire.pack({"seq": self._seq + 1, **header}, payload)
        try:
            _write(self._fd, frame)
        except OSError:
            os.ftruncate(self._fd, self.end - self.base)
            raise
        self._seq += 1
        self.end += len(frame)
        return self._seq

    def read(self, offset: int, limit: int) -> bytes:
        """Return up to `limit` bytes from `offset` on."""
        return os.pread(self._fd, limit, offset - self.base)

    def forget(self, offset: int) -> None:
        """Forget the events before `offset` if the file is over 64 MiB."""
        if self.end - self.base <= KEEP_BYTES or not self.base < offset <= self.end:
            return
        with contextlib.suppress(wire.WireError, OSError):  # no place where an event begins, or no room: all stays
            self._move_on(offset, self._seq_before(offset))

    def _seq_before(self, offset: int) -> int:
        if offset == self.end:
            return self._seq
        lengths = wire.Decoder()
        for start in range(offset, self.end, _BLOCK):
            for header, _ in lengths.feed(self.read(start, _BLOCK)):
                return int(header["seq"]) - 1
        raise wire.WireError("no event begins at offset " + str(offset))

    def _move_on(self, offset: int, seq: int) -> None:
        part = os.path.join(self._folder, "part")
        fresh = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            for start in range(offset, self.end, _BLOCK):
                _write(fresh, self.read(start, min(_BLOCK, self.end - start)))
        except OSError:
            os.close(fresh)
            os.unlink(part)
            raise
        old, self._path = self._path, self._file(offset, seq)
        os.rename(part, self._path)
        os.unlink(old)
        os.close(self._fd)
        self._fd, self.base = fresh, offset

    def close(self) -> None:
        """Close the file; what it holds stays."""
        os.close(self._fd)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
