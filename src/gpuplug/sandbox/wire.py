"""What every dialect has in common: its routes, the log of requests, and the faults of the transport."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from gpuplug.sandbox.clock import ScaledClock
    from gpuplug.sandbox.faults import Fault, FaultQueue

LOG_LENGTH = 20_000
HTML = (
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><h1>Checking your browser</h1>"
    "<script>alert(1)</script></body></html>"
)
CLOUDFLARE = (
    "<!DOCTYPE html><html><head><title>Access denied</title></head><body><h1>Error 1010</h1>"
    "<p>The owner of this website has banned your access based on your browser's signature.</p></body></html>"
)
_BEFORE = ("drop_before", "status", "rate_limit", "quota", "html", "cloudflare", "redirect")
_AFTER = ("drop_after", "error_after", "truncate", "drip")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Refusal = Callable[["Fault"], web.Response]


@dataclass(frozen=True, slots=True)
class Route:
    """One route: `point` is its name for faults and pacing; `open` needs no key."""

    method: str
    path: str
    point: str
    handler: Handler
    open: bool = False


class Wire:
    """The log of all requests, and the faults that strike before a request is understood or after it was answered."""

    def __init__(self, faults: FaultQueue, clock: ScaledClock) -> None:
        self._faults = faults
        self._clock = clock
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self.blocked: set[str] = set()  # keys of containers whose network lets nothing out any more

    def note(self, request: web.Request, point: str) -> dict[str, Any]:
        """Log `request`; return its row, which the door completes with the kind of key and the status."""
        row = {
            "t": round(self._clock.now(), 3),
            "method": request.method,
            "path": request.path,
            "point": point,
            "agent": request.headers.get("User-Agent", ""),
            "key": "none",
            "status": 0,
        }
        self.requests.append(row)
        return row

    async def before(
        self, request: web.Request, point: str, instance: int | str | None, refusal: Refusal
    ) -> web.Response | None:
        """Return the reply of a fault that strikes first; `refusal` spells a 429 as the dialect does."""
        if request.headers.get("Authorization", "").removeprefix("Bearer ") in self.blocked:
            return await _drop(request)
        wait = self._faults.take(point, "delay", instance)
        if wait is not None:
            await asyncio.sleep(wait.number("seconds", 1))
        fault = self._struck(point, _BEFORE, instance)
        if fault is None:
            return None
        if fault.name in {"rate_limit", "quota"}:
            return refusal(fault)
        if fault.name == "drop_before":
            return await _drop(request)
        return _instead(fault, request)

    async def after(
        self, request: web.Request, point: str, instance: int | str | None, reply: web.StreamResponse
    ) -> web.StreamResponse:
        """Return `reply`, or what a fault makes of it."""
        fault = self._struck(point, _AFTER, instance)
        if fault is None:
            return reply
        if fault.name == "drop_after":
            return await _drop(request)
        if fault.name == "error_after":
            return web.Response(status=int(fault.number("code", 500)), text="Internal Server Error")
        data = reply.body if isinstance(reply, web.Response) else b""
        sent = data if isinstance(data, bytes) else b""
        if fault.name == "truncate":
            half = sent[: len(sent) // 2]
            return web.Response(body=half, status=reply.status, content_type="application/json")
        return await _drip(request, reply.status, sent, fault.number("every", 1))

    def _struck(self, point: str, names: tuple[str, ...], instance: int | str | None) -> Fault | None:
        struck = [self._faults.take(point, name, instance) for name in names]
        return next((fault for fault in struck if fault is not None), None)


def retry_after(fault: Fault) -> dict[str, str]:
    """Return the header that tells when to come again, where the fault wants one."""
    return {"Retry-After": str(fault.more["retry_after"])} if "retry_after" in fault.more else {}


async def _drop(request: web.Request) -> web.Response:
    # Whatever is left unread would turn the end of the connection into a reset.
    await request.read()
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _instead(fault: Fault, request: web.Request) -> web.Response:
    more = fault.more
    if fault.name == "html":
        return web.Response(text=HTML, content_type="text/html")
    if fault.name == "cloudflare":
        return cloudflare()
    if fault.name == "redirect":
        default = f"http://localhost:{request.url.port}"
        target = str(more.get("to", default)).rstrip("/") + request.path_qs
        return web.Response(status=307, headers={"Location": target})
    text = str(more.get("body", "Internal Server Error"))
    return web.Response(status=int(fault.number("code", 500)), text=text, headers=retry_after(fault))


def cloudflare() -> web.Response:
    """Return what stands before a service says to a browser that it does not like."""
    return web.Response(status=403, text=CLOUDFLARE, content_type="text/html")


async def _drip(request: web.Request, status: int, data: bytes, every: float) -> web.StreamResponse:
    slow = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
    slow.content_length = len(data)
    await slow.prepare(request)
    for position in range(len(data)):
        await slow.write(data[position : position + 1])
        await asyncio.sleep(every)
    return slow
