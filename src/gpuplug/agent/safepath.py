"""Reach and write files under one folder so that no name and no link leads out of it, and nobody sees half a file.

Both ends use it: the agent for what is shipped, the client for what comes home. Python 3.8, standard library only.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from hashlib import sha256
from types import TracebackType
from typing import Dict, Optional, Tuple, Type, Union

PART_SUFFIX = ".gp-part"
PIECE = 1 << 20
MAX_DEPTH = 64
MAX_PATH = 4096

Parts = Tuple[str, ...]
Stamp = Tuple[int, int, int]
"""Size, mtime in nanoseconds, inode: as long as they stay, the content is taken to stay."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_OPEN_FOLDERS = 64
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_NO_HARD_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS))


class PathError(ValueError):
    """A path that is refused; the text says which and why."""


def parts_of(path: str) -> Parts:
    """Split a relative POSIX path into its parts.

    Raises:
        PathError: it is absolute, too long or too deep, is no UTF-8, holds NUL, or a part is empty, `.` or `..`.
    """
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise PathError(ascii(path) + " is refused: it is no UTF-8") from None
    parts = tuple(path.split("/"))
    if not path or length > MAX_PATH or len(parts) > MAX_DEPTH:
        raise PathError(ascii(path[:80]) + " is refused: it is empty, too long or too deep")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise PathError(ascii(path) + " is refused: it must be relative, without '..', '.', empty parts or NUL")
    return parts


def is_digest(text: object) -> bool:
    """Tell whether `text` is a sha256 in lower-case hexadecimal."""
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def is_full(error: OSError) -> bool:
    """Tell whether `error` says that no room is left for more bytes."""
    return error.errno in _FULL


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what changes whenever the content does."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def write_all(descriptor: int, data: Union[bytes, memoryview]) -> None:
    """Write every byte of `data`, however little one call takes.

    Raises:
        OSError: the disk is full or broken.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def digest_of(descriptor: int) -> str:
    """Return the sha256 of an open file from its first byte on, in hexadecimal. Blocks for about 1 s per GiB."""
    digest = sha256()
    offset = 0
    while True:
        block = os.pread(descriptor, PIECE, offset)
        if not block:
            return digest.hexdigest()
        digest.update(block)
        offset += len(block)


class Folders:
    """Descriptors of a folder and what lies below it; every step down is opened by itself and follows no link.

    Use it as a context manager for one operation: the descriptors are kept open until then.

    Raises:
        OSError: `root` is no folder that can be read.
    """

    def __init__(self, root: str) -> None:
        self._fds: Dict[Parts, int] = {(): os.open(root, os.O_RDONLY | os.O_DIRECTORY)}

    def __enter__(self) -> "Folders":  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._fds.values():
            os.close(descriptor)
        self._fds.clear()

    def open(self, parts: Parts, *, make: bool = False) -> int:
        """Return the descriptor of the folder `parts`; it stays ours, and is valid until the next call.

        Raises:
            PathError: a part is a link or a file.
            FileNotFoundError: it is not there and `make` is off.
        """
        if len(self._fds) > _OPEN_FOLDERS:
            self._forget()
        return self._descend(parts, make)

    def _forget(self) -> None:
        root = self._fds.pop(())
        for descriptor in self._fds.values():
            os.close(descriptor)
        self._fds = {(): root}

    def _descend(self, parts: Parts, make: bool) -> int:  # noqa: FBT001 - private and recursive
        known = self._fds.get(parts)
        if known is not None:
            return known
        parent = self._descend(parts[:-1], make)
        try:
            descriptor = _open_folder(parent, parts[-1], make)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise PathError("/".join(parts) + " is refused: it is a link or a file, not a folder") from error
            raise
        self._fds[parts] = descriptor
        return descriptor

    def status(self, parts: Parts) -> Optional[os.stat_result]:
        """Return what lies at `parts` itself, no link followed; None when nothing does.

        Raises:
            PathError: a part on the way is a link or a file.
        """
        try:
            return os.stat(parts[-1], dir_fd=self.open(parts[:-1]), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open_file(self, parts: Parts) -> Optional[int]:
        """Return a descriptor for reading the regular file at `parts`, the caller's to close.

        Returns None when there is no such file, or something else than a regular file.

        Raises:
            PathError: a part on the way is a link or a file.
            OSError: it cannot be read.
        """
        try:
            descriptor = os.open(parts[-1], _FILE_FLAGS, dir_fd=self.open(parts[:-1]))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return None
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None


def _open_folder(parent: int, name: str, make: bool) -> int:  # noqa: FBT001 - private
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
    return os.open(name, _FOLDER_FLAGS, dir_fd=parent)


def _taken(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


class Part:
    """A file in the making, beside its final name and readable by its owner only.

    Use it as a context manager: what was not finished when the block ends, for whatever reason, is removed.

    Args:
        folder: descriptor of the folder; it may be closed once the object is made.

    Raises:
        OSError: no file can be made there.
    """

    def __init__(self, folder: int) -> None:
        self._temporary = f".{secrets.token_hex(6)}{PART_SUFFIX}"
        self._digest = sha256()
        self._open = True
        self.size = 0
        self._folder = os.dup(folder)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._descriptor = os.open(self._temporary, flags, 0o600, dir_fd=self._folder)
        except BaseException:
            os.close(self._folder)
            raise

    def __enter__(self) -> "Part":  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.drop()

    @property
    def sha256(self) -> str:
        """The sha256 of what was written so far, in hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: Union[bytes, memoryview]) -> None:
        """Append `data`.

        Raises:
            OSError: the disk is full or broken; the caller drops the file.
        """
        write_all(self._descriptor, data)
        self._digest.update(data)
        self.size += len(data)

    def finish(self, name: str, mode: int, *, replace: bool, durable: bool) -> None:
        """Give the file its final name in one step: whoever looks sees the old bytes or all of the new ones.

        Args:
            name: the name in the same folder.
            mode: its permission bits.
            replace: whether a file of that name may be replaced.
            durable: whether the bytes must survive a power cut from here on (fsync).

        Raises:
            FileExistsError: the name is taken and `replace` is off; the object can still be finished by another one.
            OSError: the disk is full or broken, or a folder has that name.
        """
        os.fchmod(self._descriptor, mode)
        if durable:
            os.fsync(self._descriptor)
        if replace:
            os.rename(self._temporary, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            self._close()
            return
        self._link(name)
        self.drop()

    def _link(self, name: str) -> None:
        # A hard link fails when the name is taken; a rename would replace what appeared a moment ago.
        try:
            os.link(self._temporary, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        else:
            return
        if _taken(self._folder, name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(self._temporary, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def drop(self) -> None:
        """Remove the unfinished file. May be repeated, and does nothing after `finish`."""
        if not self._open:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary, dir_fd=self._folder)
        self._close()

    def _close(self) -> None:
        self._open = False
        os.close(self._descriptor)
        os.close(self._folder)
