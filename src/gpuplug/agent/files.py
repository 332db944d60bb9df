"""The files of one working folder on the instance: what lacks, what arrives, what is there.

Contents travel by their sha256 and wait in a stage; only `commit` touches the working folder, and each path there
holds its old or its new bytes entire. Python 3.8, standard library only.
"""

import contextlib
import errno
import json
import os
import stat
import threading
import time
import zlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .filetable import Table
from .safepath import (
    PART_SUFFIX,
    PIECE,
    Folders,
    Part,
    Parts,
    PathError,
    Stamp,
    digest_of,
    is_digest,
    is_full,
    parts_of,
    stamp_of,
)
from .snapshot import MAX_ENTRIES, Entry, Snapshot, changed, snapshot
from .staging import SECOND_NS, FileError, Stage

__all__ = ["FileError", "FileStore", "changed", "snapshot"]

_LISTED = 10_000

Header = Dict[str, Any]
Answer = Tuple[Header, bytes]


class _Wanted(NamedTuple):
    path: str
    parts: Parts
    size: int
    executable: bool
    digest: str


class FileStore:
    """Answers the file operations of docs/protocol.md section 4. Threads may share it; one operation runs at a time.

    Args:
        work: the working folder; made when it is not there.
        state: a private folder for this working folder alone; made when it is not there.

    Attributes:
        shipped: the files of the last `commit` as it left them.
    """

    def __init__(self, work: str, state: str) -> None:
        os.makedirs(work, mode=0o755, exist_ok=True)
        os.makedirs(state, mode=0o700, exist_ok=True)
        self._work = work
        self._table = Table(os.path.join(state, "files.json"))
        # Contents are moved into place, which works within one file system only.
        together = os.stat(work).st_dev == os.stat(state).st_dev
        self._stage = Stage(os.path.join(state, "partial") if together else os.path.join(work, PART_SUFFIX))
        self._lock = threading.Lock()
        self.shipped: Snapshot = {}
        self._last_listed: Tuple[bytes, List[_Wanted]] = b"", []
        self._operations: Dict[str, Callable[[Header, bytes], Answer]] = {
            "manifest": self._manifest,
            "put": self._put,
            "commit": self._commit,
            "hash": self._hash,
            "get": self._get,
            "list": self._list,
        }

    def handle(self, op: str, header: Header, payload: bytes) -> Answer:
        """Do one operation and return the header and payload of its answer. Blocks on the disk; may be repeated.

        Raises:
            FileError: it is refused or failed.
        """
        operation = self._operations.get(op)
        if operation is None:
            raise FileError("bad_request", "no such file operation: " + ascii(op)[:80])
        try:
            with self._lock:
                return operation(header, payload)
        except PathError as error:
            raise FileError("path", str(error)) from error
        except OSError as error:
            code = "disk_full" if is_full(error) else "os"
            raise FileError(code, f"{op} failed: {error.strerror}: {error.filename}") from error

    def _manifest(self, _header: Header, payload: bytes) -> Answer:
        wanted = self._listed(payload)
        staged = self._stage.keep_only({each.digest for each in wanted})
        lacking: List[Tuple[int, int]] = []
        with Folders(self._work) as folders:
            missing = [(index, each) for index, each in enumerate(wanted) if not self._is_right(folders, each)]
            places = self._table.places() if missing else {}
            asked = set()
            for index, each in missing:
                is_staged = each.digest in staged
                if each.digest in asked or (
                    (is_staged or each.digest in places) and self._is_near(folders, each, places)
                ):
                    continue
                asked.add(each.digest)
                lacking.append((index, self._stage.bytes_there(each.digest, each.size) if is_staged else 0))
        return {}, json.dumps(lacking).encode()

    def _listed(self, payload: bytes) -> List[_Wanted]:
        """Return the rows of a `manifest` or `commit`; the second mostly has the bytes of the first."""
        if payload != self._last_listed[0]:
            self._last_listed = payload, _wanted(payload)
        return self._last_listed[1]

    def _is_right(self, folders: Folders, wanted: _Wanted) -> bool:
        status = folders.status(wanted.parts)
        if status is None or not stat.S_ISREG(status.st_mode) or status.st_size != wanted.size:
            return False
        return self._digest(folders, wanted.path, wanted.parts, status) == wanted.digest

    def _is_near(self, folders: Folders, wanted: _Wanted, places: Dict[str, str]) -> bool:
        """Tell whether the content is whole in the stage or under another path, so that nothing must be sent."""
        if self._stage.is_proven(wanted.digest, wanted.size):
            return True
        place = places.get(wanted.digest)
        return place is not None and self._is_right(folders, wanted._replace(path=place, parts=parts_of(place)))

    def _digest(self, folders: Folders, path: str, parts: Parts, status: os.stat_result) -> Optional[str]:
        known = self._table.digest(path, stamp_of(status))
        if known is not None:
            return known
        descriptor = folders.open_file(parts)
        if descriptor is None:
            return None
        try:
            before = stamp_of(os.fstat(descriptor))
            digest = digest_of(descriptor)
            if stamp_of(os.fstat(descriptor)) == before:
                self._table.remember(path, before, digest)
        finally:
            os.close(descriptor)
        return digest

    def _put(self, header: Header, payload: bytes) -> Answer:
        pieces = _list(header.get("pieces"))
        view = memoryview(_inflated(payload) if header.get("deflated") else payload)
        if len(view) > PIECE:
            raise FileError("bad_request", f"{len(view)} bytes are over the limit of {PIECE} a request")
        start = 0
        for piece in pieces:
            digest, size, offset, length = _fields(piece, 4)
            if not is_digest(digest) or not _counts(size, offset, length) or offset + length > size:
                raise FileError("bad_request", "no piece: " + ascii(piece)[:120])
            self._stage.add(digest, size, offset, _cut(view, start, length))
            start += length
        if start != len(view):
            raise FileError("bad_request", f"the pieces name {start} bytes, {len(view)} came")
        return {}, b""

    def _commit(self, _header: Header, payload: bytes) -> Answer:
        wanted = self._listed(payload)
        with Folders(self._work) as folders:
            missing = [each for each in wanted if not self._is_right(folders, each)]
            places = self._table.places() if missing else {}
            lacking = [each.path for each in missing if not self._obtain(folders, each, places)]
            if lacking:
                message = f"{len(lacking)} of {len(wanted)} files are not here as announced, {lacking[0]} first"
                raise FileError("mismatch", message, paths=lacking[:1000])
            last = {each.digest: each.path for each in missing}
            placed = {each.path: self._place(folders, each, last=last[each.digest] == each.path) for each in missing}
            self.shipped = {each.path: _with_mode(folders, each, placed.get(each.path)) for each in wanted}
        self._table.save()
        return {}, b""

    def _obtain(self, folders: Folders, wanted: _Wanted, places: Dict[str, str]) -> bool:
        """Have the content in the stage; copy it there before any path changes, since paths may swap contents."""
        if self._stage.is_proven(wanted.digest, wanted.size):
            return True
        if not self._is_near(folders, wanted, places):
            return False
        descriptor = folders.open_file(parts_of(places[wanted.digest]))
        if descriptor is None:
            return False
        self._stage.forget(wanted.digest)
        try:
            for offset, block in _blocks(descriptor, wanted.size):
                self._stage.add(wanted.digest, wanted.size, offset, block)
        except FileError as error:
            if error.code != "mismatch":
                raise
        finally:
            os.close(descriptor)
        return self._stage.is_proven(wanted.digest, wanted.size)

    def _place(self, folders: Folders, wanted: _Wanted, *, last: bool) -> Stamp:
        """Give the path its content, in a new file that is not executable."""
        folder = folders.open(wanted.parts[:-1], make=True)
        name = wanted.parts[-1]
        try:
            stamp = self._move(folder, name, wanted) if last else None
            if stamp is None:
                self._copy(folder, name, wanted)
                stamp = stamp_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
        except IsADirectoryError as error:
            raise PathError(f"{wanted.path} is refused: a folder has that name on the instance") from error
        self._table.remember(wanted.path, stamp, wanted.digest)
        return stamp

    def _move(self, folder: int, name: str, wanted: _Wanted) -> Optional[Stamp]:
        try:
            os.rename(self._stage.path(wanted.digest), name, dst_dir_fd=folder)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return None
        return self._stage.moved(wanted.digest)

    def _copy(self, folder: int, name: str, wanted: _Wanted) -> None:
        descriptor = os.open(self._stage.path(wanted.digest), os.O_RDONLY)
        try:
            with Part(folder) as part:
                for _, block in _blocks(descriptor, wanted.size):
                    part.write(block)
                part.finish(name, 0o644, replace=True, durable=False)
        finally:
            os.close(descriptor)
        stamp_ns = time.time_ns() - SECOND_NS
        os.utime(name, ns=(stamp_ns, stamp_ns), dir_fd=folder, follow_symlinks=False)

    def _hash(self, _header: Header, payload: bytes) -> Answer:
        paths = _list(_json(payload))
        with Folders(self._work) as folders:
            digests = [self._digest_at(folders, path) for path in paths]
        self._table.save()
        return {}, json.dumps(digests).encode()

    def _digest_at(self, folders: Folders, path: object) -> Optional[str]:
        text, parts = _path(path)
        with contextlib.suppress(PathError):
            status = folders.status(parts)
            if status is not None and stat.S_ISREG(status.st_mode):
                return self._digest(folders, text, parts, status)
        return None

    def _get(self, header: Header, _payload: bytes) -> Answer:
        blocks: List[bytes] = []
        left = PIECE
        with Folders(self._work) as folders:
            for piece in _list(header.get("pieces")):
                path, offset, length = _fields(piece, 3)
                if not _counts(offset, length) or length > left:
                    raise FileError(
                        "bad_request", f"no piece of at most {PIECE} bytes a request: " + ascii(piece)[:120]
                    )
                left -= length
                blocks.append(_read(folders, _path(path)[1], offset, length))
        return {"lengths": [len(block) for block in blocks]}, b"".join(blocks)

    def _list(self, _header: Header, _payload: bytes) -> Answer:
        rows = [[path, entry[0]] for path, entry in sorted(snapshot(self._work).items())]
        return {}, json.dumps(rows[:_LISTED]).encode()


