"""A duplex byte stream and nothing more, and the proven way to a machine that opens such streams."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class ByteStream(Protocol):
    """Four verbs. One thread may read while another writes; `close` wakes both.

    Every method raises `gpuplug.errors.LinkError` when the link is down or closed by this side.
    """

    def read(self, limit: int) -> bytes:
        """Block until bytes are there; return 1 to `limit` of them, or b"" at the end of the stream."""
        ...

    def write(self, data: bytes | memoryview) -> None:
        """Block until all of `data` is handed over."""
        ...

    def close_write(self) -> None:
        """Tell the other side that nothing more will come; reading goes on. May be repeated."""
        ...

    def close(self) -> None:
        """Close both directions at once; wakes blocked readers and writers. May be repeated."""
        ...


@runtime_checkable
class Connection(Protocol):
    """A proven way to one machine: each command that is run there is one `ByteStream`."""

    def run(self, command: str) -> ByteStream:
        """Run `command` with the machine's POSIX shell; its stdin and stdout are the stream, stderr is dropped.

        Raises:
            LinkError: the connection is down.
        """
        ...

    def close(self) -> None:
        """Close the connection and every stream on it. May be repeated."""
        ...
