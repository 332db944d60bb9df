"""The catalogue over REST v2: GPU types with prices and stock, data centers, CPU flavours, official templates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.runpod.catalogue import (
    BY_ID,
    CENTER_BY_ID,
    CPU_BY_ID,
    CPUS,
    CUDA_VERSIONS,
    DATA_CENTERS,
    GPUS,
    CpuFlavor,
    DataCenter,
    GpuModel,
)
from gpuplug.sandbox.runpod.orders import cuda_wish
from gpuplug.sandbox.runpod.problems import bad, misshapen, not_found
from gpuplug.sandbox.runpod.registry import OFFICIAL
from gpuplug.sandbox.runpod.shelf import SECURE, Pool, Wish, level
from gpuplug.sandbox.wire import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.sandbox.runpod.cloud import Cloud

PRODUCTS = ("POD", "CLUSTER", "SERVERLESS")
CENTER_PARTS = ("GPU_AVAILABILITY", "CPU_AVAILABILITY")
_NEEDS_INCLUDE = ("product", "countryCodes", "cloud", "cudaVersions", "minCudaVersion", "count")


class CatalogueRoutes:
    """Handlers of the routes below `/v2/catalog`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Return the routes of this part."""
        return [
            Route("GET", "/v2/catalog/gpus", "gpus", self._gpus),
            Route("GET", "/v2/catalog/gpus/{name}", "gpus", self._gpu),
            Route("GET", "/v2/catalog/cpus", "cpus", self._cpus),
            Route("GET", "/v2/catalog/cpus/{name}", "cpus", self._cpu),
            Route("GET", "/v2/catalog/datacenters", "datacenters", self._centers),
            Route("GET", "/v2/catalog/datacenters/{name}", "datacenters", self._center),
            Route("GET", "/v2/catalog/templates", "templates", self._templates),
        ]

    async def _gpus(self, request: web.Request) -> web.Response:
        asked = _asked(request.query)
        rows = [self._gpu_row(model, asked) for model in GPUS]
        if asked is not None and asked["countries"]:
            rows = [row for row in rows if "dataCenters" in row]
        return web.json_response({"gpus": rows})

    async def _gpu(self, request: web.Request) -> web.Response:
        model = BY_ID.get(request.match_info["name"])
        if model is None:
            raise not_found("gpu type")
        return web.json_response(self._gpu_row(model, _asked(request.query)))

    def _gpu_row(self, model: GpuModel, asked: dict[str, Any] | None) -> dict[str, Any]:
        price = self._cloud.shelf.prices[model.id]
        row = {
            "id": model.id,
            "name": model.name,
            "pool": model.pool,
            "manufacturer": model.maker,
            "memory": model.memory,
            "secure": model.max_secure > 0,
            "community": model.max_community > 0,
            "price": {"secure": price.secure / MICROS, "community": price.community / MICROS},
            "maxCount": {"secure": model.max_secure, "community": model.max_community},
        }
        return row if asked is None else {**row, **self._stock(model, asked)}

    def _stock(self, model: GpuModel, asked: dict[str, Any]) -> dict[str, Any]:
        count = asked["count"]
        wish = Wish(model.id, count, (asked["cloud"],), cuda=asked["cuda"])
        pools = [pool for pool in self._cloud.shelf.matching(wish) if _within(pool, asked["countries"])]
        centers = [
            {"id": pool.center, "name": CENTER_BY_ID[pool.center].name, "availability": level([pool], count)}
            for pool in pools
            if pool.center is not None and pool.has(count)
        ]
        told: dict[str, Any] = {"availability": level(pools, count)}
        if centers:
            told["dataCenters"] = centers
        if model.maker == "NVIDIA":
            versions = sorted({pool.cuda for pool in pools}, key=CUDA_VERSIONS.index)
            told["cudaVersions"] = [
                {"version": one, "available": any(pool.has(count) for pool in pools if pool.cuda == one)}
                for one in versions
            ]
        return told

    async def _cpus(self, request: web.Request) -> web.Response:
        return web.json_response({"cpus": [_cpu_row(flavor, request.query) for flavor in CPUS]})

    async def _cpu(self, request: web.Request) -> web.Response:
        flavor = CPU_BY_ID.get(request.match_info["name"])
        if flavor is None:
            raise not_found("cpu flavor")
        return web.json_response(_cpu_row(flavor, request.query))

    async def _centers(self, request: web.Request) -> web.Response:
        kinds, regions = _words(request.query, "networkVolumeTypes"), _words(request.query, "regions")
        rows = [
            self._center_row(center, request.query)
            for center in DATA_CENTERS
            if (not regions or center.region in regions) and (not kinds or set(kinds) & set(center.volumes))
        ]
        return web.json_response({"dataCenters": rows})

    async def _center(self, request: web.Request) -> web.Response:
        center = CENTER_BY_ID.get(request.match_info["name"])
        if center is None:
            raise not_found("data center")
        return web.json_response(self._center_row(center, request.query))

    def _center_row(self, center: DataCenter, query: Mapping[str, str]) -> dict[str, Any]:
        wanted = _words(query, "include")
        if not set(wanted) <= set(CENTER_PARTS):
            raise bad(f"include must be among {', '.join(CENTER_PARTS)}")
        row: dict[str, Any] = {
            "id": center.id,
            "name": center.name,
            "region": center.region,
            "globalNetwork": center.global_network,
            "networkVolumeTypes": list(center.volumes),
            "compliance": ["GDPR"] if center.region == "EUROPE" else [],
        }
        if "GPU_AVAILABILITY" in wanted:
            row["gpuAvailability"] = [
                {"id": pool.model.id, "name": pool.model.name, "availability": level([pool], 1)}
                for pool in self._cloud.shelf.pools
                if pool.center == center.id
            ]
        if "CPU_AVAILABILITY" in wanted:
            row["cpuAvailability"] = [{"id": one.id, "name": one.name, "availability": "HIGH"} for one in CPUS]
        return row

    async def _templates(self, _request: web.Request) -> web.Response:
        return web.json_response({"templates": list(OFFICIAL.values())})


def _words(query: Mapping[str, str], name: str) -> list[str]:
    return [word for word in query.get(name, "").split(",") if word]


def _asked(query: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what stock is asked for, None when only the price list is.

    Raises:
        Problem: `include` without `product`, or one of its filters without it.
    """
    include, products = _words(query, "include"), _words(query, "product")
    if not include:
        if told := [name for name in _NEEDS_INCLUDE if name in query]:
            raise bad(f"{told[0]} is only valid with include=AVAILABILITY")
        return None
    if include != ["AVAILABILITY"]:
        raise bad("include must be AVAILABILITY")
    if not products or not set(products) <= set(PRODUCTS):
        raise bad("include=AVAILABILITY requires product, a list of POD, CLUSTER, SERVERLESS")
    return {
        "count": _count(query.get("count", "1")),
        "cloud": _cloud_of(query.get("cloud", SECURE)),
        "countries": _countries(query),
        "cuda": cuda_wish(_words(query, "cudaVersions"), query.get("minCudaVersion")),
    }


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise misshapen(["count: must be an integer, at least 1"])
    return int(text)


def _cloud_of(text: str) -> str:
    if text not in {"SECURE", "COMMUNITY"}:
        raise misshapen(["cloud: value must be one of 'SECURE', 'COMMUNITY'"])
    return text


def _countries(query: Mapping[str, str]) -> list[str]:
    codes = _words(query, "countryCodes")
    for code in codes:
        if not re.fullmatch("[A-Z]{2}", code):
            raise misshapen([f"countryCodes: '{code}' does not match pattern '^[A-Z]{{2}}$'"])
    return codes


def _within(pool: Pool, countries: list[str]) -> bool:
    return not countries or pool.country in countries


def _cpu_row(flavor: CpuFlavor, query: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "group": flavor.group,
        "vcpu": {"min": flavor.least, "max": flavor.most},
        "ramGbPerVcpu": flavor.ram_per_vcpu,
        "price": {"securePerVcpu": flavor.price, "serverlessPerVcpu": flavor.price},
    }
    if _words(query, "include"):
        centers = [{"id": one.id, "name": one.name, "availability": "HIGH"} for one in DATA_CENTERS]
        row |= {"availability": "HIGH", "dataCenters": centers}
    return row
