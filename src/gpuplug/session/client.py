"""What the rest of gpuplug calls: submit a cell, take its events, ask for files."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from gpuplug.agent import wire
from gpuplug.errors import AgentError, GpuplugError, LinkError, UsageError
from gpuplug.session.bulk import Bulk
from gpuplug.session.events import EventQueue
from gpuplug.session.framing import FrameWriter
from gpuplug.session.journal import JournalReader, gap
from gpuplug.session.link import Link, closed
from gpuplug.session.messages import Timing
from gpuplug.session.pending import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from gpuplug.session.framing import FrameReader
    from gpuplug.session.messages import CellRequest, Event, Reply, Welcome
    from gpuplug.streams import Connection
    from gpuplug.types import Clock

_JOIN_S = 5.0


class Session:
    """One kernel of one agent. Open it once; a lost link is made anew behind the scenes, nothing is lost or doubled.

    Every method may be called from any thread; none but `open`, `next_event`, `request` and `pipeline` blocks.

    Args:
        connect: makes a proven connection; called again after each loss, from another thread.
        kernel: id of the kernel, `[A-Za-z0-9_.-]{1,80}`.
        clock: measures patience.
        on_link: told in words when the link is lost and when it is back; called from another thread.
        timing: patience.
        jitter: returns a number from 0 to 1 that spreads the pauses between attempts.

    Attributes:
        on_beat: set it to be handed the header of each answer to a heartbeat; called from another thread, raises nothing.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        kernel: str,
        *,
        clock: Clock,
        on_link: Callable[[str], None],
        timing: Timing | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._timing = timing or Timing()
        self._clock = clock
        self._on_link = on_link
        self.on_beat: Callable[[Mapping[str, Any]], None] = lambda _: None
        self._link = Link(connect, kernel, timing=self._timing, clock=clock, jitter=jitter)
        self._events = EventQueue()
        self._pending = Pending()
        self._bulk = Bulk(self._link.open_bulk, self._link.sign, self._timing.pause_s)
        self._journal = JournalReader()
        self._threads: list[threading.Thread] = []
        self._welcome: Future[Welcome] = Future()
        self._health: Mapping[str, Any] = {}

    def open(self, timeout: float, *, offset: int = 0, journal: str = "") -> Welcome:
        """Connect, start or join the agent, and take its journal from `offset` on. Call it once.

        Args:
            timeout: seconds for all of it.
            offset: what `offset` was when an earlier session of the same kernel ended.
            journal: the name of the journal that `offset` counts in; "" accepts any.

        Raises:
            LinkError: not within `timeout`, or the connection was lost.
            AgentError: the agent cannot run there, refused, or has another journal.
            GpuplugError: what `connect` raised.
        """
        self._journal = JournalReader(offset, journal)
        self._events.offset = offset
        self._start(self._follow, "gpuplug-link")
        try:
            welcome = self._wait_for_welcome(timeout)
        except BaseException:  # an interrupt too must not leave a connection and threads behind
            self.close()
            raise
        self._start(self._beat, "gpuplug-heartbeat")
        return welcome

    def _wait_for_welcome(self, timeout: float) -> Welcome:
        # Future.result raises another TimeoutError before Python 3.11.
        if wait([self._welcome], timeout).not_done:
            msg = f"no agent within {timeout:.0f} s"
            raise LinkError(msg)
        return self._welcome.result()

    def _start(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def offset(self) -> int:
        """Where the last event that `next_event` returned ends in the journal."""
        return self._events.offset

    @property
    def health(self) -> Mapping[str, Any]:
        """The header of the last answer to a heartbeat (`ping` in docs/protocol.md); empty before the first."""
        return self._health

    @property
    def alive(self) -> bool:
        """Whether the session is open: the link is up, or may come back."""
        return self._welcome.done() and self._events.failure is None

    def submit(self, request: CellRequest) -> None:
        """Queue a cell. Sent again after each lost link until it is done; the agent runs an id once.

        Raises:
            UsageError: the cell is too large.
            GpuplugError: what ended the session.
        """
        header = {
            "op": "run",
            "cell": request.cell,
            "shell": request.shell,
            "inputs": list(request.inputs),
            "outputs": list(request.outputs),
            "modules": [list(pair) for pair in request.modules],
            "folders": list(request.folders),
            "budget_s": request.budget_s,
            "unfetched": request.unfetched,
        }
        self._check()
        try:
            frame = wire.pack(header, request.source.encode())
        except wire.WireError as error:
            msg = f"the cell of {len(request.source)} characters is too large"
            raise UsageError(msg) from error
        self._pending.submit(request.cell, frame)

    def interrupt(self, cell: str, save_s: float | None = None) -> None:
        """Interrupt `cell` where it runs, or drop it from the queue; nothing happens when it is done.

        With `save_s`, at most 60, its programs that listen for SIGTERM have so many seconds to save before.
        """
        self._check()
        header: dict[str, Any] = {"op": "interrupt", "cell": cell}
        frame = wire.pack(header if save_s is None else {**header, "save_s": save_s})
        self._pending.interrupt(cell, frame, self._clock.monotonic())

    def answer(self, cell: str, text: str | None) -> None:
        """Answer the last `input_request` of `cell`; None is the end of input."""
        self._check()
        header: dict[str, Any] = {"op": "input", "cell": cell, "seq": self._pending.question(cell)}
        header |= {"eof": True} if text is None else {"text": text}
        self._pending.answer(cell, wire.pack(header), self._clock.monotonic())

    def ack(self) -> None:
        """Let the agent forget what came before `offset`: the caller has stored it, or needs it no more."""
        self._check()
        self._pending.once(wire.pack({"op": "ack", "offset": self.offset}))

    def next_event(self, timeout: float) -> Event | None:
        """Return the next event of the journal, in order, each once; None when none comes within `timeout` seconds.

        A KeyboardInterrupt ends the wait and loses nothing.

        Raises:
            LinkError: no link could be made for `give_up_s`, or the session is closed.
            HostKeyError: the host came back with another key.
            AgentError: the agent sent nonsense, or lost its journal.
        """
        return self._events.get(timeout)

    def request(
        self,
        op: str,
        header: Mapping[str, Any] | None = None,
        payload: bytes = b"",
        timeout: float = 30.0,
    ) -> Reply:
        """Send one request and wait for its answer; a lost link is waited out and the request repeated.

        Raises:
            LinkError: no answer within `timeout` seconds, or the session is over.
            AgentError: the agent refused the stream. (A refused request is an answer.)
        """
        return self._bulk.request(op, header or {}, payload, timeout)

    def pipeline(
        self, requests: Iterable[tuple[str, dict[str, Any], bytes]], timeout: float
    ) -> Generator[Reply, None, None]:
        """Send requests ahead of their answers; yield the answers in order, each within `timeout` seconds.

        Raises:
            LinkError: an answer is late, or the session is over.
            AgentError: the agent refused the stream. (A refused request is an answer.)
        """
        return self._bulk.pipeline(requests, timeout)

    def close(self) -> None:
        """End all threads and the connection; what runs on the instance runs on. May be repeated."""
        self._end(closed())
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_S)
        self._bulk.join()

    def _end(self, error: GpuplugError) -> None:
        self._events.fail(error)
        self._bulk.fail(error)
        self._link.close()

    def _check(self) -> None:
        if (failure := self._events.failure) is not None:
            raise failure

    def _follow(self) -> None:
        try:
            reader, welcome = self._link.open(self._journal.offset)
            self._resume(welcome)
            self._welcome.set_result(welcome)
            while True:
                self._read(reader)
                self._check()
                self._on_link("connection lost, reconnecting")
                reader, welcome = self._link.reopen(self._journal.offset)
                self._resume(welcome)
                self._on_link("connected again")
        except GpuplugError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - nobody above a thread would ever tell the user
            failure = AgentError(f"the session failed: {type(error).__name__}")
            failure.__cause__ = error
            self._fail(failure)

    def _fail(self, error: GpuplugError) -> None:
        if not self._welcome.done():
            self._welcome.set_exception(error)
        self._end(error)

    def _resume(self, welcome: Welcome) -> None:
        before = self._journal.offset
        lost = self._journal.resume(welcome.journal, welcome.offset)
        if lost:
            self._events.put(gap(self._pending.oldest, lost), 0, before + lost)

    def _read(self, reader: FrameReader) -> None:
        """Queue events until the link is lost."""
        writer = FrameWriter(reader.stream, self._link.sign)
        try:
            self._pending.link_up(writer)
            for (header, payload), size in reader.frames():
                event = self._journal.event(header, payload, size)
                self._pending.seen(event)
                self._events.put(event, size, self._journal.offset)
        except LinkError:
            pass  # the caller says so
        finally:
            self._pending.link_down()
            self._link.drop()
            writer.stop()

    def _beat(self) -> None:
        while self._link.wait(self._timing.heartbeat_s):
            if (connection := self._link.current) is None:
                continue
            asked = self._clock.monotonic()
            try:
                self._health = self._bulk.request("ping", {}, b"", self._timing.silence_s).header
            except GpuplugError:
                # A slow transfer may delay the answer; a link on which nothing moves at all is dead.
                if self._clock.monotonic() - self._link.last_sign >= self._timing.silence_s:
                    self._link.drop(connection)
            else:
                self._pending.arrived(asked)
                self.on_beat(self._health)
