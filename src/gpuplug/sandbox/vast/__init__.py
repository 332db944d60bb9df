"""The dialect of Vast.ai: its routes over HTTP, with the habits in which they differ from their documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.sandbox.vast.contracts import Contracts
from gpuplug.sandbox.vast.trade import Trade
from gpuplug.sandbox.vast.user import User

if TYPE_CHECKING:
    from aiohttp import web

    from gpuplug.sandbox.market import Market
    from gpuplug.sandbox.vast.door import Door


def add_routes(app: web.Application, market: Market, door: Door) -> None:
    """Serve the whole API on `app`, every path with and without its last slash."""
    for part in (Trade(market), Contracts(market), User(market)):
        for route in part.routes():
            handler = door.guard(route)
            for path in {route.path, route.path.rstrip("/")}:
                app.router.add_route(route.method, path, handler)