def _read(folders: Folders, parts: Parts, offset: int, length: int) -> bytes:
    try:
        descriptor = folders.open_file(parts)
    except (FileNotFoundError, PathError):
        return b""
    if descriptor is None:
        return b""
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)


def _inflated(payload: bytes) -> bytes:
    inflating = zlib.decompressobj()
    try:
        # One byte over the limit is enough to refuse it.
        content = inflating.decompress(payload, PIECE + 1)
    except zlib.error as error:
        raise FileError("bad_request", "the payload cannot be inflated") from error
    if not inflating.eof and len(content) <= PIECE:
        raise FileError("bad_request", "the deflated payload is cut")
    return content


def _blocks(descriptor: int, size: int) -> Iterator[Tuple[int, bytes]]:
    """Yield offset and bytes up to `size`; at least once, so that an empty content exists too."""
    offset = 0
    while True:
        block = os.pread(descriptor, min(PIECE, size - offset), offset)
        yield offset, block
        offset += len(block)
        if offset >= size or not block:
            return


def _with_mode(folders: Folders, wanted: _Wanted, placed: Optional[Stamp]) -> Entry:
    """Have the executable bit as wanted; return the entry of a snapshot. `placed`: the stamp when it was just placed."""
    if placed is not None and not wanted.executable:
        return (*placed, False)
    status = folders.status(wanted.parts)
    if status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), wanted.path)
    if bool(status.st_mode & stat.S_IXUSR) != wanted.executable:
        _set_executable(folders, wanted)
    return (*stamp_of(status), wanted.executable)


