"""Requests and answers on the second stream, so that files never hold up output."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpuplug.agent import wire
from gpuplug.errors import AgentError, GpuplugError, LinkError, UsageError
from gpuplug.session.framing import FrameReader, FrameWriter
from gpuplug.session.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

WINDOW = 16
_JOIN_S = 5.0

Request = tuple[str, dict[str, Any], bytes]


@dataclass(slots=True)
class _Slot:
    id: int
    op: str
    frame: bytes
    reply: Reply | None = None
    failure: GpuplugError | None = None


class Bulk:
    """Opens the stream when first needed, and again when it was lost: every request may be repeated.

    Args:
        open_stream: waits for a link and attaches; raises `LinkError` when that may work later.
        alive: called whenever bytes moved.
        pause_s: seconds between attempts to attach.
    """

    def __init__(self, open_stream: Callable[[], FrameReader], alive: Callable[[], None], pause_s: float) -> None:
        self._open_stream = open_stream
        self._alive = alive
        self._pause_s = pause_s
        self._changed = threading.Condition()
        self._waiting: dict[int, _Slot] = {}
        self._writer: FrameWriter | None = None
        self._thread: threading.Thread | None = None
        self._last_id = 0
        self._failure: GpuplugError | None = None

    def request(self, op: str, header: Mapping[str, Any], payload: bytes, timeout: float) -> Reply:
        """Send one request and wait at most `timeout` seconds for its answer, over lost links too.

        Raises:
            LinkError: no answer in time, or the session is over.
            AgentError: the agent refused the stream.
        """
        slot = self._start(op, header, payload)
        try:
            return self._finish(slot, timeout)
        finally:
            self._forget([slot])

    def pipeline(self, requests: Iterable[Request], timeout: float) -> Generator[Reply, None, None]:
        """Send up to `WINDOW` requests ahead and yield the answers in order; each may take `timeout` seconds.

        Raises:
            LinkError: no answer in time, or the session is over.
            AgentError: the agent refused the stream.
        """
        window: deque[_Slot] = deque()
        try:
            for op, header, payload in requests:
                if len(window) == WINDOW:
                    yield self._finish(window.popleft(), timeout)
                window.append(self._start(op, header, payload))
            while window:
                yield self._finish(window.popleft(), timeout)
        finally:
            self._forget(window)

    def _start(self, op: str, header: Mapping[str, Any], payload: bytes) -> _Slot:
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._last_id += 1
            slot = _Slot(self._last_id, op, _packed(op, self._last_id, header, payload))
            self._waiting[slot.id] = slot
            if self._writer is not None:
                self._writer.put(slot.frame)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gpuplug-bulk", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return slot

    def _finish(self, slot: _Slot, timeout: float) -> Reply:
        with self._changed:
            self._changed.wait_for(lambda: slot.reply or slot.failure or self._failure, timeout)
            self._waiting.pop(slot.id, None)
            if slot.reply is not None:
                return slot.reply
            late = LinkError(f"no answer to {slot.op!r} within {timeout:.0f} s")
            raise slot.failure or self._failure or late

    def _forget(self, slots: Iterable[_Slot]) -> None:
        with self._changed:
            for slot in slots:
                self._waiting.pop(slot.id, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._failure)
                if self._failure is not None:
                    return
            try:
                self._serve(self._open_stream())
            except LinkError:
                with self._changed:
                    self._changed.wait_for(lambda: self._failure, self._pause_s)
            except GpuplugError as error:
                self._refuse(error)

    def _refuse(self, error: GpuplugError) -> None:
        with self._changed:
            for slot in self._waiting.values():
                slot.failure = error
            self._waiting.clear()
            self._changed.notify_all()

    def _serve(self, reader: FrameReader) -> None:
        writer = FrameWriter(reader.stream, self._alive)
        with self._changed:
            self._writer = writer
            for slot in self._waiting.values():
                writer.put(slot.frame)
        try:
            for (header, payload), _ in reader.frames():
                self._take(header, payload)
        finally:
            with self._changed:
                self._writer = None
            reader.stream.close()
            writer.stop()

    def _take(self, header: wire.Header, payload: bytes) -> None:
        number = header.get("id")
        with self._changed:
            # Numbers of requests that nobody waits for any more are fine, those never given are not.
            if not isinstance(number, int) or not 0 < number <= self._last_id:
                msg = "the agent answered a request that was never made"
                raise AgentError(msg)
            slot = self._waiting.pop(number, None)
            if slot is not None:
                slot.reply = Reply(header, payload)
                self._changed.notify_all()

    def fail(self, error: GpuplugError) -> None:
        """Let every request raise `error` from now on. The first failure counts."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the thread; call `fail` and close the connection first."""
        with self._changed:
            thread = self._thread
        if thread is not None:
            thread.join(_JOIN_S)


def _packed(op: str, number: int, header: Mapping[str, Any], payload: bytes) -> bytes:
    try:
        return wire.pack({**header, "op": op, "id": number}, payload)
    except wire.WireError as error:
        msg = f"a request {op!r} of {len(payload)} bytes is too large"
        raise UsageError(msg) from error
