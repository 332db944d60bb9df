"""Rows as RunPod sends them, and an adapter that talks to a scripted server."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from providers_kit import KEY, Answer, Api, serving
from switch_kit import key_pair

from gpuplug.providers import Access
from gpuplug.providers.runpod import RunpodProvider
from gpuplug.testing import FakeClock
from gpuplug.types import Cloud, Endpoint, Money, Offer, Secret, Spec, StartParams

if TYPE_CHECKING:
    from collections.abc import Iterator

POD = "7h9k2m4n6pabcd"
LIST = "GET /v2/pods"
CREATE = "POST /v2/pods"
SHOW = f"GET /v2/pods/{POD}"
DELETE = f"DELETE /v2/pods/{POD}"
ACTION = f"POST /v2/pods/{POD}/action"
LOGS = f"GET /v2/pods/{POD}/logs"
GPUS = "GET /v2/catalog/gpus"
GRAPHQL = "POST /graphql"
VOLUME = "GET /v2/network-volumes/agv6w2qcg7"
VOLUMES = "GET /v2/network-volumes"
LABEL = "gp-0123456789abcdef0123456789abcdef"
GPU = "NVIDIA GeForce RTX 4090"
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
SPEC = Path(__file__).resolve().parents[1].parent / "shared" / "apis" / "runpod-openapi-v2.json"


def pod_row(**changes: object) -> dict[str, Any]:
    row = {
        "id": POD,
        "name": LABEL,
        "status": "RUNNING",
        "actions": ["stop", "restart", "terminate"],
        "image": "pytorch/pytorch:2.7.0",
        "args": "",
        "entrypoint": ["/bin/sh"],
        "cmd": ["-c", "secret"],
        "disk": 20,
        "mounts": {},
        "ports": ["22/tcp"],
        "env": {"GPUPLUG_ID": LABEL},
        "registry": None,
        "gpu": {"id": GPU, "count": 1, "vcpuCount": 8, "memory": 46},
        "cloud": "SECURE",
        "dataCenterId": "EU-RO-1",
        "cudaVersion": "12.8",
        "ssh": {
            "proxy": {"host": "ssh.runpod.io", "port": 22, "username": f"{POD}-64410065", "command": ""},
            "direct": {"host": "203.0.113.7", "port": 30022, "username": "root", "command": ""},
        },
        "template": None,
        "cost": 0.69,
        "locked": False,
        "runtime": {"uptime": 60, "ports": [{"private": 19123, "public": 60001, "type": "http", "ip": "100.65.0.9"}]},
        "globalNetworking": {"enabled": False},
        "createdAt": "2026-11-20T10:00:00.123Z",
        "startedAt": "2026-11-20T10:00:05.5Z",
    }
    return {**row, **changes}


def gpu_row(**changes: object) -> dict[str, Any]:
    row = {
        "id": GPU,
        "name": "RTX 4090",
        "pool": "ADA_24",
        "manufacturer": "NVIDIA",
        "memory": 24,
        "secure": True,
        "community": True,
        "price": {"secure": 0.69, "community": 0.34, "serverless": 1.1},
        "maxCount": {"secure": 8, "community": 4},
        "availability": "HIGH",
        "dataCenters": [
            {"id": "EU-RO-1", "name": "EU-RO-1", "availability": "LOW"},
            {"id": "US-KS-2", "name": "US-KS-2", "availability": "NONE"},
        ],
        "cudaVersions": [{"version": "12.9", "available": True}, {"version": "12.10", "available": True}],
    }
    return {**row, **changes}


def gpu_type(**changes: object) -> dict[str, Any]:
    row = {
        "id": GPU,
        "displayName": "RTX 4090",
        "manufacturer": "Nvidia",
        "memoryInGb": 24,
        "secureCloud": True,
        "communityCloud": True,
        "maxGpuCountSecureCloud": 8,
        "maxGpuCountCommunityCloud": 4,
        "secure": {"uninterruptablePrice": 0.69, "minimumBidPrice": 0.4, "stockStatus": "High"},
        "community": {"uninterruptablePrice": 0.34, "minimumBidPrice": 0.2, "stockStatus": "Low"},
    }
    return {**row, **changes}


def problem(status: int, detail: str, *errors: str) -> Answer:
    body = {"title": "Problem", "status": status, "detail": detail, **({"errors": list(errors)} if errors else {})}
    return Answer(body, status, {"Content-Type": "application/problem+json"})


def listed(*rows: object, cursor: str | None = None) -> Answer:
    return Answer({"pods": rows, "pagination": {"hasNextPage": cursor is not None, "nextCursor": cursor}})


def spec(**changes: Any) -> Spec:  # noqa: ANN401 - the fields of Spec
    host_key, _ = key_pair()
    _, user_key = key_pair()
    start = StartParams(host_key, user_key, "abc123", 900, 3600, 1800)
    return Spec(
        **{"image": "pytorch/pytorch:2.7.0", "disk_gb": 20, "max_price": Money.dollars(1), "start": start, **changes}
    )


def offer(offer_id: str = f"{GPU}/SECURE", **changes: Any) -> Offer:  # noqa: ANN401 - the fields of Offer
    return Offer(
        **{
            "provider": "runpod",
            "id": offer_id,
            "machine": offer_id,
            "gpu": "RTX 4090",
            "gpu_count": 1,
            "price": Money.dollars("0.69"),
            "cloud": Cloud.SECURE,
            **changes,
        }
    )


def greets(endpoint: Endpoint) -> bool:
    """Tell whether an SSH server says hello there: a container that is being stopped still has its last seconds."""
    try:
        with socket.create_connection((endpoint.host, endpoint.port), 5) as link:
            link.settimeout(5)
            return bool(link.recv(4))
    except OSError:
        return False


def access(url: str, clock: FakeClock, key: str = KEY) -> Access:
    return Access(Secret(key), "the environment variable RUNPOD_API_KEY", url, "", clock)


def schema(name: str) -> dict[str, Any]:
    """Return a schema of the published description; the test is skipped and counted without it."""
    if not SPEC.exists():
        pytest.skip("the published API description is absent")
    found: dict[str, Any] = json.loads(SPEC.read_text())["components"]["schemas"][name]
    return found


@contextlib.contextmanager
def scripted(key: str = KEY) -> Iterator[tuple[Api, RunpodProvider, FakeClock]]:
    clock = FakeClock()
    with serving() as api:
        api.on(GPUS, Answer({"gpus": [gpu_row()]}))
        runpod = RunpodProvider(access(api.url, clock, key))
        try:
            yield api, runpod, clock
        finally:
            runpod.close()
