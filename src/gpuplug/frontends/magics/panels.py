"""`%gpu panel` and `gpuplug.panel()`: the panel of this kernel, in the best form that this page can show."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython
from IPython.display import publish_display_data

import gpuplug
from gpuplug.engine import Engine
from gpuplug.frontends.magics.commands import notebook_id
from gpuplug.frontends.magics.displays import Displays
from gpuplug.frontends.panel import plain
from gpuplug.frontends.panel.desk import Desk
from gpuplug.frontends.panel.service import PanelService
from gpuplug.types import SystemClock

if TYPE_CHECKING:
    from gpuplug.frontends.panel.watching import Push

_VIEW = "application/vnd.jupyter.widget-view+json"
_LOOK = {"client": "text", "parts": ["pods", "prices"], "gpus": []}
_CLOSED = "closed; to open it again: %gpu panel"


class Kernel:
    """What all panels of this kernel share: one service and one desk."""

    def __init__(self, shell: Any) -> None:  # noqa: ANN401 - IPython carries no types
        self._notebook = notebook_id(shell) if shell is not None else "python"
        self._busy = threading.Event()
        self._desk: Desk | None = None
        self._displays = Displays()
        self.service = PanelService(
            self._open_engine, "kernel", SystemClock(), lambda _path: self._notebook, self._told
        )
        self.service.hold_looks(self._busy.is_set)
        if shell is not None:
            shell.events.register("pre_execute", self._begin_cell)
            shell.events.register("post_execute", self._end_cell)
        self._shell = shell

    @functools.cached_property
    def model(self) -> Any:  # noqa: ANN401 - a widget of whichever kind
        """The best widget that is installed, one for all panels of this kernel; None in a terminal."""
        if self._in_terminal:
            return None
        self.service.start()
        if importlib.util.find_spec("ipywidgets") is None:
            return None
        self._desk = Desk(self.service, _interrupt)
        if importlib.util.find_spec("anywidget") is not None and _is_built():
            from gpuplug.frontends.panel.live import LivePanel  # noqa: PLC0415 - only where it is installed

            return LivePanel(self._desk)
        from gpuplug.frontends.panel.controls import Controls  # noqa: PLC0415 - only where it is installed

        return Controls(self._desk).box

    @property
    def text(self) -> str:
        """The panel as text, as it is now; reads the ledger, asks nobody."""
        return plain.text(self.service.state(), self.service.prices())

    def show(self) -> None:
        """Show the panel in the cell that runs, in the best form."""
        data = {"text/plain": self.text}  # looks, so that the model begins with what is so now
        view, metadata = self._view()
        if self._in_terminal:
            publish_display_data(data)
            return
        if not view:
            self.service.answer("looking", _LOOK)  # there is no page that would; the end of a later cell shows it
        self._displays.show({**view, **data}, metadata)

    def close(self) -> None:
        """End all threads, and leave the last state as text where a panel stood."""
        if self._displays:
            self._displays.close(f"{self.text}\n{_CLOSED}")
        if self._shell is not None:
            self._shell.events.unregister("pre_execute", self._begin_cell)
            self._shell.events.unregister("post_execute", self._end_cell)
        self.service.close()
        if self._desk is not None:
            self._desk.close()

    @property
    def _in_terminal(self) -> bool:
        return getattr(self._shell, "kernel", None) is None

    def _view(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what shows the widget, and how; both are empty where there is none."""
        model = self.model
        if model is None:
            return {}, {}
        if hasattr(model, "_esm"):
            # A page that loads widgets from elsewhere is told from where by anywidget.
            view: tuple[dict[str, Any], dict[str, Any]] = model._repr_mimebundle_()
            return view
        return {_VIEW: {"version_major": 2, "version_minor": 0, "model_id": model.model_id}}, {}

    def _open_engine(self, notebook: str) -> Engine:
        return Engine(notebook or self._notebook, Path.cwd())

    def _told(self, push: Push) -> None:
        if self._desk is not None:
            self._desk.told(push)

    def _begin_cell(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._busy.set()

    def _end_cell(self) -> None:
        # A message on a subshell ends "cells" of its own, in another thread.
        if threading.current_thread() is threading.main_thread():
            self._busy.clear()
            self._renew()

    def _renew(self) -> None:
        """Bring up to date what a saved notebook shows; not on a screen, where it would be drawn anew."""
        if not self._displays or (self._desk is not None and self._desk.attended):
            return
        if self._displays.renew(self.text) and self._desk is not None:
            self._desk.show()


@functools.cache
def kernel() -> Kernel:
    """Return what the panels of this kernel share, made at the first panel."""
    return Kernel(get_ipython())


def close() -> None:
    """End what the panels of this kernel share. May be repeated."""
    if kernel.cache_info().currsize:
        kernel().close()
        kernel.cache_clear()


class Panel:
    """The panel: a live widget, buttons, or text, by what is installed; always text for a saved notebook."""

    def __init__(self) -> None:
        self._kernel = kernel()

    def __repr__(self) -> str:
        return self._kernel.text

    def _ipython_display_(self) -> None:
        self._kernel.show()


def _is_built() -> bool:
    """Tell whether the component is part of this installation; a checkout has it once it was built."""
    folder = Path(gpuplug.__file__).parent / "static"
    return (folder / "panel.js").is_file() and (folder / "panel.css").is_file()


def _interrupt() -> None:
    """Interrupt the cell that runs in this process, as the interrupt button does."""
    os.kill(os.getpid(), signal.SIGINT)
