"""The panel on anywidget: the component that the sidebar shows too, drawn by the page itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets
from anywidget import AnyWidget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.frontends.panel.desk import Desk

_STATIC = Path(__file__).parent.parent.parent / "static"


class LivePanel(AnyWidget):  # type: ignore[misc]  # anywidget carries no types for mypy
    """Shows what `desk` shows, and hands it what the page asks for; its traits are kept in a saved notebook."""

    _esm = (_STATIC / "panel.js").read_text(encoding="utf-8")
    _css = (_STATIC / "panel.css").read_text(encoding="utf-8")
    attended = False
    state = traitlets.Unicode("").tag(sync=True)
    prices = traitlets.Unicode("").tag(sync=True)

    def __init__(self, desk: Desk) -> None:
        state, prices = desk.texts()
        super().__init__(state=state, prices=prices)
        self._desk = desk
        self.on_msg(self._take)
        _answer_beside_cells(self.comm)
        desk.add(self)

    def show(self, state: str, prices: str) -> None:
        """Show JSON texts."""
        with self.hold_sync():
            self.state, self.prices = state, prices

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message to the page."""
        self.send(dict(message))

    def _take(self, _widget: object, content: object, _buffers: object) -> None:
        self.attended = not _ends_look(content)
        self._desk.take(self, content)


def _ends_look(content: object) -> bool:
    """Tell whether a page says that the widget is not on the screen any more."""
    if not isinstance(content, dict) or content.get("route") != "looking":
        return False
    body = content.get("body")
    return isinstance(body, dict) and body.get("parts") == []


def _answer_beside_cells(comm: object) -> None:
    """Let messages come in the thread that the page has sent them to, and not wait for the cell that made the widget.

    ipykernel 7.4 sends them to the thread that last wrote; this is its private way to choose, so it may be absent.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, default: default  # noqa: SLF001 - there is no public way
