"""The dialect of RunPod: REST v2 and GraphQL behind one address, with the habits in which they differ from their documentation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from gpuplug.sandbox.runpod.account_routes import AccountRoutes
from gpuplug.sandbox.runpod.catalogue_routes import CatalogueRoutes
from gpuplug.sandbox.runpod.door import problem_reply
from gpuplug.sandbox.runpod.graph import Graph
from gpuplug.sandbox.runpod.pod_routes import PodRoutes
from gpuplug.sandbox.runpod.problems import Problem
from gpuplug.sandbox.runpod.volume_routes import VolumeRoutes

if TYPE_CHECKING:
    from gpuplug.sandbox.runpod.cloud import Cloud
    from gpuplug.sandbox.runpod.door import Door
    from gpuplug.sandbox.wire import Handler, Route

RETIRED = {"error": "RunPod REST API v1 has been retired. Use https://api.runpod.io/v2 instead."}


def add_routes(app: web.Application, cloud: Cloud, door: Door) -> None:
    """Serve both APIs on `app`; the first version is gone, unknown paths and methods are refused as the service does."""
    methods: dict[str, list[str]] = {}
    parts = (PodRoutes(cloud, door), CatalogueRoutes(cloud), VolumeRoutes(cloud), AccountRoutes(cloud), Graph(cloud))
    routes: list[Route] = [route for part in parts for route in part.routes()]
    for route in routes:
        app.router.add_route(route.method, route.path, door.guard(route))
        methods.setdefault(route.path, []).append(route.method)
    for path, allowed in methods.items():
        app.router.add_route("*", path, _wrong_method(allowed))
    app.router.add_route("*", "/v2/{tail:.*}", _unknown)
    app.router.add_route("*", "/v1/{tail:.*}", _retired)


def _wrong_method(allowed: list[str]) -> Handler:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return problem_reply(Problem(405, f"method {request.method} not allowed"), {"Allow": ", ".join(allowed)})

    return refuse


async def _unknown(_request: web.Request) -> web.StreamResponse:
    return problem_reply(Problem(404, "no such path"))


async def _retired(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=410, text=json.dumps(RETIRED), content_type="application/json")
