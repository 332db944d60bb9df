"""Rows as Vast.ai sends them, and an adapter that talks to a scripted server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from providers_kit import Answer, Api, access, serving
from switch_kit import key_pair

from gpuplug.providers.vast import VastProvider
from gpuplug.testing import FakeClock
from gpuplug.types import Money, Offer, Spec, StartParams

if TYPE_CHECKING:
    from collections.abc import Iterator

BUNDLES = "POST /api/v0/bundles/"
NAMES = "GET /api/v0/gpu_names/unique/"
ASK = "PUT /api/v0/asks/44173797/"
LIST = "GET /api/v1/instances/"
SHOW = "GET /api/v0/instances/7001/"
DELETE = "DELETE /api/v0/instances/7001/"
LOGS = "PUT /api/v0/instances/request_logs/7001/"
LABEL = "gp-0123456789abcdef0123456789abcdef"
NO_SUCH_ASK = "error 404/3603: no_such_ask  Instance type by id 44173797 is not available."


def offer_row(**changes: object) -> dict[str, Any]:
    row = {
        "id": 44173797,
        "ask_contract_id": 44173797,
        "machine_id": 143413,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "gpu_ram": 24564,
        "disk_space": 1607.875,
        "inet_up": 801.5,
        "inet_down": 1602.25,
        "inet_up_cost": 0.001953125,
        "inet_down_cost": 0.005,
        "dph_base": 0.1053333,
        "dph_total": 0.1312592,
        "storage_cost": 0.9333,
        "instance": {"gpuCostPerHour": 0, "diskHour": 0.0259259, "totalHour": 0.0259259},
        "reliability2": 0.997,
        "verification": "verified",
        "cuda_max_good": 12.2,
        "geolocation": "Guangxi, CN",
        "direct_port_count": 12,
        "rentable": True,
        "rented": False,
    }
    return {**row, **changes}


def instance_row(**changes: object) -> dict[str, Any]:
    row = {
        "id": 7001,
        "label": LABEL,
        "machine_id": 143413,
        "actual_status": "running",
        "cur_state": "running",
        "intended_status": "running",
        "next_state": "running",
        "status_msg": "success, running pytorch/pytorch/ssh",
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "ssh_host": "ssh5.vast.ai",
        "ssh_port": 17001,
        "public_ipaddr": " 203.0.113.7 \n",
        "ports": {"22/tcp": [{"HostIp": "198.51.100.1", "HostPort": "30022"}]},
        "start_date": 1763700000.25,
        "duration": 273608757.0,
        "dph_total": 0.1312592,
        "storage_cost": 0.9333,
        "disk_space": 20,
        "onstart": "secret",
        "extra_env": [],
    }
    return {**row, **changes}


def listed(*rows: object, next_token: str | None = None) -> Answer:
    return Answer(
        {
            "success": True,
            "instances_found": len(rows),
            "total_instances": 99,
            "next_token": next_token,
            "instances": rows,
        }
    )


def spec() -> Spec:
    host_key, _ = key_pair()
    _, user_key = key_pair()
    start = StartParams(host_key, user_key, "abc123", 900, 3600, 1800)
    return Spec("pytorch/pytorch:2.7.0", 20, Money.dollars(1), start)


def offer(offer_id: str = "44173797") -> Offer:
    return Offer("vast", offer_id, "143413", "RTX 4090", 1, Money.dollars("0.13"))


@contextlib.contextmanager
def scripted() -> Iterator[tuple[Api, VastProvider, FakeClock]]:
    clock = FakeClock()
    with serving() as api:
        api.on(
            NAMES, Answer({"success": True, "gpu_names": ["RTX 4090", "RTX 4090D", "A100 SXM4", "A100 PCIE", "L40S"]})
        )
        api.on(BUNDLES, Answer({"offers": [offer_row()]}))
        vast = VastProvider(access(api.url, clock))
        try:
            yield api, vast, clock
        finally:
            vast.close()
