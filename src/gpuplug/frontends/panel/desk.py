"""Between the service and a widget: traits are written, messages are answered, and neither holds up the kernel."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from typing import TYPE_CHECKING, Any, Protocol

from gpuplug.engine.recording import is_followed
from gpuplug.errors import GpuplugError
from gpuplug.frontends.panel.jobs import without_lines
from gpuplug.frontends.panel.service import elsewhere, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpuplug.frontends.panel.service import Answer, PanelService
    from gpuplug.frontends.panel.watching import Push

MOST_PRICES = 200
_JOIN_S = 2.0


class View(Protocol):
    """A widget, as the desk sees it. Called by one thread at a time."""

    attended: bool
    """Whether it is on the screen of a page, as far as that has told: somebody may be in the middle of something there."""

    def show(self, state: str, prices: str) -> None:
        """Show JSON texts; `prices` is empty until they are read."""
        ...

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message to the page."""
        ...


class Desk:
    """Serves all widgets of this process from one thread.

    Args:
        service: answers.
        cancel: interrupts this kernel's own cell.
    """

    def __init__(self, service: PanelService, cancel: Callable[[], None]) -> None:
        self._service = service
        self._cancel = cancel
        self._views: list[View] = []
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._changed = threading.Event()
        self._showing = threading.Lock()
        self._prices_revision = -1
        self._prices = ""
        self._thread = threading.Thread(target=self._run, name="gpuplug-desk", daemon=True)
        self._thread.start()

    def add(self, view: View) -> None:
        """Show the state in one more widget."""
        with self._showing:
            self._views.append(view)
            view.show(*self.texts())

    @property
    def attended(self) -> bool:
        """Whether any widget is on a screen."""
        return any(view.attended for view in self._views)

    def show(self) -> None:
        """Show the state in all widgets."""
        with self._showing:
            texts = self.texts()
            for view in self._views:
                view.show(*texts)

    def close(self) -> None:
        """End the thread. May be repeated."""
        self._work.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)

    def texts(self) -> tuple[str, str]:
        """Return state and prices as JSON texts, prices cut to what a notebook can keep."""
        prices = self._service.prices()
        if prices["revision"] != self._prices_revision and prices["items"] is not None:
            shown = prices["items"][:MOST_PRICES]
            used = {row["series"] for row in shown}
            series = {key: each for key, each in prices["series"].items() if key in used}
            self._prices = json.dumps({**prices, "items": shown, "series": series})
            self._prices_revision = prices["revision"]
        return json.dumps(without_lines(self._service.latest())), self._prices

    def told(self, _push: Push) -> None:
        """Have what has changed shown; called from any thread, changes that come together are shown once."""
        if not self._changed.is_set():
            self._changed.set()
            self._work.put(self._show)

    def take(self, view: View, content: object) -> None:
        """Take a message of a page; answers later, from the desk's thread."""
        if not isinstance(content, dict) or not isinstance(content.get("request"), int):
            return
        number = content["request"]
        view.tell({"request": number, "taken": True})
        self._work.put(lambda: self._answer(view, number, content))

    def _answer(self, view: View, number: int, content: dict[str, Any]) -> None:
        try:
            status, body = self._do(str(content.get("route")), content.get("body"))
        except Exception as error:  # noqa: BLE001 - whoever pressed a button must be told
            status, body = failed(GpuplugError(f"{type(error).__name__}: {error}"))
        view.tell({"request": number, "status": status, "body": body})

    def _do(self, route: str, body: object) -> Answer:
        if route != "actions/cancel":
            return self._service.answer(route, body)
        try:
            job = self._service.running(body)
        except GpuplugError as error:
            return failed(error)
        if not is_followed(job["id"]):
            return elsewhere(job, "this kernel")
        self._cancel()
        return 200, {}

    def _show(self) -> None:
        self._changed.clear()
        self.show()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            # A page that is gone, or a kernel too old to be written to from here, must not end the others.
            with contextlib.suppress(Exception):
                work()
