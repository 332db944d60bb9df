"""RunPod's dialect of the sandbox for tests: `with market() as shop, runpod_client(shop) as api: rent_pod(api)`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from runpod_spec_kit import judge
from sandbox_kit import END_S, RunningMarket, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GPU = "NVIDIA GeForce RTX 4090"
IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
BOOT_S = 30.0


def runpod_client(shop: RunningMarket, key: str | None = None, *, judged: bool = True) -> httpx.Client:
    """Return a client with the account's key, with `key`, or with none when it is empty; the caller closes it.

    Every good reply is held against the published description, where that is there and unless `judged` is off.
    """
    key = shop.runpod_api_key if key is None else key
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    hooks = {"response": [judge]} if judged else {}
    return httpx.Client(base_url=shop.runpod_api_base_url, headers=headers, timeout=END_S, event_hooks=hooks)


def pod_order(**changes: object) -> dict[str, Any]:
    """Return the body of a create request that the market accepts; None takes a field away."""
    body: dict[str, Any] = {
        "name": "gp-test",
        "image": IMAGE,
        "cloud": "SECURE",
        "gpu": {"id": GPU, "count": 1},
        "disk": 20,
        "ports": ["22/tcp"],
        "env": {},
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


def rent_pod(api: httpx.Client, **changes: object) -> str:
    """Rent a pod; return its id."""
    reply = api.post("/v2/pods", json=pod_order(**changes))
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def show_pod(api: httpx.Client, pod_id: str) -> dict[str, Any]:
    """Return a pod's row; it must exist."""
    reply = api.get(f"/v2/pods/{pod_id}")
    assert reply.status_code == 200, reply.text
    row: dict[str, Any] = reply.json()
    return row


def until_pod(api: httpx.Client, pod_id: str, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Wait until the pod's row is as `wanted`; return it."""
    seen: list[dict[str, Any]] = []

    def look() -> object:
        seen.append(show_pod(api, pod_id))
        return wanted(seen[-1])

    wait_until(look, BOOT_S)
    return seen[-1]


def until_up(api: httpx.Client, pod_id: str) -> dict[str, Any]:
    """Wait until the pod's container runs; return its row."""
    return until_pod(api, pod_id, lambda row: row["runtime"] is not None)


def act(api: httpx.Client, pod_id: str, action: str) -> httpx.Response:
    """Ask for an action."""
    return api.post(f"/v2/pods/{pod_id}/action", json={"action": action})


def graphql(api: httpx.Client, query: str, **variables: object) -> dict[str, Any]:
    """Send a GraphQL document; return the whole answer, errors and all."""
    reply = api.post("/graphql", json={"query": query, "variables": variables})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def log_events(api: httpx.Client, pod_id: str, **parameters: object) -> Iterator[dict[str, Any]]:
    """Follow a pod's log; each event as its data with its id. The caller stops reading when it has seen enough."""
    headers = {"Last-Event-ID": str(parameters.pop("after"))} if "after" in parameters else {}
    query = {name: str(value) for name, value in parameters.items()}
    with api.stream("GET", f"/v2/pods/{pod_id}/logs", params=query, headers=headers) as reply:
        assert reply.status_code == 200
        number = ""
        for line in reply.iter_lines():
            if line.startswith("id: "):
                number = line.removeprefix("id: ")
            elif line.startswith("data: "):
                yield {"id": number, **json.loads(line.removeprefix("data: "))}


def log_until(api: httpx.Client, pod_id: str, text: str, **parameters: object) -> list[dict[str, Any]]:
    """Follow a pod's log until a line contains `text`; return the events up to it."""
    seen = []
    for event in log_events(api, pod_id, **parameters):
        seen.append(event)
        if text in event["line"]:
            return seen
    msg = f"the log ended without {text!r}"
    raise AssertionError(msg)


@dataclass(frozen=True)
class Login:
    """A key pair of a user, and how it opens a pod."""

    path: Path

    @property
    def public(self) -> str:
        """The public key line."""
        return self.path.with_suffix(".pub").read_text().strip()

    @classmethod
    def make(cls, folder: Path) -> Login:
        """Make a new pair below `folder`."""
        path = folder / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", str(path)], check=True)
        return cls(path)

    def ask(self, row: dict[str, Any], command: str) -> str:
        """Run `command` on the pod by its direct way; return what it printed, or "refused" when nobody is let in."""
        direct = row["ssh"]["direct"]
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR")
        argv = ["ssh", "-F", "none", "-i", str(self.path), "-p", str(direct["port"])]
        argv += [word for option in options for word in ("-o", option)]
        argv += [f"{direct['username']}@{direct['host']}", command]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        return "refused" if done.returncode == 255 else done.stdout

    def until_in(self, row: dict[str, Any]) -> None:
        """Wait until the pod lets this key in."""
        wait_until(lambda: self.ask(row, "echo in") == "in\n", BOOT_S)
