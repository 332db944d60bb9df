"""Contents on their way to the instance: one file per sha256, appended to until it is whole and proven.

Python 3.8, standard library only.
"""

import contextlib
import os
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Collection, Dict, Set, Tuple, Union

from .safepath import Stamp, digest_of, is_full, stamp_of, write_all

if TYPE_CHECKING:
    from hashlib import _Hash

SECOND_NS = 1_000_000_000


class FileError(Exception):
    """A request that is refused.

    Args:
        code: one word for programs: `bad_request`, `path`, `mismatch`, `gap`, `disk_full`, `os`.
        message: what happened, for people.
        extra: more header fields of the answer.
    """

    def __init__(self, code: str, message: str, **extra: Any) -> None:  # noqa: ANN401 - any JSON
        super().__init__(message)
        self.code = code
        self.message = message
        self.extra = extra


class Stage:
    """A folder of partial and of proven contents, each under its sha256 as its name.

    Proven is what was hashed as it arrived and has not been touched since. Partial contents survive the process.

    Args:
        folder: where they lie; made when it is not there.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._folder = folder
        self._proven: Dict[str, Stamp] = {}
        self._running: Dict[str, Tuple[int, "_Hash"]] = {}

    def path(self, digest: str) -> str:
        """Return where the content lies, or would lie."""
        return f"{self._folder}/{digest}"

    def bytes_there(self, digest: str, size: int) -> int:
        """Return how many bytes need not be sent again: `size` only when the content is whole and proven."""
        there = self._length(digest)
        if there < size:
            return there
        return size if self.is_proven(digest, size) else 0

    def _length(self, digest: str) -> int:
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return 0

    def is_proven(self, digest: str, size: int) -> bool:
        """Tell whether the content is whole; hashes it when it lies there from an earlier process, or was touched."""
        try:
            stamp = stamp_of(os.stat(self.path(digest)))
        except FileNotFoundError:
            return False
        if stamp[0] < size:
            return False
        if self._proven.get(digest) == stamp:
            return True
        descriptor = os.open(self.path(digest), os.O_RDONLY)
        try:
            right = stamp[0] == size and digest_of(descriptor) == digest
        finally:
            os.close(descriptor)
        if right:
            self._proven[digest] = stamp
        else:
            self.forget(digest)
        return right

    def add(self, digest: str, size: int, offset: int, data: Union[bytes, memoryview]) -> None:
        """Append `data`, which begins at `offset` of the content. What is there already is skipped.

        Raises:
            FileError: `gap`: bytes before `offset` are missing; `mismatch`: the whole has another sha256, and nothing
                of it is kept; `disk_full`: nothing of it is kept.
        """
        if self._proven.get(digest) is not None and self.is_proven(digest, size):
            return
        try:
            if offset == 0 and len(data) == size and self._add_whole(digest, data):
                return
            there = self._length(digest)
            if there < offset:
                raise FileError("gap", f"piece of {digest[:12]} begins at {offset}, only {there} bytes are there")
            self._append(digest, size, there, memoryview(data)[there - offset :])
        except OSError as error:
            self.forget(digest)
            if is_full(error):
                raise FileError("disk_full", f"no room for {size} bytes on the instance's disk") from error
            raise

    def _add_whole(self, digest: str, data: Union[bytes, memoryview]) -> bool:
        """Take a content that came at once; False when some of it is there already."""
        try:
            descriptor = os.open(self.path(digest), os.O_WRONLY | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        try:
            write_all(descriptor, data)
            self._prove(digest, descriptor, sha256(data).hexdigest())
        finally:
            os.close(descriptor)
        return True

    def _append(self, digest: str, size: int, there: int, data: memoryview) -> None:
        running = self._digest_until(digest, there)
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CREAT | (os.O_EXCL if there == 0 else 0)
        if there == 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(digest))
        descriptor = os.open(self.path(digest), flags, 0o644)
        try:
            write_all(descriptor, data)
            running.update(data)
            self._running[digest] = (there + len(data), running)
            if there + len(data) == size:
                self._prove(digest, descriptor, running.hexdigest())
        finally:
            os.close(descriptor)

    def _digest_until(self, digest: str, there: int) -> "_Hash":
        until, running = self._running.get(digest, (0, None))
        if running is not None and until == there:
            return running
        running = sha256()
        if there:
            with open(self.path(digest), "rb") as partial:
                for block in iter(lambda: partial.read(1 << 20), b""):
                    running.update(block)
        return running

    def _prove(self, digest: str, descriptor: int, found: str) -> None:
        self._running.pop(digest, None)
        if found != digest:
            self.forget(digest)
            raise FileError("mismatch", f"content {digest[:12]} arrived with the sha256 {found[:12]}")
        # One second back: a write in this very tick of the file system's clock still changes the stamp.
        stamp_ns = time.time_ns() - SECOND_NS
        os.utime(descriptor, ns=(stamp_ns, stamp_ns))
        os.fchmod(descriptor, 0o644)
        self._proven[digest] = stamp_of(os.fstat(descriptor))

    def forget(self, digest: str) -> None:
        """Remove what there is of the content. May be repeated."""
        self._proven.pop(digest, None)
        self._running.pop(digest, None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    def moved(self, digest: str) -> Stamp:
        """Take note that the caller has moved the proven content away; return its stamp, which it keeps."""
        return self._proven.pop(digest)

    def keep_only(self, digests: Collection[str]) -> Set[str]:
        """Remove every content that nobody asks for any more, so that no dead upload fills the disk; return the rest."""
        names = set(os.listdir(self._folder))
        for name in names.difference(digests):
            self.forget(name)
        return names.intersection(digests)
