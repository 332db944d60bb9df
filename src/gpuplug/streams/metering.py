"""Counts the bytes of all streams of all connections to one machine: what a host that bills bytes will bill of them."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.streams import ByteStream, Connection


class ByteMeter:
    """Bytes sent to a machine and fetched from it; what SSH adds to them is not seen. Used by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noting = threading.Lock()
        self._sent = self._fetched = 0
        self._noted = (0, 0)

    @property
    def passed(self) -> tuple[int, int]:
        """How many bytes were sent and fetched so far."""
        with self._lock:
            return self._sent, self._fetched

    def count(self, *, sent: int = 0, fetched: int = 0) -> None:
        """Add bytes."""
        with self._lock:
            self._sent += sent
            self._fetched += fetched

    @contextlib.contextmanager
    def noting(self) -> Iterator[tuple[int, int]]:
        """Hand out what was sent and fetched and is not noted yet; it is noted when the block does not raise."""
        with self._noting:
            passed = self.passed
            yield passed[0] - self._noted[0], passed[1] - self._noted[1]
            self._noted = passed


class MeteredConnection:
    """A `Connection` whose streams are counted by `meter`."""

    def __init__(self, connection: Connection, meter: ByteMeter) -> None:
        self._connection = connection
        self._meter = meter

    def run(self, command: str) -> ByteStream:
        """Run `command` as the connection does."""
        return MeteredStream(self._connection.run(command), self._meter)

    def close(self) -> None:
        """Close the connection. May be repeated."""
        self._connection.close()


class MeteredStream:
    """A `ByteStream` that is counted; what fails is not."""

    def __init__(self, stream: ByteStream, meter: ByteMeter) -> None:
        self._stream = stream
        self._meter = meter
        self.close_write = stream.close_write
        self.close = stream.close

    def read(self, limit: int) -> bytes:
        """Read as the stream does."""
        data = self._stream.read(limit)
        self._meter.count(fetched=len(data))
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Write as the stream does."""
        self._stream.write(data)
        self._meter.count(sent=len(data))
