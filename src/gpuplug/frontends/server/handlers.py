"""The routes below `gpuplug/` (docs/panel.md). Everything that may block is done in a thread of the executor."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.extension.handler import ExtensionHandlerMixin
from tornado import web

from gpuplug.errors import GpuplugError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.frontends.panel.service import Answer, PanelService
    from gpuplug.frontends.server.app import PanelExtension

_LONGEST_BODY = 64 * 1024


class _Handler(ExtensionHandlerMixin, APIHandler):  # type: ignore[misc]  # jupyter_server carries no types for mypy
    """What all routes share; `gpuplug` is the resource that an authorizer decides about."""

    auth_resource = "gpuplug"

    @property
    def panel(self) -> PanelExtension:
        extension: PanelExtension = self.extensionapp
        return extension

    async def answer(self, work: Callable[[PanelService], Answer]) -> None:
        """Answer with what `work` returns, done in a thread; what makes no service says so."""

        def do() -> tuple[int, str]:
            try:
                status, body = work(self.panel.service)
            except GpuplugError as error:
                status, body = self.panel.failed(error)
            return status, self.panel.encoded(body)

        self.reply(*await asyncio.get_running_loop().run_in_executor(self.panel.executor, do))

    def body(self) -> object:
        """Return the JSON of the request; None when it is none, which no route takes."""
        if len(self.request.body) > _LONGEST_BODY:
            raise web.HTTPError(413, "the body is too long")
        try:
            return json.loads(self.request.body)
        except (ValueError, RecursionError):
            return None

    def reply(self, status: int, text: str) -> None:
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(text)


class StateHandler(_Handler):
    """The state without the prices."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the state."""
        await self.answer(lambda service: (200, service.state()))


class PricesHandler(_Handler):
    """The prices, which are many."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with the prices as they were read last."""
        await self.answer(lambda service: (200, service.prices()))


class PostHandler(_Handler):
    """`looking`, `quote`, `ssh` and what begins an action."""

    @web.authenticated
    @authorized("execute")
    async def post(self, route: str) -> None:
        """Do it, or say why not."""
        body = self.body()
        await self.answer(lambda service: service.answer(route, body))


class CancelHandler(_Handler):
    """Interrupts the kernel that runs a job, as the interrupt button does."""

    left = False

    def on_connection_close(self) -> None:
        """Note that nobody waits for the answer any more."""
        self.left = True
        super().on_connection_close()

    @web.authenticated
    @authorized("execute")
    async def post(self) -> None:
        """Interrupt it, or say why not."""
        status, answer = await self.panel.cancel(self.body(), lambda: not self.left)
        self.reply(status, json.dumps(answer))


ROUTES: list[tuple[str, type[_Handler]]] = [
    (r"/gpuplug/state", StateHandler),
    (r"/gpuplug/prices", PricesHandler),
    (r"/gpuplug/actions/cancel", CancelHandler),
    (r"/gpuplug/(looking|quote|ssh|actions/[a-z]{1,20})", PostHandler),
]
