"""The door of the marketplace's API: keys, pacing, the request log, and the faults of the transport."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.query import QueryError
from gpuplug.sandbox.replies import ApiError, invalid

if TYPE_CHECKING:
    from gpuplug.sandbox.faults import Fault
    from gpuplug.sandbox.market import Market

LOG_LENGTH = 20_000
HTML = (
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body><h1>Checking your browser</h1>"
    "<script>alert(1)</script></body></html>"
)
# What an instance may do with its own key, to itself.
OWN_POINTS = frozenset({"show", "start", "stop", "destroy"})
_TOO_OFTEN = "API requests too frequent"
# Least seconds between two calls of one route with one key.
THRESHOLDS = {
    "search": 6.0,
    "list": 1.0,
    "show": 2.0,
    "start": 1.0,
    "stop": 1.0,
    "label": 1.0,
    "destroy": 3.0,
    "create": 4.5,
    "bid": 5.5,
    "reboot": 1.0,
    "recycle": 1.0,
    "command": 1.5,
    "instance_keys": 1.0,
    "volumes": 5.5,
    "charges": 1.0,
    "invoices": 3.0,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route: `point` is its name for faults and pacing; `open` needs no key."""

    method: str
    path: str
    point: str
    handler: Handler
    open: bool = False


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the request's JSON object; an absent body is an empty one.

    Raises:
        ApiError: it is something else.
    """
    text = await request.text()
    if not text.strip():
        return {}
    try:
        body = json.loads(text)
    except ValueError:
        raise invalid("Invalid json_body") from None
    if not isinstance(body, dict):
        raise invalid("json_body must be an object")
    return body


class Door:
    """Lets requests in to their handlers and replies out, as the service or a fault would."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self._last: dict[tuple[str, str, str], float] = {}

    def guard(self, route: Route) -> Handler:
        """Return the handler of `route` with the door in front of it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            row = {
                "t": round(self._market.clock.now(), 3),
                "method": request.method,
                "path": request.path,
                "point": await _point(route, request),
                "agent": request.headers.get("User-Agent", ""),
                "key": "none",
                "status": 0,
            }
            self.requests.append(row)
            reply = await self._pass(route, request, row)
            row["status"] = reply.status
            return reply

        return handle

    async def _pass(self, route: Route, request: web.Request, row: dict[str, Any]) -> web.StreamResponse:
        point = row["point"]
        early = await self._before(request, point)
        if early is not None:
            return early
        try:
            self._admit(route, request, row)
            reply = await route.handler(request)
        except ApiError as error:
            reply = web.json_response(error.body, status=error.status)
        except QueryError as error:
            reply = web.json_response(invalid(str(error)).body, status=400)
        except web.HTTPTooManyRequests as error:
            reply = web.Response(status=error.status, text=error.text)
        if reply.content_type == "application/json":
            reply.charset = None  # the vendor's own command refuses a content type that says more
        return await self._after(request, point, reply)

    def _admit(self, route: Route, request: web.Request, row: dict[str, Any]) -> None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        key = key or request.query.get("api_key", "")
        if route.open:
            self._pace(request, row["point"], key)
            return
        row["key"] = "bad"
        caller = self._market.account.caller(key)
        row["key"] = "account" if caller.instance is None else f"instance {caller.instance}"
        if row["point"] in OWN_POINTS and "id" in request.match_info:
            caller.must_own(int(request.match_info["id"]))
        else:
            caller.must_be_account()
        self._pace(request, row["point"], key)

    def _pace(self, request: web.Request, point: str, key: str) -> None:
        threshold = THRESHOLDS.get(point)
        if not self._market.strict or threshold is None:
            return
        now, who = self._market.clock.now(), (request.method, point, key)
        last = self._last.get(who)
        self._last[who] = now
        if last is not None and now - last < threshold:
            text = f"{_TOO_OFTEN}: endpoint threshold={threshold}"
            raise web.HTTPTooManyRequests(text=text)

    def _take(self, request: web.Request, point: str, *names: str) -> Fault | None:
        number = request.match_info.get("id")
        instance = None if number is None else int(number)
        struck = [self._market.faults.take(point, name, instance) for name in names]
        return next((fault for fault in struck if fault is not None), None)

    async def _before(self, request: web.Request, point: str) -> web.StreamResponse | None:
        wait = self._take(request, point, "delay")
        if wait is not None:
            await asyncio.sleep(wait.number("seconds", 1))
        fault = self._take(request, point, "drop_before", "status", "rate_limit", "quota", "html", "redirect")
        if fault is None:
            return None
        if fault.name == "drop_before":
            return _drop(request)
        return _instead(fault, request)

    async def _after(self, request: web.Request, point: str, reply: web.StreamResponse) -> web.StreamResponse:
        fault = self._take(request, point, "drop_after", "error_after", "truncate", "drip")
        if fault is None:
            return reply
        if fault.name == "drop_after":
            return _drop(request)
        if fault.name == "error_after":
            return web.Response(status=int(fault.number("code", 500)), text="Internal Server Error")
        data = reply.body if isinstance(reply, web.Response) else b""
        sent = data if isinstance(data, bytes) else b""
        if fault.name == "truncate":
            half = sent[: len(sent) // 2]
            return web.Response(body=half, status=reply.status, content_type="application/json")
        return await _drip(request, reply.status, sent, fault.number("every", 1))


async def _point(route: Route, request: web.Request) -> str:
    """Name what a request is for; a change of an instance says it in its body only."""
    if route.point != "update":
        return route.point
    try:
        body = await body_of(request)
    except ApiError:
        return route.point
    if "label" in body:
        return "label"
    return {"running": "start", "stopped": "stop"}.get(str(body.get("state")), route.point)


def _drop(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _instead(fault: Fault, request: web.Request) -> web.Response:
    more = fault.more
    headers = {"Retry-After": str(more["retry_after"])} if "retry_after" in more else {}
    if fault.name == "rate_limit":
        return web.Response(status=429, text=_TOO_OFTEN, headers=headers)
    if fault.name == "quota":
        headers["X-RateLimit-Reset"] = str(more.get("reset", 4_000_000_000))
        body = {"success": False, "error": "search_quota_exceeded", "msg": "Daily search quota exceeded."}
        return web.json_response(body, status=429, headers=headers)
    if fault.name == "html":
        return web.Response(text=HTML, content_type="text/html")
    if fault.name == "redirect":
        default = f"http://localhost:{request.url.port}"
        target = str(more.get("to", default)).rstrip("/") + request.path_qs
        return web.Response(status=307, headers={"Location": target})
    text = str(more.get("body", "Internal Server Error"))
    return web.Response(status=int(fault.number("code", 500)), text=text, headers=headers)


async def _drip(request: web.Request, status: int, data: bytes, every: float) -> web.StreamResponse:
    slow = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
    slow.content_length = len(data)
    await slow.prepare(request)
    for position in range(len(data)):
        await slow.write(data[position : position + 1])
        await asyncio.sleep(every)
    return slow
