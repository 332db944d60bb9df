"""The pods of the account over REST v2: create, list, show, change, act, delete, logs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.runpod import logs, orders, shapes
from gpuplug.sandbox.runpod.door import body_of, measure
from gpuplug.sandbox.runpod.paging import paged
from gpuplug.sandbox.runpod.pods import ALIVE, Pod, pod_row
from gpuplug.sandbox.runpod.problems import bad, misshapen
from gpuplug.sandbox.wire import Route

if TYPE_CHECKING:
    from gpuplug.sandbox.runpod.cloud import Cloud
    from gpuplug.sandbox.runpod.door import Door

ONE = "/v2/pods/{id}"


class PodRoutes:
    """Handlers of the routes below `/v2/pods`."""

    def __init__(self, cloud: Cloud, door: Door) -> None:
        self._cloud = cloud
        self._door = door

    def routes(self) -> list[Route]:
        """Return the routes of this part."""
        return [
            Route("GET", "/v2/pods", "pod_list", self._list),
            Route("POST", "/v2/pods", "pod_create", self._create),
            Route("GET", ONE, "pod_show", self._show),
            Route("PATCH", ONE, "pod_update", self._update),
            Route("DELETE", ONE, "pod_destroy", self._destroy),
            Route("POST", f"{ONE}/action", "pod_action", self._act),
            Route("GET", f"{ONE}/logs", "pod_logs", self._logs),
        ]

    def _row(self, pod: Pod) -> dict[str, Any]:
        return pod_row(pod, self._cloud.clock.now())

    async def _list(self, request: web.Request) -> web.Response:
        rows = [self._row(pod) for pod in self._cloud.listed()]
        return web.json_response(paged("pods", rows, request.query, self._cloud.page_size))

    async def _create(self, request: web.Request) -> web.Response:
        body = self._cloud.registers.applied(await body_of(request, shapes.CREATE_POD))
        # The limit holds for the body with its template's settings as well.
        measure(json.dumps(body).encode())
        if "image" not in body:
            raise misshapen(["$: missing property 'image'"])
        pod = self._cloud.create(orders.parse(body))
        return web.json_response(self._row(pod), status=201)

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self._row(self._cloud.visible(request.match_info["id"])))

    async def _destroy(self, request: web.Request) -> web.Response:
        self._cloud.destroy(self._cloud.need(request.match_info["id"]))
        return web.Response(status=204)

    async def _act(self, request: web.Request) -> web.Response:
        action = (await body_of(request, shapes.ACTION))["action"]
        pod = self._cloud.need(request.match_info["id"])
        self._cloud.act(pod, action)
        return web.Response(status=204) if action == "terminate" else web.json_response(self._row(pod))

    async def _update(self, request: web.Request) -> web.Response:
        body = await body_of(request, shapes.UPDATE_POD)
        pod = self._cloud.need(request.match_info["id"])
        if "templateId" in body:
            # A template's mounts are for creating only.
            body = {**self._cloud.registers.applied(body), "mounts": body.get("mounts", {})}
        made = changed_container(pod, body)
        _check_mounts(pod, body.get("mounts", {}))
        pod.name = body.get("name", pod.name)
        pod.locked = body.get("locked", pod.locked)
        pod.order.global_networking = body.get("globalNetworking", pod.order.global_networking)
        if made != pod.container:
            pod.container = made
            self._cloud.life.bill(pod)
            if pod.status in ALIVE:
                self._cloud.life.restart(pod, anew=True)
        return web.json_response(self._row(pod))

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        wanted = logs.reading(request.query, request.headers)
        pod = self._cloud.visible(request.match_info["id"])
        self._cloud.life.collect(pod)
        return await logs.stream(request, pod.log, wanted, over=lambda: pod.gone, headers=dict(self._door.headers()))


def changed_container(pod: Pod, body: dict[str, Any]) -> orders.Container:
    """Return the pod's container with the settings of a PATCH.

    Raises:
        Problem: a rule is broken.
    """
    fields: dict[str, Any] = {
        name: body[name] for name in ("image", "disk", "env", "ports", "registry") if name in body
    }
    if "args" in body:
        fields["entrypoint"], fields["cmd"] = orders.raw_args(body["args"])
    fields |= {name: body[name] or None for name in ("entrypoint", "cmd") if name in body}
    made = replace(pod.container, **fields)
    orders.check(made)
    return made


def _check_mounts(pod: Pod, mounts: dict[str, Any]) -> None:
    """Apply what may change of the mounts: path and, upwards, size; their kind is fixed at create."""
    if mounts.get("network") == []:
        raise bad("clearing mounts is not supported")
    persistent, network = mounts.get("persistent"), mounts.get("network")
    if (persistent is not None and not pod.storage.size) or (network and not pod.on_network):
        raise bad("a mount kind cannot be added after create")
    if network and network[0]["volumeId"] != pod.storage.volume_id:
        raise bad("volumeId is immutable")
    if persistent is not None:
        if persistent["size"] < pod.storage.size:
            raise bad("a persistent mount cannot shrink")
        pod.storage.size = persistent["size"]
