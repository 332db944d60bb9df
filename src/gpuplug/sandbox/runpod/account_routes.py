"""The account over REST v2: SSH keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gpuplug.sandbox.runpod import shapes
from gpuplug.sandbox.runpod.door import body_of
from gpuplug.sandbox.wire import Route

if TYPE_CHECKING:
    from gpuplug.sandbox.runpod.cloud import Cloud

SSH_KEYS = "/v2/account/ssh-keys"


class AccountRoutes:
    """Handlers of the routes that concern the account."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Return the routes of this part."""
        return [
            Route("GET", SSH_KEYS, "ssh_keys", self._keys),
            Route("PUT", SSH_KEYS, "ssh_keys", self._replace_keys),
        ]

    async def _keys(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": self._cloud.account.ssh_keys})

    async def _replace_keys(self, request: web.Request) -> web.Response:
        self._cloud.account.ssh_keys = (await body_of(request, shapes.SSH_KEYS))["keys"]
        return await self._keys(request)
