"""Where the panel stands in the notebook, so that the text that is saved there can be brought up to date."""

from __future__ import annotations

import secrets
from typing import Any

from IPython.display import publish_display_data


class Displays:
    """The displays of one panel. Called from the main thread only."""

    def __init__(self) -> None:
        self._bundles: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._body = ""

    def __len__(self) -> int:
        return len(self._bundles)

    def show(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Show a bundle in the cell that runs; its plain text can be changed later."""
        name = f"gpuplug-panel-{secrets.token_hex(8)}"
        self._bundles[name] = data, metadata
        self._body = _body(data["text/plain"])
        publish_display_data(data, metadata, transient={"display_id": name})

    def renew(self, text: str) -> bool:
        """Change the text in all displays; return whether more than its first line, the moment, is new."""
        if _body(text) == self._body:
            return False
        self._body = _body(text)
        for name, (data, metadata) in self._bundles.items():
            _update(name, {**data, "text/plain": text}, metadata)
        return True

    def close(self, text: str) -> None:
        """Leave `text` and nothing else in all displays, and forget them."""
        for name in self._bundles:
            _update(name, {"text/plain": text}, {})
        self._bundles.clear()


def _body(text: str) -> str:
    return text.partition("\n")[2]


def _update(name: str, data: dict[str, Any], metadata: dict[str, Any]) -> None:
    publish_display_data(data, metadata, transient={"display_id": name}, update=True)