def _set_executable(folders: Folders, wanted: _Wanted) -> None:
    folder = folders.open(wanted.parts[:-1])
    descriptor = os.open(wanted.parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        os.fchmod(descriptor, 0o755 if wanted.executable else 0o644)
    finally:
        os.close(descriptor)


def _json(payload: bytes) -> object:
    try:
        return json.loads(payload)
    except ValueError as error:
        raise FileError("bad_request", "the payload is no JSON") from error


def _list(value: object) -> List[Any]:
    if not isinstance(value, list) or len(value) > MAX_ENTRIES:
        raise FileError("bad_request", f"no list of at most {MAX_ENTRIES} entries: " + ascii(value)[:80])
    return value


def _fields(value: object, count: int) -> List[Any]:
    if not isinstance(value, list) or len(value) != count:
        raise FileError("bad_request", f"no list of {count} fields: " + ascii(value)[:120])
    return value


def _counts(*values: object) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _cut(view: memoryview, start: int, length: int) -> memoryview:
    if start + length > len(view):
        raise FileError("bad_request", f"the pieces name more than the {len(view)} bytes that came")
    return view[start : start + length]


def _path(value: object) -> Tuple[str, Parts]:
    if not isinstance(value, str):
        raise FileError("bad_request", "no path: " + ascii(value)[:80])
    return value, parts_of(value)


def _wanted(payload: bytes) -> List[_Wanted]:
    wanted = [_one_wanted(row) for row in _list(_json(payload))]
    if len({each.path for each in wanted}) != len(wanted):
        raise FileError("bad_request", "a path is named twice")
    return wanted


def _one_wanted(row: object) -> _Wanted:
    path, size, executable, digest = _fields(row, 4)
    text, parts = _path(path)
    if not _counts(size) or not isinstance(executable, bool) or not is_digest(digest):
        raise FileError("bad_request", "no entry: " + ascii(row)[:120])
    return _Wanted(text, parts, size, executable, digest)
