"""Pods of RunPod's REST API as the project's own types."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from gpuplug.providers._reading import clean, integer, mapping, number
from gpuplug.providers.runpod import prices
from gpuplug.types import LABEL_PREFIX, Endpoint, Instance, InstanceState, Money

if TYPE_CHECKING:
    from collections.abc import Mapping

LABEL_VARIABLE = "GPUPLUG_ID"
BID_VARIABLE = "GPUPLUG_BID"
_SSH_PORT = 22
_DEAREST = 1_000_000
_MOST_GB = 1_000_000
_MOST_GPUS = 1024
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_BIDS = re.compile(r"\d{1,6}\.\d{6}")
_STATES = {
    "PROVISIONING": InstanceState.BOOTING,
    "STARTING": InstanceState.BOOTING,
    "RUNNING": InstanceState.RUNNING,
    "EXITED": InstanceState.STOPPED,
    "ERROR": InstanceState.FAILED,
}


def pod_id(value: object) -> str:
    """Return a pod's id; "" when `value` is none."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def is_terminated(row: object) -> bool:
    """Tell whether the provider says that this pod is deleted for ever."""
    return mapping(row).get("status") == "TERMINATED"


def bid_per_gpu(row: object) -> Decimal | None:
    """Return what a spot pod bids for each GPU and hour; None for every other pod."""
    told = mapping(mapping(row).get("env")).get(BID_VARIABLE)
    return Decimal(told) if isinstance(told, str) and _BIDS.fullmatch(told) else None


def keeps_its_data(row: object) -> bool:
    """Tell whether anything of the pod outlives a stop."""
    mounts = mapping(mapping(row).get("mounts"))
    return bool(mapping(mounts.get("persistent")) or mounts.get("network"))


def gpu_count(row: object) -> int:
    """Return how many GPUs the pod has."""
    return integer(mapping(mapping(row).get("gpu")).get("count"), 0, _MOST_GPUS) or 0


def instance(row: object, *, simulated: bool) -> Instance | None:
    """Read one pod; None when it has no id. A row with other damage stays: whatever exists may bill."""
    fields = mapping(row)
    known = pod_id(fields.get("id"))
    if not known:
        return None
    state = _state(fields)
    gpu_id = clean(mapping(fields.get("gpu")).get("id"), 60)
    return Instance(
        provider="runpod",
        id=known,
        label=_label(fields),
        state=state,
        price=_price_now(fields, state),
        gpu=short_name(gpu_id),
        gpu_count=gpu_count(fields),
        status=clean(fields.get("status"), 40).lower(),
        endpoints=() if state is not InstanceState.RUNNING else _endpoints(fields, simulated=simulated),
        started=_time(fields.get("startedAt")) or _time(fields.get("createdAt")),
        spot=bid_per_gpu(fields) is not None,
    )


def short_name(gpu_id: str) -> str:
    """Return a GPU type's id without its maker: `RTX 4090` of `NVIDIA GeForce RTX 4090`."""
    return gpu_id.removeprefix("NVIDIA ").removeprefix("GeForce ")


def _label(fields: Mapping[str, object]) -> str:
    """The name can be changed in the console, and a copy made there has it too; the variable stays."""
    told = clean(mapping(fields.get("env")).get(LABEL_VARIABLE), 256)
    return told if told.startswith(LABEL_PREFIX) else clean(fields.get("name"), 256)


def _state(fields: Mapping[str, object]) -> InstanceState:
    """A pod says RUNNING while its image is still being pulled: until it has a runtime it is booting."""
    state = _STATES.get(clean(fields.get("status"), 40), InstanceState.UNKNOWN)
    if state is InstanceState.RUNNING and not mapping(fields.get("runtime")):
        return InstanceState.BOOTING
    return state


def _price_now(fields: Mapping[str, object], state: InstanceState) -> Money:
    """The cost of a stopped pod stays what it was when it ran, so that of its disks is computed."""
    volume = _gigabytes(mapping(mapping(fields.get("mounts")).get("persistent")).get("size"))
    if state is InstanceState.STOPPED:
        return prices.stopped(volume)
    cost = number(fields.get("cost"), 0, _DEAREST) or Decimal(0)
    return prices.running(cost, _gigabytes(fields.get("disk")), volume)


def _gigabytes(value: object) -> Decimal:
    return number(value, 0, _MOST_GB) or Decimal(0)


def _endpoints(fields: Mapping[str, object], *, simulated: bool) -> tuple[Endpoint, ...]:
    """Direct ones only: the provider's proxy carries interactive shells and nothing else."""
    direct = mapping(mapping(fields.get("ssh")).get("direct"))
    found = [_endpoint(direct.get("host"), direct.get("port"))]
    found += [
        _endpoint(row.get("ip"), row.get("public"))
        for row in _ports(fields)
        if row.get("private") == _SSH_PORT and row.get("type") == "tcp" and _is_public(row.get("ip"), simulated)
    ]
    return tuple(dict.fromkeys(endpoint for endpoint in found if endpoint is not None))


def _ports(fields: Mapping[str, object]) -> list[Mapping[str, object]]:
    listed = mapping(fields.get("runtime")).get("ports")
    return [mapping(row) for row in listed] if isinstance(listed, list) else []


def _is_public(address: object, simulated: bool) -> bool:  # noqa: FBT001 - private, and called once
    try:
        known = ipaddress.ip_address(str(address))
    except ValueError:
        return False
    return known.is_global or (simulated and known.is_loopback)


def _endpoint(host: object, port: object) -> Endpoint | None:
    name = clean(host, 255)
    reached = integer(port, 1, 65535)
    return Endpoint(name, reached) if reached is not None and _HOST.fullmatch(name) else None


def _time(value: object) -> dt.datetime | None:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        return dt.datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00"))
    except ValueError:
        return None
