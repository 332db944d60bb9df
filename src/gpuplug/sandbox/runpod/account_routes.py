"""The account over REST v2: SSH keys, what was spent, templates, registry logins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.runpod import billing, shapes
from gpuplug.sandbox.runpod.door import body_of
from gpuplug.sandbox.runpod.paging import paged
from gpuplug.sandbox.runpod.problems import not_found
from gpuplug.sandbox.wire import Route

if TYPE_CHECKING:
    from gpuplug.sandbox.runpod.cloud import Cloud

SSH_KEYS = "/v2/account/ssh-keys"
TEMPLATE, REGISTRY = "/v2/templates/{name}", "/v2/registries/{name}"
POD_FIELDS = ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount")
VOLUME_FIELDS = ("totalAmount", "standardAmount", "highPerformanceAmount")
ALL_FIELDS = (
    *("totalAmount", "podGpuAmount", "podCpuAmount", "podDiskAmount"),
    *("serverlessGpuAmount", "serverlessCpuAmount", "serverlessDiskAmount", "serverlessFeeAmount"),
    *("storageStandardAmount", "storageHighPerformanceAmount", "endpointAmount"),
    *("clusterGpuAmount", "clusterDiskAmount", "clusterNetworkingAmount"),
)


class AccountRoutes:
    """Handlers of the routes that concern the account."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Return the routes of this part."""
        return [
            Route("GET", SSH_KEYS, "ssh_keys", self._keys),
            Route("PUT", SSH_KEYS, "ssh_keys", self._replace_keys),
            Route("GET", "/v2/billing", "billing", self._billing),
            Route("GET", "/v2/billing/pods", "billing", self._pod_billing),
            Route("GET", "/v2/billing/network-volumes", "billing", self._volume_billing),
            Route("GET", "/v2/templates", "templates", self._templates),
            Route("POST", "/v2/templates", "templates", self._add_template),
            Route("GET", TEMPLATE, "templates", self._template),
            Route("PATCH", TEMPLATE, "templates", self._change_template),
            Route("DELETE", TEMPLATE, "templates", self._remove_template),
            Route("GET", "/v2/registries", "registries", self._registries),
            Route("POST", "/v2/registries", "registries", self._add_registry),
            Route("GET", REGISTRY, "registries", self._registry),
            Route("DELETE", REGISTRY, "registries", self._remove_registry),
        ]

    async def _keys(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": self._cloud.account.ssh_keys})

    async def _replace_keys(self, request: web.Request) -> web.Response:
        self._cloud.account.ssh_keys = (await body_of(request, shapes.SSH_KEYS))["keys"]
        return await self._keys(request)

    def _pod_rows(self, window: billing.Span, pod_id: str | None) -> list[dict[str, Any]]:
        pods = {pod.id: pod for pod in self._cloud.everyone() if pod_id in {None, pod.id}}
        meters = {name: pod.meter for name, pod in pods.items()}
        rows = []
        for name, times, amounts in billing.records(meters, window, self._cloud.clock):
            on_cpu = pods[name].order.cpu is not None
            spent = {
                "totalAmount": amounts["gpu"] + amounts["disk"],
                "gpuAmount": 0.0 if on_cpu else amounts["gpu"],
                "cpuAmount": amounts["gpu"] if on_cpu else 0.0,
                "diskAmount": amounts["disk"],
            }
            rows.append({**times, "podId": name, **spent})
        return rows

    def _volume_rows(self, window: billing.Span, volume_id: str | None) -> list[dict[str, Any]]:
        volumes = {one.id: one for one in self._cloud.store.everything() if volume_id in {None, one.id}}
        meters = {name: volume.meter for name, volume in volumes.items()}
        rows = []
        for name, times, amounts in billing.records(meters, window, self._cloud.clock):
            fast = volumes[name].kind == "HIGH_PERFORMANCE"
            spent = {
                "totalAmount": amounts["disk"],
                "standardAmount": 0.0 if fast else amounts["disk"],
                "highPerformanceAmount": amounts["disk"] if fast else 0.0,
            }
            rows.append({**times, "networkVolumeId": name, **spent})
        return rows

    async def _pod_billing(self, request: web.Request) -> web.Response:
        window, pod_id = billing.span(request.query, self._cloud.clock.wall()), request.query.get("podId")
        rows = self._pod_rows(window, pod_id)
        seen = len({row["podId"] for row in rows})
        return web.json_response(billing.answer(rows, window, POD_FIELDS, query={"podId": pod_id}, uniquePodCount=seen))

    async def _volume_billing(self, request: web.Request) -> web.Response:
        window, wanted = billing.span(request.query, self._cloud.clock.wall()), request.query.get("networkVolumeId")
        rows = self._volume_rows(window, wanted)
        seen = len({row["networkVolumeId"] for row in rows})
        query = {"networkVolumeId": wanted}
        return web.json_response(
            billing.answer(rows, window, VOLUME_FIELDS, query=query, uniqueNetworkVolumeCount=seen)
        )

    async def _billing(self, request: web.Request) -> web.Response:
        window = billing.span(request.query, self._cloud.clock.wall())
        by_bucket: dict[str, dict[str, Any]] = {}
        names = {"gpuAmount": "podGpuAmount", "cpuAmount": "podCpuAmount", "diskAmount": "podDiskAmount"}
        names |= {"standardAmount": "storageStandardAmount", "highPerformanceAmount": "storageHighPerformanceAmount"}
        for row in [*self._pod_rows(window, None), *self._volume_rows(window, None)]:
            times = {"startTime": row["startTime"], "endTime": row["endTime"]}
            bucket = by_bucket.setdefault(row["startTime"], {**times, **dict.fromkeys(ALL_FIELDS, 0.0)})
            bucket["totalAmount"] += row["totalAmount"]
            for name in names.keys() & row.keys():
                bucket[names[name]] += row[name]
        return web.json_response(billing.answer(list(by_bucket.values()), window, ALL_FIELDS))

    async def _templates(self, request: web.Request) -> web.Response:
        rows = list(self._cloud.registers.templates.values())
        return web.json_response(paged("templates", rows, request.query, self._cloud.page_size))

    async def _add_template(self, request: web.Request) -> web.Response:
        body = await body_of(request, shapes.CREATE_TEMPLATE)
        return web.json_response(self._cloud.registers.add_template(body), status=201)

    async def _template(self, request: web.Request) -> web.Response:
        return web.json_response(self._cloud.registers.template(request.match_info["name"]))

    async def _change_template(self, request: web.Request) -> web.Response:
        body = await body_of(request, shapes.UPDATE_TEMPLATE)
        return web.json_response(self._cloud.registers.change_template(request.match_info["name"], body))

    async def _remove_template(self, request: web.Request) -> web.Response:
        if self._cloud.registers.templates.pop(request.match_info["name"], None) is None:
            raise not_found("template")
        return web.Response(status=204)

    async def _registries(self, request: web.Request) -> web.Response:
        rows = [{"id": number, "name": name} for number, name in self._cloud.registers.registries.items()]
        return web.json_response(paged("registries", rows, request.query, self._cloud.page_size))

    async def _add_registry(self, request: web.Request) -> web.Response:
        body = await body_of(request, shapes.CREATE_REGISTRY)
        return web.json_response(self._cloud.registers.add_registry(body["name"]), status=201)

    async def _registry(self, request: web.Request) -> web.Response:
        number = request.match_info["name"]
        if number not in self._cloud.registers.registries:
            raise not_found("registry")
        return web.json_response({"id": number, "name": self._cloud.registers.registries[number]})

    async def _remove_registry(self, request: web.Request) -> web.Response:
        if self._cloud.registers.registries.pop(request.match_info["name"], None) is None:
            raise not_found("registry")
        return web.Response(status=204)
