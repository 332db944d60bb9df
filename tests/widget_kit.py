"""What a page does with the panel's widget: it is told the models, sends messages and hears what the kernel says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frontends_kit import Kernel, Message

VIEW = "application/vnd.jupyter.widget-view+json"


def models(messages: list[Message]) -> list[dict[str, Any]]:
    """Return the state of each widget that was made, with the number of its comm."""
    made = [message.content for message in messages if message.kind == "comm_open"]
    return [{**each["data"]["state"], "comm": each["comm_id"]} for each in made]


def opened(messages: list[Message]) -> dict[str, dict[str, Any]]:
    """Return the state of each widget that was made, by the name of its model."""
    return {each["_model_name"]: each for each in models(messages)}


def answer(live: Kernel, widget: dict[str, Any], number: int, route: str, body: object) -> tuple[int, dict[str, Any]]:
    """Ask as the page does and return what the kernel answers."""
    live.send(widget["comm"], {"request": number, "route": route, "body": body})
    live.hear(lambda data: data.get("content") == {"request": number, "taken": True})
    said = live.hear(lambda data: data.get("content", {}).get("request") == number and "status" in data["content"])
    return said["content"]["status"], said["content"]["body"]


def until_offers(live: Kernel) -> list[dict[str, Any]]:
    """Wait until the widget is sent prices, and return the offers."""
    update = live.hear(lambda data: '"items": [{' in data.get("state", {}).get("prices", ""))
    offers: list[dict[str, Any]] = json.loads(update["state"]["prices"])["items"]
    return offers


def until_pods(live: Kernel, state: str) -> list[dict[str, Any]]:
    """Wait until the widget is sent a pod that is in `state`, and return all that it was sent."""

    def there(data: dict[str, Any]) -> bool:
        text = data.get("state", {}).get("state", "")
        return any(pod["state"] == state for pod in (json.loads(text)["pods"]["items"] or ())) if text else False

    pods: list[dict[str, Any]] = json.loads(live.hear(there)["state"]["state"])["pods"]["items"]
    return pods
