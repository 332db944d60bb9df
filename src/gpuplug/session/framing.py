"""Frames over a byte stream: a reader, and a thread that writes."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from gpuplug.agent.wire import Decoder, WireError
from gpuplug.errors import AgentError, LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.agent.wire import Frame
    from gpuplug.streams import ByteStream

_READ = 1 << 16
_PIECE = 1 << 16
_JOIN_S = 5.0


class FrameReader:
    """Reads frames from `stream`; `alive` is called whenever bytes arrive."""

    def __init__(self, stream: ByteStream, alive: Callable[[], None]) -> None:
        self.stream = stream
        self._alive = alive
        self._decoder = Decoder()
        self._waiting = b""

    def more(self) -> bytes:
        """Block for bytes that belong to no frame yet.

        Raises:
            LinkError: the stream is over, or down.
        """
        data = self._waiting or self.stream.read(_READ)
        self._waiting = b""
        if not data:
            msg = "the agent's stream ended"
            raise LinkError(msg)
        self._alive()
        return data

    def push_back(self, data: bytes) -> None:
        """Let `data` be what is read next."""
        self._waiting = data

    def frames(self) -> Iterator[tuple[Frame, int]]:
        """Yield frames and their sizes in bytes, for ever. May be left and called again.

        Raises:
            LinkError: the stream is over, or down.
            AgentError: the bytes are no frames.
        """
        data = b""
        while True:
            before = self._decoder.consumed
            try:
                for frame in self._decoder.feed(data):
                    size = self._decoder.consumed - before
                    before = self._decoder.consumed
                    yield frame, size
            except WireError as error:
                msg = f"the agent sent nonsense: {error}"
                raise AgentError(msg) from error
            data = self.more()


class FrameWriter:
    """A thread that writes frames in order, so that no other thread ever blocks, or stops half-way, in a write."""

    def __init__(self, stream: ByteStream, alive: Callable[[], None]) -> None:
        self._stream = stream
        self._alive = alive
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._unwritten = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="gpuplug-writer", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether everything that was put is written."""
        with self._lock:
            return self._unwritten == 0

    def put(self, frame: bytes) -> None:
        """Write `frame` after all that was put before; lost when the link goes down first."""
        with self._lock:
            self._unwritten += 1
        self._queue.put(frame)

    def stop(self) -> None:
        """End the thread. The stream must be closed already when a write may be blocked."""
        self._queue.put(None)
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while (frame := self._queue.get()) is not None:
            try:
                self._write(frame)
            except LinkError:
                return  # the reader of the same stream notices too, and acts
            with self._lock:
                self._unwritten -= 1

    def _write(self, frame: bytes) -> None:
        view = memoryview(frame)
        for start in range(0, len(view), _PIECE):
            self._stream.write(view[start : start + _PIECE])
            self._alive()
