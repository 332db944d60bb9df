"""The door of RunPod's APIs: what stands before it, the size of bodies, keys, rate limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.runpod.problems import Problem, misshapen
from gpuplug.sandbox.runpod.shapes import Shape, faults
from gpuplug.sandbox.wire import Handler, Route, Wire, cloudflare

if TYPE_CHECKING:
    from gpuplug.sandbox.faults import Fault
    from gpuplug.sandbox.runpod.cloud import Cloud

MAX_BODY = 102_400
WINDOWS = (("minute", 60, 60), ("hour", 3000, 3600), ("day", 50_000, 86_400))
PROBLEM = "application/problem+json"
# What a pod may do with its own key, to itself.
OWN_POINTS = frozenset({"pod_show", "pod_stop", "pod_destroy"})
_BANNED_AGENT = "python-urllib"


def problem_reply(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    """Return a refusal as RFC 9457 has it."""
    data = json.dumps(problem.body()).encode()
    return web.Response(status=problem.status, body=data, content_type=PROBLEM, headers=headers)


async def body_of(request: web.Request, shape: Shape) -> dict[str, Any]:
    """Return the request's JSON object, which has `shape`.

    Raises:
        Problem: it has not, or is no JSON.
    """
    try:
        body = json.loads(await request.text() or "null")
    except ValueError:
        raise Problem(400, "request body is not valid JSON") from None
    found = faults(body, shape)
    if found:
        raise misshapen(found)
    answer: dict[str, Any] = body
    return answer


class Door:
    """Lets requests in to their handlers and replies out, as the service or a fault would."""

    def __init__(self, cloud: Cloud, wire: Wire) -> None:
        self._cloud = cloud
        self._wire = wire

    def guard(self, route: Route) -> Handler:
        """Return the handler of `route` with the door in front of it."""

        async def handle(request: web.Request) -> web.StreamResponse:
            row = self._wire.note(request, await _point(route, request))
            reply = await self._pass(route, request, row)
            row["status"] = reply.status
            return reply

        return handle

    def headers(self) -> dict[str, str]:
        """Return what every answer to a known key tells of the rate limits; nothing while there are none."""
        # A used-up quota that is not kept would be a lie.
        return self._quota() if self._cloud.strict else {}

    def _quota(self) -> dict[str, str]:
        now, calls = self._cloud.clock.now(), self._cloud.account.calls
        told = []
        for name, quota, length in WINDOWS:
            used = [moment for moment in calls if now - moment < length]
            wait = int(length - (now - used[0])) + 1 if used else length
            told.append(f'"{name}";r={max(0, quota - len(used))};t={wait}')
        policy = ", ".join(f'"{name}";q={quota};w={length}' for name, quota, length in WINDOWS)
        return {"RateLimit": ", ".join(told), "RateLimit-Policy": policy}

    async def _pass(self, route: Route, request: web.Request, row: dict[str, Any]) -> web.StreamResponse:
        point, number = row["point"], request.match_info.get("id")
        early = await self._wire.before(request, point, number, self._too_many)
        if early is not None:
            return early
        if request.headers.get("User-Agent", "").lower().startswith(_BANNED_AGENT):
            return cloudflare()
        reply = await self._answer(route, request, row)
        return await self._wire.after(request, point, number, reply)

    async def _answer(self, route: Route, request: web.Request, row: dict[str, Any]) -> web.StreamResponse:
        headers: dict[str, str] = {}
        try:
            measure(await request.read())
            self._admit(route, request, row)
            if not route.open:
                self._count()
                headers = self.headers()
            reply = await route.handler(request)
        except Problem as problem:
            if problem.status == 429:  # noqa: PLR2004 - Too Many Requests
                return self._limited(problem, None)
            return problem_reply(problem, headers)
        if not reply.prepared:
            reply.headers.update(headers)
        if reply.content_type == "application/json":
            reply.charset = None
        return reply

    def _admit(self, route: Route, request: web.Request, row: dict[str, Any]) -> None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not key and route.point == "graphql":
            key = request.query.get("api_key", "")
        if route.open and not key:
            return
        row["key"] = "bad"
        caller = self._cloud.account.caller(key)
        row["key"] = "account" if caller.pod is None else f"instance {caller.pod}"
        request["caller"] = caller
        if route.open:
            return
        if row["point"] in OWN_POINTS and "id" in request.match_info:
            caller.must_own(request.match_info["id"])
        else:
            caller.must_be_account()
        if caller.pod is None and not self._cloud.account.may_write and request.method != "GET":
            raise Problem(403, "this key is not allowed to do that")

    def _count(self) -> None:
        """Count one call; Problem when the minute's are used up and limits are enforced."""
        now, calls = self._cloud.clock.now(), self._cloud.account.calls
        while calls and now - calls[0] >= WINDOWS[-1][2]:
            calls.popleft()
        _, quota, length = WINDOWS[0]
        if self._cloud.strict and sum(now - moment < length for moment in calls) >= quota:
            raise Problem(429, "rate limit exceeded")
        calls.append(now)

    def _too_many(self, fault: Fault) -> web.Response:
        return self._limited(Problem(429, "rate limit exceeded"), fault)

    def _limited(self, problem: Problem, fault: Fault | None) -> web.Response:
        headers = self._quota()
        wait = headers["RateLimit"].split(",")[0].rpartition("t=")[2]
        if fault is not None:
            wait = str(fault.more.get("retry_after", 12))
            headers["RateLimit"] = f'"minute";r=0;t={wait}, "hour";r=2800;t=1812, "day";r=49500;t=45012'
        return problem_reply(problem, {**headers, "Retry-After": wait})


def measure(body: bytes) -> None:
    """Raise Problem for a body that is too long."""
    if len(body) > MAX_BODY:
        raise Problem(413, f"request body exceeds {MAX_BODY} bytes")


async def _point(route: Route, request: web.Request) -> str:
    """Name what a request is for; an action says it in its body only."""
    if route.point != "pod_action":
        return route.point
    try:
        action = json.loads(await request.text())["action"]
    except (ValueError, KeyError, TypeError):
        return route.point
    return {"start": "pod_start", "stop": "pod_stop", "restart": "pod_restart", "terminate": "pod_destroy"}.get(
        str(action), route.point
    )
