"""A pod's two logs, and how they are streamed as Server-Sent Events."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.runpod.problems import bad

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTAINER, SYSTEM = "container", "system"
TAIL, MOST = 100, 5000
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `id` is its time and number, by which a reader goes on after a cut."""

    id: str
    time: str
    source: str
    text: str

    def event(self) -> bytes:
        """Return it as one event."""
        data = json.dumps({"ts": self.time, "source": self.source, "line": self.text})
        return f"id: {self.id}\ndata: {data}\n\n".encode()


class Log:
    """All lines of one pod over all its boots, oldest first."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._rest = b""
        self.offset = 0

    def say(self, source: str, text: str, unix: float) -> None:
        """Append one line with its time."""
        moment = dt.datetime.fromtimestamp(unix, dt.timezone.utc)
        stamp = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.lines.append(Line(f"{stamp}/{len(self.lines):012d}", stamp, source, text))

    def take(self, data: bytes, unix: float) -> None:
        """Append what the container wrote; half a line waits for its other half."""
        self.offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            self.say(CONTAINER, line.decode(errors="replace"), unix)

    def begin_again(self, unix: float) -> None:
        """A new container writes a new log from its beginning."""
        if self._rest:
            self.take(b"\n", unix)
        self.offset = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """Which lines a reader wants."""

    source: str | None
    tail: int
    since: str
    after: str

    def first(self, lines: list[Line]) -> int:
        """Return the index of the first line to send."""
        if self.after:
            return next((index + 1 for index, line in enumerate(lines) if line.id == self.after), 0)
        wanted = [index for index, line in enumerate(lines) if self.wants(line) and line.time >= self.since]
        if not self.since:
            wanted = wanted[len(wanted) - self.tail :] if self.tail < len(wanted) else wanted
        return wanted[0] if wanted else len(lines)

    def wants(self, line: Line) -> bool:
        """Tell whether a line is from the source that was asked for."""
        return self.source in {None, line.source}


def reading(query: Mapping[str, str], headers: Mapping[str, str]) -> Reading:
    """Read the query of a log stream.

    Raises:
        Problem: a value that the service refuses.
    """
    source, tail, since = query.get("source"), query.get("tail", str(TAIL)), query.get("since", "")
    if source not in {None, CONTAINER, SYSTEM}:
        raise bad("source must be one of 'container', 'system'")
    if not tail.isdigit() or int(tail) > MOST:
        raise bad(f"tail must be a number from 0 to {MOST}")
    return Reading(source, int(tail), _second(since), headers.get("Last-Event-ID", ""))


def _second(since: str) -> str:
    if not since:
        return ""
    try:
        moment = dt.datetime.fromisoformat(since.replace("Z", "+00:00"))
    except ValueError:
        raise bad("since must be an RFC 3339 time") from None
    return moment.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


async def stream(
    request: web.Request, log: Log, wanted: Reading, *, over: Callable[[], bool], headers: dict[str, Any]
) -> web.StreamResponse:
    """Send what is there and what comes, until the reader leaves or the pod is over."""
    reply = web.StreamResponse(
        headers={
            **headers,
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "Connection": "keep-alive",
            "X-Accel-Buffering": "no",
        }
    )
    await reply.prepare(request)
    position = wanted.first(log.lines)
    while request.transport is not None and not request.transport.is_closing():
        fresh, position = log.lines[position:], len(log.lines)
        for line in fresh:
            if wanted.wants(line):
                await reply.write(line.event())
        if over():
            break
        await asyncio.sleep(_LOOK_S)
    return reply
