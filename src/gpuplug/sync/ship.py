"""Files to the instance: hash, ask what lacks, send that, have everything proven there."""

from __future__ import annotations

import json
import os
import stat
import zlib
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from gpuplug.agent.safepath import PathError, Stamp, digest_of, parts_of, stamp_of
from gpuplug.errors import AgentError, MissingFileError, UsageError

from .link import (
    HASH_TIMEOUT_S,
    PIECE,
    PIECES_A_REQUEST,
    Meter,
    Progress,
    RefusedError,
    Reply,
    Request,
    Session,
    checked,
    exchange,
    json_list,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gpuplug.types import Clock

    from .remembered import Remembered

_ATTEMPTS = 4
_KEPT_BYTES = 1 << 26
_SAMPLE = 1 << 14
_RETRIED = frozenset(("mismatch", "gap"))


class ShipFile(Protocol):
    """A file to send: `path` is where it goes in the working folder, `source` where it lies here."""

    @property
    def path(self) -> str:
        """Relative POSIX path."""
        ...

    @property
    def source(self) -> Path:
        """The local file; a link is followed."""
        ...

    @property
    def size(self) -> int:
        """Bytes, when it was found."""
        ...

    @property
    def executable(self) -> bool:
        """Whether the owner may execute it."""
        ...


@dataclass(frozen=True, slots=True)
class Shipped:
    """What a shipment did: files that are there now, how many and how many bytes had to be sent, and the time."""

    files: int
    sent_files: int
    sent_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    source: Path
    executable: bool
    stamp: Stamp
    digest: str

    @property
    def size(self) -> int:
        return self.stamp[0]


@dataclass(slots=True)
class _Sent:
    """One request under way: the entries in it, its bytes, and how many files it completes."""

    entries: list[_Entry] = field(default_factory=list)
    pieces: list[tuple[str, int, int, int]] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    size: int = 0
    whole: int = 0

    def add(self, entry: _Entry, offset: int, block: bytes) -> None:
        self.entries.append(entry)
        self.pieces.append((entry.digest, entry.size, offset, len(block)))
        self.blocks.append(block)
        self.size += len(block)
        self.whole += offset + len(block) == entry.size

    def request(self) -> Request:
        payload = b"".join(self.blocks)
        self.blocks.clear()
        if not _shrinks(payload):
            return "put", {"pieces": self.pieces}, payload
        return "put", {"pieces": self.pieces, "deflated": True}, zlib.compress(payload, 1)


def _shrinks(payload: bytes) -> bool:
    """Tell from the middle of `payload` whether deflating it saves more than it costs."""
    middle = max(0, (len(payload) - _SAMPLE) // 2)
    sample = payload[middle : middle + _SAMPLE]
    return 10 * len(zlib.compress(sample, 1)) < 8 * len(sample)


class Shipment:
    """One call of `Sync.ship`.

    Args:
        session: requests to the instance.
        remembered: hashes of local files.
        clock: measures.
        tell: gets the progress.
    """

    def __init__(
        self, session: Session, remembered: Remembered, clock: Clock, tell: Callable[[Progress], None]
    ) -> None:
        self._session = session
        self._remembered = remembered
        self._clock = clock
        self._tell = tell
        self._changing: set[str] = set()
        self._damaged: set[str] = set()
        self._kept: dict[str, bytes] = {}
        self._room = _KEPT_BYTES
        self._sent_bytes = 0
        self._sent_files = 0

    def run(self, files: Sequence[ShipFile]) -> Shipped:
        """See `Sync.ship`."""
        began = self._clock.monotonic()
        unique = list({_safe(file): file for file in files}.values())
        for _ in range(_ATTEMPTS if unique else 0):
            for path in self._changing | self._damaged:
                self._remembered.forget(path)
            entries = [self._entry(file) for file in unique]
            if self._deliver(entries):
                for entry in entries:
                    self._remembered.set_base(entry.path, entry.digest)
                break
        else:
            self._give_up()
        return Shipped(len(unique), self._sent_files, self._sent_bytes, self._clock.monotonic() - began)

    def _deliver(self, entries: list[_Entry]) -> bool:
        expected_there = all(self._remembered.base(entry.path) == entry.digest for entry in entries)
        self._changing.clear()
        self._damaged.clear()
        payload = json.dumps([[each.path, each.size, each.executable, each.digest] for each in entries]).encode()
        if expected_there and self._commit(entries, payload):
            return True
        self._damaged.clear()
        self._send(self._lacking(entries, payload))
        return not (self._changing or self._damaged) and self._commit(entries, payload)

    def _entry(self, file: ShipFile) -> _Entry:
        descriptor, stamp = _open(file)
        try:
            digest = self._remembered.digest(file.path, stamp)
            if digest is None:
                digest = self._digest(file, descriptor, stamp)
        finally:
            os.close(descriptor)
        return _Entry(file.path, file.source, file.executable, stamp, digest)

    def _digest(self, file: ShipFile, descriptor: int, stamp: Stamp) -> str:
        size = stamp[0]
        block = _read(descriptor, size, 0) if size <= min(PIECE, self._room) else None
        digest = digest_of(descriptor) if block is None else sha256(block).hexdigest()
        trusted = stamp_of(os.fstat(descriptor)) == stamp and self._remembered.remember(file.path, stamp, digest)
        if trusted and block is not None and len(block) == size:
            # Most likely it is sent next: what the stamp vouches for is not read again.
            self._kept[file.path] = block
            self._room -= size
        return digest

    def _lacking(self, entries: list[_Entry], payload: bytes) -> list[tuple[_Entry, int]]:
        reply = checked(self._session.request("manifest", {}, payload, HASH_TIMEOUT_S))
        lacking: dict[str, tuple[_Entry, int]] = {}
        for row in json_list(reply):
            index, there = _two_counts(row)
            if index >= len(entries) or there > entries[index].size:
                raise AgentError(f"the agent asks for a file that it was not offered: {ascii(row)[:80]}")
            lacking.setdefault(entries[index].digest, (entries[index], there))
        return list(lacking.values())

    def _send(self, lacking: list[tuple[_Entry, int]]) -> None:
        meter = Meter(self._clock, sum(entry.size - there for entry, there in lacking), self._tell)

        def take(sent: _Sent, reply: Reply) -> None:
            try:
                checked(reply)
            except RefusedError as error:
                if error.code not in _RETRIED:
                    raise
                self._damaged.update(entry.path for entry in sent.entries)
            meter.add(sent.size, sent.whole)

        try:
            exchange(self._session, ((sent.request(), sent) for sent in self._requests(lacking)), take)
        finally:
            self._sent_bytes += meter.done_bytes
            self._sent_files += meter.files

    def _requests(self, lacking: list[tuple[_Entry, int]]) -> Iterator[_Sent]:
        batch = _Sent()
        for entry, there in lacking:
            if there or entry.size > PIECE:
                continue
            block = self._whole(entry)
            if block is None:
                continue
            if batch.size + len(block) > PIECE or len(batch.pieces) == PIECES_A_REQUEST:
                yield batch
                batch = _Sent()
            batch.add(entry, 0, block)
        if batch.pieces:
            yield batch
        for entry, there in lacking:
            if there or entry.size > PIECE:
                yield from self._pieces(entry, there)

    def _whole(self, entry: _Entry) -> bytes | None:
        kept = self._kept.pop(entry.path, None)
        descriptor, stamp = _open(entry)
        try:
            if kept is not None and stamp == entry.stamp:
                return kept
            block = _read(descriptor, entry.size + 1, 0)
        finally:
            os.close(descriptor)
        if sha256(block).hexdigest() == entry.digest:
            return block
        self._changing.add(entry.path)
        return None

    def _pieces(self, entry: _Entry, there: int) -> Iterator[_Sent]:
        descriptor, _ = _open(entry)
        try:
            for offset in range(there, entry.size, PIECE):
                block = _read(descriptor, min(PIECE, entry.size - offset), offset)
                if stamp_of(os.fstat(descriptor)) != entry.stamp:
                    self._changing.add(entry.path)
                    return
                sent = _Sent()
                sent.add(entry, offset, block)
                yield sent
        finally:
            os.close(descriptor)

    def _commit(self, entries: list[_Entry], payload: bytes) -> bool:
        reply = self._session.request("commit", {}, payload, HASH_TIMEOUT_S)
        try:
            checked(reply)
        except RefusedError as error:
            if error.code != "mismatch":
                raise
        else:
            return True
        named = reply.header.get("paths")
        listed = {path for path in named if isinstance(path, str)} if isinstance(named, list) else set()
        ours = {entry.path for entry in entries}
        self._damaged |= (ours & listed) or ours
        return False

    def _give_up(self) -> None:
        if self._changing:
            path = min(self._changing)
            raise UsageError(
                f"{path} changed each of {_ATTEMPTS} times while it was sent; nothing was run",
                hint="end what writes to it, then run the cell again",
            )
        if self._damaged:
            path = min(self._damaged)
            raise AgentError(
                f"{path} arrived damaged {_ATTEMPTS} times; nothing was run",
                hint="the instance's disk may be broken: destroy it and rent another one",
            )


def _safe(file: ShipFile) -> str:
    try:
        parts_of(file.path)
    except PathError as error:
        raise UsageError(str(error)) from error
    return file.path


def _open(file: ShipFile | _Entry) -> tuple[int, Stamp]:
    try:
        # O_NONBLOCK: a named pipe must not hold everything up.
        descriptor = os.open(file.source, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise MissingFileError(f"{file.path} is not there any more", hint=f"looked for {file.source}") from error
    except OSError as error:
        raise UsageError(f"{file.path} cannot be read: {error.strerror}", hint=f"looked at {file.source}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UsageError(f"{file.path} is no regular file and cannot be sent")
    return descriptor, stamp_of(status)


def _read(descriptor: int, size: int, offset: int) -> bytes:
    block = os.pread(descriptor, size, offset)
    while len(block) < size:
        more = os.pread(descriptor, size - len(block), offset + len(block))
        if not more:
            break
        block += more
    return block


def _two_counts(row: Any) -> tuple[int, int]:  # noqa: ANN401 - JSON, looked at here
    if isinstance(row, list) and len(row) == 2 and all(type(value) is int and value >= 0 for value in row):  # noqa: PLR2004 - index and bytes
        return row[0], row[1]
    raise AgentError(f"the agent answered nonsense about what it lacks: {ascii(row)[:80]}")
