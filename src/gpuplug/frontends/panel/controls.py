"""The panel on core ipywidgets, for pages that cannot load the component: text, and buttons for what matters most.

Nothing here is HTML: what a host or a provider sent stands in a text area or in a list.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ipywidgets

from gpuplug.frontends.panel import plain
from gpuplug.frontends.panel.looking import LOOK_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.frontends.panel.desk import Desk

_CLIENT = "controls"
_ACTIONS = ("destroy", "stop", "start", "extend", "adopt")
_HOUR_S = 3600
_NO_PRICES: dict[str, Any] = {"items": None, "error": None}


class Controls:
    """Shows what `desk` shows, and hands it what is pressed; `box` is what is displayed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        layout = ipywidgets.Layout(width="100%", height="20em")
        self._text = ipywidgets.Textarea(disabled=True, layout=layout)
        self._pods = ipywidgets.Dropdown(options=[("no instance", "")], description="instance")
        self._offers = ipywidgets.Dropdown(options=[("no offer", "")], description="offer")
        self._said = ipywidgets.Textarea(disabled=True, layout=ipywidgets.Layout(width="100%", height="5em"))
        self._yes = ipywidgets.Button(description="yes", disabled=True)
        self._no = ipywidgets.Button(description="no", disabled=True)
        self._buttons = {action: ipywidgets.Button(description=action) for action in (*_ACTIONS, "rent", "look")}
        self._state: dict[str, Any] = {}
        self._number = 0
        self._asked: tuple[str, dict[str, Any]] | None = None
        rows = [
            [self._pods, *(self._buttons[action] for action in _ACTIONS)],
            [self._offers, self._buttons["rent"], self._buttons["look"]],
        ]
        self.box = ipywidgets.VBox(
            [self._text, *(ipywidgets.HBox(row) for row in rows), self._said, ipywidgets.HBox([self._yes, self._no])]
        )

        self.attended = False
        for button in (*self._buttons.values(), self._yes, self._no):
            button.on_click(self._attend)
        for action in _ACTIONS:
            self._buttons[action].on_click(lambda _button, action=action: self._confirm(action))
        self._buttons["rent"].on_click(lambda _button: self._send("quote", {"offer": self._offers.value}))
        self._buttons["look"].on_click(lambda _button: self._look())
        self._yes.on_click(lambda _button: self._agreed())
        self._no.on_click(lambda _button: self._question("", None))
        desk.add(self)
        self._look()

    def show(self, state: str, prices: str) -> None:
        """Show JSON texts."""
        self._state = json.loads(state)
        offers = json.loads(prices) if prices else _NO_PRICES
        self._text.value = plain.text(self._state, offers)
        pods = [
            (f"#{pod['number'] or pod['id']} {pod['gpu']} {pod['state']}", pod["id"])
            for pod in self._state["pods"]["items"] or ()
        ]
        rows = [
            (f"{plain.price(row['usd_per_hour'])}/h {row['gpu']} {row['id']}", row["id"])
            for row in offers["items"] or ()
        ]
        _choose(self._pods, pods or [("no instance", "")])
        _choose(self._offers, rows or [("no offer", "")])

    def tell(self, message: Mapping[str, Any]) -> None:
        """Show an answer; a quote is a question."""
        body = message.get("body", {})
        if "quote" in body:
            self._question(f"{body['text']}\n{body['budget_text'] or ''}", ("actions/rent", {"quote": body["quote"]}))
        elif "message" in body:
            self._question("\n".join(part for part in (body["message"], body["billing"], body["hint"]) if part), None)
        elif "operation" in body:
            self._question("begun; how it goes stands above", None)

    def _attend(self, _button: object) -> None:
        self.attended = True

    def _confirm(self, action: str) -> None:
        pod = next((each for each in self._state["pods"]["items"] or () if each["id"] == self._pods.value), None)
        if pod is None or pod["may"][action] is None:
            self._question(f"{action} cannot be done here", None)
            return
        body = {"id": pod["id"], **({"seconds": _HOUR_S} if action == "extend" else {})}
        self._question(f"{pod['may'][action]['text']}?", (f"actions/{action}", body))

    def _agreed(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            self._send(*asked)
        self._question("", None)

    def _question(self, text: str, asked: tuple[str, dict[str, Any]] | None) -> None:
        self._asked = asked
        self._said.value = text.strip()
        self._yes.disabled = self._no.disabled = asked is None

    def _look(self) -> None:
        """Look for half a minute: this page has no clock of its own that could go on looking."""
        self._send("looking", {"client": _CLIENT, "parts": ["pods", "prices"], "gpus": []})
        self._question(f"asking the platforms for the next {LOOK_S:.0f} s", None)

    def _send(self, route: str, body: dict[str, Any]) -> None:
        self._number += 1
        self._desk.take(self, {"request": self._number, "route": route, "body": body})


def _choose(dropdown: Any, options: list[tuple[str, str]]) -> None:  # noqa: ANN401 - ipywidgets carries no types
    """Change what can be chosen and keep what is chosen, where it is still there."""
    if list(dropdown.options) == options:
        return
    chosen = dropdown.value
    dropdown.options = options
    if chosen in {value for _, value in options}:
        dropdown.value = chosen
