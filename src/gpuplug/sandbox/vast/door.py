"""The door of the marketplace's API: keys and pacing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.query import QueryError
from gpuplug.sandbox.replies import ApiError, invalid
from gpuplug.sandbox.wire import Handler, Route, Wire, retry_after

if TYPE_CHECKING:
    from gpuplug.sandbox.faults import Fault
    from gpuplug.sandbox.market import Market

# What an instance may do with its own key, to itself.
OWN_POINTS = frozenset({"show", "start", "stop", "destroy"})
# What the account's own key must have been given for it; the rest needs nothing.
_RIGHTS = {
    **dict.fromkeys(("user", "account_keys", "charges", "invoices"), "user_read"),
    **dict.fromkeys(("list", "list_v0", "filters", "show", "logs"), "instance_read"),
    **dict.fromkeys(("create", "start", "stop", "label", "update", "destroy", "reboot", "recycle"), "instance_write"),
    **dict.fromkeys(("bid", "command", "snapshot", "instance_keys"), "instance_write"),
}
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

    def __init__(self, market: Market, wire: Wire) -> None:
        self._market = market
        self._wire = wire
        self._last: dict[tuple[str, str, str], float] = {}

    def guard(self, route: Route) -> Handler:
        """Return the handler of `route` with the door in front of it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            row = self._wire.note(request, await _point(route, request))
            reply = await self._pass(route, request, row)
            row["status"] = reply.status
            return reply

        return handle

    async def _pass(self, route: Route, request: web.Request, row: dict[str, Any]) -> web.StreamResponse:
        point, number = row["point"], request.match_info.get("id")
        instance = None if number is None else int(number)
        early = await self._wire.before(request, point, instance, _too_many)
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
        return await self._wire.after(request, point, instance, reply)

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
        if caller.instance is None:
            self._market.account.must_have(_RIGHTS.get(row["point"]))
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


def _too_many(fault: Fault) -> web.Response:
    headers = retry_after(fault)
    if fault.name == "rate_limit":
        return web.Response(status=429, text=_TOO_OFTEN, headers=headers)
    headers["X-RateLimit-Reset"] = str(fault.more.get("reset", 4_000_000_000))
    body = {"success": False, "error": "search_quota_exceeded", "msg": "Daily search quota exceeded."}
    return web.json_response(body, status=429, headers=headers)
