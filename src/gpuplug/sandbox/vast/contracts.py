"""The instances of the account: list, show, start, stop, label, destroy, logs, commands, keys."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.instances import Instance, instance_row
from gpuplug.sandbox.lifecycle import bid_micros
from gpuplug.sandbox.orders import MAX_LABEL
from gpuplug.sandbox.replies import DONE, QUEUED, ApiError, invalid, no_instance
from gpuplug.sandbox.vast import listing, results
from gpuplug.sandbox.vast.door import body_of
from gpuplug.sandbox.wire import Route

if TYPE_CHECKING:
    from gpuplug.sandbox.market import Market

ONE = r"/api/v0/instances/{id:\d+}/"
MIN_BID, MAX_BID = 0.001, 32.0
DEPRECATED = {
    "success": False,
    "error": "deprecated_endpoint",
    "msg": "/api/v0/instances/ is deprecated. Use /api/v1/instances/ instead.",
}


class Contracts:
    """Handlers of the routes below `instances`."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._results = results.Results()

    def routes(self) -> list[Route]:
        """Return the routes of this part."""
        act = r"/api/v0/instances/%s/{id:\d+}/"
        return [
            Route("GET", "/api/v1/instances/", "list", self._list),
            Route("GET", "/api/v0/instances/", "list_v0", self._deprecated),
            Route("PUT", "/api/v0/instances/", "update", self._update_many),
            Route("DELETE", "/api/v0/instances/", "destroy", self._destroy_many),
            Route("GET", "/api/v0/instances/filters/", "filters", self._filters),
            Route("GET", ONE, "show", self._show),
            Route("PUT", ONE, "update", self._update),
            Route("DELETE", ONE, "destroy", self._destroy),
            Route("PUT", act % "reboot", "reboot", self._reboot),
            Route("PUT", act % "recycle", "recycle", self._recycle),
            Route("PUT", act % "bid_price", "bid", self._bid),
            Route("PUT", act % "request_logs", "logs", self._logs),
            Route("PUT", act % "command", "command", self._command),
            Route("POST", act % "take_snapshot", "snapshot", self._snapshot),
            Route("GET", ONE + "ssh/", "instance_keys", self._keys),
            Route("POST", ONE + "ssh/", "instance_keys", self._add_key),
            Route("DELETE", ONE + r"ssh/{key:\d+}/", "instance_keys", self._remove_key),
            Route("GET", "/res/{token}.log", "result", self._result, open=True),
        ]

    def _need(self, request: web.Request) -> Instance:
        return self._market.need(int(request.match_info["id"]))

    def _need_running(self, request: web.Request) -> Instance:
        instance = self._need(request)
        if instance.cur != "running":
            raise invalid(f"Instance {instance.id} is not running")
        return instance

    def _row(self, instance: Instance) -> dict[str, Any]:
        clock = self._market.clock
        return instance_row(instance, clock.now(), clock.wall())

    async def _list(self, request: web.Request) -> web.Response:
        rows = [self._row(instance) for instance in self._market.listed()]
        return web.json_response(listing.page(rows, request.query))

    async def _deprecated(self, _request: web.Request) -> web.Response:
        return web.json_response(DEPRECATED, status=410)

    async def _filters(self, _request: web.Request) -> web.Response:
        names = ("actual_status", "gpu_name", "verification")
        rows = [self._row(instance) for instance in self._market.listed()]
        seen = [{name: row[name] for name in names} for row in rows]
        return web.json_response({"filters": seen})

    async def _show(self, request: web.Request) -> web.Response:
        instance = self._market.visible(int(request.match_info["id"]))
        return web.json_response({"instances": None if instance is None else self._row(instance)})

    async def _update(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        return web.json_response(self._change(self._need(request), body))

    async def _update_many(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        instances = [self._market.need(number) for number in _numbers(body, "ids")]
        answers = [self._change(instance, body) for instance in instances]
        return web.json_response(next((one for one in answers if not one["success"]), DONE))

    def _change(self, instance: Instance, body: dict[str, Any]) -> dict[str, Any]:
        if "label" in body:
            label = body["label"]
            if not isinstance(label, str) or len(label) > MAX_LABEL:
                raise ApiError(400, "label_too_long", f"label is longer than {MAX_LABEL} characters")
            instance.label = label
        state = body.get("state")
        if state == "running":
            return DONE if self._market.start(instance) else QUEUED
        if state == "stopped":
            self._market.lifecycle.stop(instance)
        elif state is not None or "label" not in body:
            raise invalid(f"state must be running or stopped, not {state!r}")
        return DONE

    async def _destroy(self, request: web.Request) -> web.Response:
        self._market.destroy(self._need(request))
        return web.json_response(DONE)

    async def _destroy_many(self, request: web.Request) -> web.Response:
        numbers = _numbers(await body_of(request), "instance_ids")
        for instance in [self._market.need(number) for number in numbers]:
            self._market.destroy(instance)
        return web.json_response(DONE)

    async def _reboot(self, request: web.Request) -> web.Response:
        self._market.lifecycle.reboot(self._need_running(request))
        return web.json_response(DONE)

    async def _recycle(self, request: web.Request) -> web.Response:
        self._market.lifecycle.reboot(self._need_running(request), recycle=True)
        return web.json_response(DONE)

    async def _bid(self, request: web.Request) -> web.Response:
        instance, price = self._need(request), (await body_of(request)).get("price")
        top = MAX_BID * instance.host.num_gpus
        if not isinstance(price, (int, float)) or isinstance(price, bool) or not MIN_BID <= price <= top:
            raise ApiError(400, "invalid_price", f"price must be between {MIN_BID} and {top}")
        if instance.bid is None:
            raise invalid("only an interruptible instance has a bid")
        instance.bid = bid_micros(price)
        instance.meter.reprice(self._market.clock.now_ns(), gpu=instance.bid or 0)
        return web.json_response(DONE)

    async def _logs(self, request: web.Request) -> web.Response:
        body, instance = await body_of(request), self._need(request)
        log = instance.status_msg or "" if body.get("daemon_logs") else instance.machine.log()
        text = results.excerpt(log, body.get("tail"), body.get("filter"))
        return self._later(request, text, "Log request sent.")

    async def _command(self, request: web.Request) -> web.Response:
        body, instance = await body_of(request), self._need(request)
        disk = self._market.settings.folder / str(instance.id) / "disk"
        text = await asyncio.to_thread(results.run_command, disk, body.get("command"))
        return self._later(request, text, "Command request sent.", writeable_path="/")

    def _later(self, request: web.Request, text: str, message: str, **more: object) -> web.Response:
        url = f"{request.url.origin()}/res/{self._results.put(text)}.log"
        return web.json_response({"success": True, "result_url": url, "msg": message, **more})

    async def _result(self, request: web.Request) -> web.Response:
        text = self._results.get(request.match_info["token"])
        if text is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        return web.Response(text=text)

    async def _snapshot(self, request: web.Request) -> web.Response:
        self._need(request)
        if "id" in await body_of(request):
            raise invalid("params duplicated in URL and body: ['id']")
        return web.json_response(DONE)

    async def _keys(self, request: web.Request) -> web.Response:
        keys = self._need(request).ssh_keys.items()
        rows = [{"id": number, "public_key": key} for number, key in keys]
        return web.json_response({"success": True, "ssh_keys": json.dumps(rows)})

    async def _add_key(self, request: web.Request) -> web.Response:
        instance, key = self._need(request), (await body_of(request)).get("ssh_key")
        await self._market.add_key(instance, key)
        return web.json_response({"success": True, "msg": "SSH key added to instance."})

    async def _remove_key(self, request: web.Request) -> web.Response:
        instance, key = self._need(request), int(request.match_info["key"])
        if instance.ssh_keys.pop(key, None) is None:
            raise no_instance(key)
        return web.json_response(DONE)


def _numbers(body: dict[str, Any], name: str) -> list[int]:
    values = body.get(name)
    if not isinstance(values, list) or not all(isinstance(one, int) for one in values):
        raise invalid(f"{name} must be a list of numbers")
    return values
