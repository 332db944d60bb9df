"""What the client has asked of the control stream and must ask again when the link was lost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuplug.session.framing import FrameWriter
    from gpuplug.session.messages import Event

_Asked = dict[str, tuple[bytes, float]]


class Pending:
    """Cells until they are done (the agent knows their ids), interrupts and answers until they surely arrived."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writer: FrameWriter | None = None
        self._cells: dict[str, bytes] = {}
        self._interrupts: _Asked = {}
        self._answers: _Asked = {}
        self._questions: dict[str, int] = {}

    def submit(self, cell: str, frame: bytes) -> None:
        """Run `cell`, and ask again on each new link until its `done` event came."""
        with self._lock:
            self._cells[cell] = frame
            self._write(frame)

    def interrupt(self, cell: str, frame: bytes, now: float) -> None:
        """Interrupt `cell`, and again on a new link if this one was lost with it."""
        with self._lock:
            self._interrupts[cell] = frame, now
            self._write(frame)

    def answer(self, cell: str, frame: bytes, now: float) -> None:
        """Answer the question of `cell`, and again on a new link if this one was lost with it."""
        with self._lock:
            self._answers[cell] = frame, now
            self._write(frame)

    def once(self, frame: bytes) -> None:
        """Send `frame` when there is a link; never again."""
        with self._lock:
            self._write(frame)

    def _write(self, frame: bytes) -> None:
        if self._writer is not None:
            self._writer.put(frame)

    def question(self, cell: str) -> int:
        """Return the `seq` of the last question of `cell`, 0 when it asked none."""
        with self._lock:
            return self._questions.get(cell, 0)

    @property
    def oldest(self) -> str:
        """The first cell that is not done; "" when all are."""
        with self._lock:
            return next(iter(self._cells), "")

    def link_up(self, writer: FrameWriter) -> None:
        """Ask everything again over `writer`, and ask the rest over it from now on."""
        with self._lock:
            self._writer = writer
            for frame in self._cells.values():
                writer.put(frame)
            for frame, _ in (*self._interrupts.values(), *self._answers.values()):
                writer.put(frame)

    def link_down(self) -> None:
        """Keep what is asked from now on until the next link."""
        with self._lock:
            self._writer = None

    def seen(self, event: Event) -> None:
        """Forget what `event` shows to be settled."""
        with self._lock:
            if event.kind == "done":
                self._cells.pop(event.cell, None)
                self._interrupts.pop(event.cell, None)
                self._questions.pop(event.cell, None)
            if event.kind in {"done", "input_request"}:
                self._answers.pop(event.cell, None)
            if event.kind == "input_request":
                self._questions[event.cell] = int(event.header["seq"])

    def arrived(self, before: float) -> None:
        """The other side answered a question that was asked at `before`: what was written earlier has arrived."""
        with self._lock:
            if self._writer is None or not self._writer.idle:
                return
            for asked in (self._interrupts, self._answers):
                for cell in [cell for cell, (_, at) in asked.items() if at < before]:
                    del asked[cell]
