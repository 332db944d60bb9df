"""The account's network volumes over REST v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gpuplug.sandbox.runpod import shapes
from gpuplug.sandbox.runpod.door import body_of
from gpuplug.sandbox.runpod.paging import paged
from gpuplug.sandbox.wire import Route

if TYPE_CHECKING:
    from gpuplug.sandbox.runpod.cloud import Cloud
    from gpuplug.sandbox.runpod.volumes import Volume

ALL, ONE = "/v2/network-volumes", "/v2/network-volumes/{name}"


class VolumeRoutes:
    """Handlers of the routes below `/v2/network-volumes`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Return the routes of this part."""
        return [
            Route("GET", ALL, "network_volumes", self._list),
            Route("POST", ALL, "network_volumes", self._create),
            Route("GET", ONE, "network_volumes", self._show),
            Route("PATCH", ONE, "network_volumes", self._change),
            Route("DELETE", ONE, "network_volumes", self._delete),
        ]

    def _need(self, request: web.Request) -> Volume:
        return self._cloud.store.need(request.match_info["name"])

    async def _list(self, request: web.Request) -> web.Response:
        rows = [volume.row() for volume in self._cloud.store.volumes.values()]
        return web.json_response(paged("networkVolumes", rows, request.query, self._cloud.page_size))

    async def _create(self, request: web.Request) -> web.Response:
        body = await body_of(request, shapes.CREATE_VOLUME)
        return web.json_response(self._cloud.store.create(body).row(), status=201)

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self._need(request).row())

    async def _change(self, request: web.Request) -> web.Response:
        body = await body_of(request, shapes.UPDATE_VOLUME)
        volume = self._need(request)
        self._cloud.store.change(volume, body)
        return web.json_response(volume.row())

    async def _delete(self, request: web.Request) -> web.Response:
        self._cloud.delete_volume(self._need(request))
        return web.Response(status=204)
