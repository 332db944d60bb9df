"""What a session must offer, and how its answers are looked at: each comes from a machine that may lie."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from gpuplug.agent.safepath import is_digest
from gpuplug.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gpuplug.types import Clock

PIECE = 1 << 20
PIECES_A_REQUEST = 1000
PIECE_TIMEOUT_S = 120.0
HASH_TIMEOUT_S = 600.0

Request = tuple[str, dict[str, Any], bytes]
T = TypeVar("T")


class Reply(Protocol):
    """One answer of the agent."""

    @property
    def header(self) -> Mapping[str, Any]:
        """What docs/protocol.md section 4 says, `ok` included."""
        ...

    @property
    def payload(self) -> bytes:
        """The bytes that came with it."""
        ...


class Session(Protocol):
    """Requests to the agent of one working folder. A refusal is an answer (`ok` false) and no exception.

    Both verbs raise `gpuplug.errors.LinkError` when the link is down or an answer is late.
    """

    def request(self, op: str, header: dict[str, Any], payload: bytes, timeout: float) -> Reply:
        """Send one request and block until its answer is there, at most `timeout` seconds."""
        ...

    def pipeline(self, requests: Iterable[Request], timeout: float) -> Iterator[Reply]:
        """Send requests ahead of their answers and yield the answers in order; each may take `timeout` seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is: bytes moved of those to move, files that are over, bytes per second so far."""

    done_bytes: int
    total_bytes: int
    files: int
    rate_bytes_s: float


class RefusedError(AgentError):
    """The agent refused a request.

    Args:
        code: the agent's word for why.
        message: its sentence.
    """

    def __init__(self, code: str, message: str) -> None:
        hint = "rent with a larger --disk, or delete what is not needed there" if code == "disk_full" else ""
        super().__init__(message, hint=hint)
        self.code = code


def checked(reply: Reply) -> Reply:
    """Return an answer that says yes.

    Raises:
        RefusedError: it says no.
    """
    if reply.header.get("ok", True) is True:
        return reply
    message = ascii(str(reply.header.get("message", "")))[1:-1][:500]
    raise RefusedError(str(reply.header.get("error")), f"the agent refused: {message}")


def json_list(reply: Reply) -> list[Any]:
    """Return the JSON list in the payload.

    Raises:
        AgentError: there is none.
    """
    try:
        value = json.loads(reply.payload)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise AgentError("the agent answered no list")
    return value


def digests(reply: Reply, count: int) -> list[str | None]:
    """Return the `count` hashes that the operation `hash` answered.

    Raises:
        AgentError: it is something else.
    """
    values = json_list(reply)
    if len(values) != count or not all(value is None or is_digest(value) for value in values):
        raise AgentError(f"the agent answered something else than {count} hashes")
    return values


class _Feed(Generic[T]):
    """Hands out requests and remembers what each is about; ends early when told so or when the source fails."""

    def __init__(self, source: Iterator[tuple[Request, T]]) -> None:
        self._source = source
        self.waiting: deque[T] = deque()
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[Request]:
        while self.failure is None:
            try:
                request, about = next(self._source)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - raised again by `exchange` when all answers are in
                self.failure = error
                return
            self.waiting.append(about)
            yield request


def exchange(session: Session, source: Iterator[tuple[Request, T]], take: Callable[[T, Reply], None]) -> None:
    """Send all requests ahead of their answers and give each answer to `take` with what it is about.

    After a failure no more is sent, but the answers under way are still read: the next request must not get them.

    Raises:
        AgentError: an answer is missing, or whatever `source` or `take` raised.
        LinkError: the link is down.
    """
    feed = _Feed(source)
    for reply in session.pipeline(feed, PIECE_TIMEOUT_S):
        if not feed.waiting:
            raise AgentError("the agent answered more than it was asked")
        about = feed.waiting.popleft()
        if feed.failure is None:
            try:
                take(about, reply)
            except Exception as error:  # noqa: BLE001 - raised again below when all answers are in
                feed.failure = error
    if feed.failure is not None:
        raise feed.failure
    if feed.waiting:
        raise AgentError(f"the agent left {len(feed.waiting)} requests unanswered")


class Meter:
    """Counts what a transfer has moved and tells who wants to know.

    Args:
        clock: measures the rate.
        total_bytes: what there is to move.
        tell: called after each answer.
    """

    def __init__(self, clock: Clock, total_bytes: int, tell: Callable[[Progress], None]) -> None:
        self._clock = clock
        self._total = total_bytes
        self._tell = tell
        self._began = clock.monotonic()
        self.done_bytes = 0
        self.files = 0

    def add(self, size: int, files: int) -> None:
        """Count `size` bytes and `files` whole files more."""
        self.done_bytes += size
        self.files += files
        seconds = self._clock.monotonic() - self._began
        rate = self.done_bytes / seconds if seconds > 0 else 0.0
        self._tell(Progress(self.done_bytes, max(self._total, self.done_bytes), self.files, rate))
