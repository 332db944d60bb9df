"""The extension: one service for all browsers of this server, and what has changed on the events bus."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from jupyter_server.extension.application import ExtensionApp

from gpuplug.errors import GpuplugError, UsageError
from gpuplug.frontends.notebooks import notebook_name
from gpuplug.frontends.server.handlers import ROUTES
from gpuplug.frontends.server.kernels import ACTIONS, Kernels
from gpuplug.types import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.engine import Engine
    from gpuplug.frontends.panel.service import Answer, PanelService
    from gpuplug.frontends.panel.watching import Push

SCHEMA_ID = "https://events.gpuplug.dev/panel/v1"
_THREADS = 4


class PanelExtension(ExtensionApp):  # type: ignore[misc]  # jupyter_server carries no types for mypy
    """Serves the sidebar. The service is made, and its imports are paid, when a browser first asks or something is open."""

    name = "gpuplug"

    def initialize_settings(self) -> None:
        """Register what is emitted; nothing else happens before somebody asks."""
        self._lock = threading.Lock()
        self._service: PanelService | None = None
        self._closed = False
        self.executor = ThreadPoolExecutor(_THREADS, "gpuplug-request")
        self.serverapp.io_loop.add_callback(self._start)
        self.serverapp.event_logger.register_event_schema(Path(__file__).parent / "panel.yaml")
        self._kernels = Kernels(SystemClock())
        self.serverapp.event_logger.add_listener(schema_id=ACTIONS, listener=self._kernels.heard)

    def initialize_handlers(self) -> None:
        """Add the routes."""
        self.handlers.extend(ROUTES)

    async def stop_extension(self) -> None:
        """End all threads."""
        with self._lock:
            self._closed = True
            service, self._service = self._service, None
        if service is not None:
            await asyncio.get_running_loop().run_in_executor(None, service.close)
        self.executor.shutdown(wait=False, cancel_futures=True)

    @property
    def service(self) -> PanelService:
        """The service, made at its first use; not to be asked for on the event loop.

        Raises:
            LedgerError: the folder of the ledger cannot be made.
        """
        with self._lock:
            if self._service is None:
                self._service = self._make()
                if not self._closed:
                    self._service.start()
            return self._service

    def _start(self) -> None:
        """Begin to reconcile what is open, also when nobody ever opens the panel; called on the loop."""
        self._loop = asyncio.get_running_loop()
        if not self._closed:
            self.executor.submit(self._begin)

    def _begin(self) -> None:
        try:
            _ = self.service
        except GpuplugError as error:
            self.log.warning("gpuplug: %s", error.message)

    def _make(self) -> PanelService:
        from gpuplug.frontends.panel.service import PanelService  # noqa: PLC0415 - the server's start must not pay for it

        service = PanelService(self._open_engine, "server", SystemClock(), self._notebook, self._told)
        service.find_notebooks(self._path)
        service.find_left(self._kernels.left)
        # What was imported until now stays. Looking through all of it for garbage holds up the event loop for a tenth of
        # a second each time, and whoever makes 10,000 offers has Python look often.
        gc.freeze()
        return service

    def _open_engine(self, notebook: str) -> Engine:
        from gpuplug.engine import Engine  # noqa: PLC0415 - the server's start must not pay for it

        return Engine(notebook or "jupyter server", Path(self.serverapp.root_dir))

    def _notebook(self, path: str) -> str:
        """Return the ledger's name of the notebook at `path` of the file browser, as its kernel makes it."""
        if not path.strip("/") or ".." in PurePosixPath(path).parts:
            raise UsageError(
                "an instance belongs to a notebook: name one by its path in the file browser",
                hint="open the notebook that the machine is for",
            )
        return self._name(path)

    def _name(self, path: str) -> str:
        folder = self.serverapp.kernel_manager.cwd_for_path(path.strip("/"))
        return notebook_name(Path(folder) / PurePosixPath(path).name)

    def _path(self, file: str) -> str:
        """Return the path of a notebook's file in the file browser; "" when it does not show it."""
        try:
            return Path(file).relative_to(self.serverapp.root_dir).as_posix() if file else ""
        except ValueError:
            return ""

    def _told(self, push: Push) -> None:
        """Have the loop emit a change; called from another thread."""
        data = {
            "revision": push.revision,
            "now": push.now,
            "parts": json.dumps(push.parts),
            "prices_revision": push.prices_revision,
        }
        if not self._closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._emit, data)

    def _emit(self, data: dict[str, Any]) -> None:
        self.serverapp.event_logger.emit(schema_id=SCHEMA_ID, data=data)

    async def cancel(self, body: object, wanted: Callable[[], bool]) -> Answer:
        """Interrupt the kernel of this server that runs a job, unless nobody waits for that any more."""
        job, refusal = await asyncio.get_running_loop().run_in_executor(self.executor, self._job, body)
        if refusal is not None:
            return refusal
        sessions = await ensure_async(self.serverapp.session_manager.list_sessions())
        kernel = next((each["kernel"]["id"] for each in sessions if self._runs(each, job)), None)
        if kernel is None:
            return await asyncio.get_running_loop().run_in_executor(self.executor, self.elsewhere, job)
        # Who has given up has interrupted the kernel by another way, and a second interrupt would leave the cell running.
        if wanted():
            await ensure_async(self.serverapp.kernel_manager.interrupt_kernel(kernel))
        return 200, {}

    def _runs(self, session: dict[str, Any], job: dict[str, Any]) -> bool:
        """Tell whether it is the session's kernel that runs the job; its notebook may have another name by now."""
        if not session["kernel"]:
            return False
        if job["kernel"]:
            return bool(session["kernel"]["id"] == job["kernel"])
        return bool(session["path"]) and self._name(session["path"]) == job["notebook"]

    @staticmethod
    def elsewhere(job: dict[str, Any]) -> Answer:
        """Return what to say of a job of no kernel here; not to be asked for on the event loop."""
        from gpuplug.frontends.panel import service  # noqa: PLC0415 - the server's start must not pay for it

        return service.elsewhere(job, "this Jupyter server")

    @staticmethod
    def failed(error: GpuplugError) -> Answer:
        """Return an error as an answer; not to be asked for on the event loop."""
        from gpuplug.frontends.panel import service  # noqa: PLC0415 - the server's start must not pay for it

        return service.failed(error)

    @staticmethod
    def encoded(body: dict[str, Any]) -> str:
        """Return an answer's body as JSON; not to be asked for on the event loop."""
        from gpuplug.frontends.panel import fields  # noqa: PLC0415 - the server's start must not pay for it

        return fields.encoded(body)

    def _job(self, body: object) -> tuple[dict[str, Any], Answer | None]:
        """Return the job that `body` names, or why there is none."""
        try:
            return self.service.running(body), None
        except GpuplugError as error:
            return {}, self.failed(error)
