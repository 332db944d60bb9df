"""The account's templates and registry logins, as far as clients use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.runpod import orders
from gpuplug.sandbox.runpod.problems import not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DEFAULTS: dict[str, Any] = {
    "disk": orders.DEFAULT_DISK,
    "mounts": {},
    "ports": [],
    "env": {},
    "registry": None,
    "serverless": False,
    "public": False,
    "category": "NVIDIA",
    "startSsh": True,
    "startJupyter": True,
    "allowedCudaVersions": [],
}
# The service's own templates, which every account may use.
OFFICIAL: dict[str, dict[str, Any]] = {
    "runpod-torch-v280": {
        **_DEFAULTS,
        "id": "runpod-torch-v280",
        "name": "Runpod Pytorch 2.8.0",
        "image": "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
        "args": "",
        "entrypoint": [],
        "cmd": [],
        "ports": ["8888/http", "22/tcp"],
        "public": True,
    },
    "runpod-ubuntu": {
        **_DEFAULTS,
        "id": "runpod-ubuntu",
        "name": "Runpod Ubuntu",
        "image": "runpod/base:1.0.2-ubuntu2404",
        "args": "",
        "entrypoint": [],
        "cmd": [],
        "ports": ["8888/http", "22/tcp"],
        "public": True,
        "category": "CPU",
    },
}
# What a pod takes over from its template.
_TAKEN = ("image", "args", "entrypoint", "cmd", "disk", "ports", "registry", "mounts", "startSsh", "startJupyter")


class Registers:
    """Templates and registry logins by id."""

    def __init__(self, new_id: Callable[[int], str]) -> None:
        self._new_id = new_id
        self.templates: dict[str, dict[str, Any]] = {}
        self.registries: dict[str, str] = {}

    def add_template(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a template; return it as REST v2 does."""
        return self._keep(self._new_id(10), body)

    def template(self, number: str) -> dict[str, Any]:
        """Return a template; Problem when there is none."""
        found = self.templates.get(number) or OFFICIAL.get(number)
        if found is None:
            raise not_found("template")
        return found

    def change_template(self, number: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change a template; pods that were made from it stay as they are."""
        if number not in self.templates:
            raise not_found("template")
        stale = {"args", "entrypoint", "cmd"} if {"args", "entrypoint", "cmd"} & body.keys() else set()
        old = {name: value for name, value in self.templates[number].items() if name not in stale}
        return self._keep(number, {**old, **body})

    def _keep(self, number: str, body: Mapping[str, Any]) -> dict[str, Any]:
        made = orders.container(body)
        told = {"args": made.args, "entrypoint": made.entrypoint or [], "cmd": made.cmd or []}
        self.templates[number] = {**_DEFAULTS, **body, "id": number, **told}
        return self.templates[number]

    def applied(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a create with its template's settings below its own; environments are merged."""
        number = body.get("templateId")
        if number is None:
            return body
        row = self.template(number)
        own = {name for name in ("args", "entrypoint", "cmd") if name in body}
        taken = {
            name: row[name] for name in _TAKEN if name in row and not (own and name in {"args", "entrypoint", "cmd"})
        }
        return {**taken, **body, "env": {**row["env"], **body.get("env", {})}}

    def add_registry(self, name: str) -> dict[str, Any]:
        """Make a registry login; its password is not kept."""
        number = self._new_id(25)
        self.registries[number] = name
        return {"id": number, "name": name}

    def clear(self) -> None:
        """Forget everything."""
        self.templates.clear()
        self.registries.clear()
