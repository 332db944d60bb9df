"""Searching and renting: bundles, search/asks, GPU names, asks/{id}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox import orders
from gpuplug.sandbox.catalogue import MODELS
from gpuplug.sandbox.replies import ApiError, invalid
from gpuplug.sandbox.vast.door import body_of
from gpuplug.sandbox.wire import Route

if TYPE_CHECKING:
    from gpuplug.sandbox.market import Market


class Trade:
    """Handlers of the routes that find and rent offers."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def routes(self) -> list[Route]:
        """Return the routes of this part."""
        return [
            Route("POST", "/api/v0/bundles/", "search", self._bundles, open=True),
            Route("PUT", "/api/v0/search/asks/", "search", self._asks, open=True),
            Route("GET", "/api/v0/gpu_names/unique/", "gpu_names", self._names, open=True),
            Route("PUT", r"/api/v0/asks/{ask:\d+}/", "create", self._create),
            Route("POST", "/api/v0/asks/bulk/", "create", self._create_many),
        ]

    async def _bundles(self, request: web.Request) -> web.Response:
        return self._found(await body_of(request))

    async def _asks(self, request: web.Request) -> web.Response:
        inner = (await body_of(request)).get("q", {})
        if not isinstance(inner, dict):
            raise invalid("q must be an object")
        return self._found(inner)

    def _found(self, body: dict[str, Any]) -> web.Response:
        return web.json_response({"offers": [dict(row) for row in self._market.search(body)]})

    async def _names(self, _request: web.Request) -> web.Response:
        return web.json_response({"gpu_names": sorted(model.name for model in MODELS)})

    async def _create(self, request: web.Request) -> web.Response:
        order = orders.parse(await body_of(request))
        return web.json_response(self._rent(int(request.match_info["ask"]), order))

    async def _create_many(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        ids = body.get("ids")
        if not isinstance(ids, list) or not all(isinstance(one, int) for one in ids):
            raise invalid("ids must be a list of numbers")
        order = orders.parse(body)
        results = []
        for ask_id in ids:
            try:
                results.append(self._rent(ask_id, order))
            except ApiError as error:
                results.append(error.body)
        return web.json_response({"success": True, "results": results})

    def _rent(self, ask_id: int, order: orders.Order) -> dict[str, Any]:
        instance, success = self._market.rent(ask_id, order)
        return {
            "success": success,
            "new_contract": instance.id,
            "instance_api_key": instance.key,
        }
