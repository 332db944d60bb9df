"""One pod, and how REST v2 shows it."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.meter import dollars
from gpuplug.sandbox.runpod.catalogue import CPU_BY_ID
from gpuplug.sandbox.runpod.logs import Log

if TYPE_CHECKING:
    from gpuplug.sandbox.faults import Fault
    from gpuplug.sandbox.machine import Machine
    from gpuplug.sandbox.meter import Meter
    from gpuplug.sandbox.runpod.orders import Container, Order, Storage
    from gpuplug.sandbox.runpod.shelf import Pool

PROVISIONING, STARTING, RUNNING = "PROVISIONING", "STARTING", "RUNNING"
EXITED, ERROR, TERMINATED = "EXITED", "ERROR", "TERMINATED"
ALIVE = frozenset({PROVISIONING, STARTING, RUNNING})
ACTIONS: dict[str, list[str]] = {
    PROVISIONING: ["stop", "terminate"],
    STARTING: ["stop", "terminate"],
    RUNNING: ["stop", "restart", "terminate"],
    EXITED: ["start", "terminate"],
    ERROR: ["start", "terminate"],
    TERMINATED: [],
}
# The service itself adds an entry that nobody asked for.
EXTRA_PORT, EXTRA_IP = 19123, "100.64.0.23"
HTTP_BASE = 60_000
LOOPBACK = "127.0.0.1"
# After a start the pod is shown so often with the port that it had before.
STALE_VIEWS = 2


@dataclass(slots=True)
class Pod:
    """A rented pod: `status` is what the API says, `up` whether its container runs."""

    id: str
    order: Order
    container: Container
    storage: Storage
    pool: Pool | None
    center: str | None
    key: str
    meter: Meter
    created: float
    visible_at: float
    name: str
    host_id: str
    status: str = RUNNING
    up: bool = False
    started: float | None = None
    up_since: float | None = None
    locked: bool = False
    gone: bool = False
    intended: str = RUNNING
    stale_port: int = 0
    stale_views: int = 0
    quirks: dict[str, Fault] = field(default_factory=dict)
    generation: int = 0
    log: Log = field(default_factory=Log)
    machine: Machine | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None

    @property
    def bid(self) -> int | None:
        """Micro-dollars per GPU and hour of a spot pod."""
        return self.order.bid

    @property
    def on_network(self) -> bool:
        """Whether its data lives on a network volume."""
        return self.storage.volume_id is not None

    @property
    def direct_port(self) -> int:
        """The port of 127.0.0.1 that leads to its sshd; 0 when there is none now."""
        if self.stale_views:
            return self.stale_port
        reachable = self.up and 22 in self.container.tcp_ports and "no_direct_ports" not in self.quirks  # noqa: PLR2004 - SSH
        return self.machine.direct_port if self.machine is not None and reachable else 0

    @property
    def seen_up(self) -> bool:
        """Whether a reader is told that the container runs."""
        return self.up or self.stale_views > 0

    def verdict(self, now_ns: int) -> dict[str, Any]:
        """Return what the meter endpoint says of this pod."""
        micros = self.meter.micros(now_ns)
        return {
            "platform": "runpod",
            "id": self.id,
            "label": self.name,
            "gpu": None if self.pool is None else self.pool.model.id,
            "num_gpus": self.order.count,
            "machine_id": None if self.pool is None else self.pool.machine_id,
            "state": "destroyed" if self.gone else self.status.lower(),
            "intended": self.intended.lower(),
            "started": self.created,
            "billing": self.meter.rate > 0,
            "rate_micros": self.meter.rate,
            "spend": dollars(micros),
            "spend_micros": micros,
        }


def timestamp(unix: float) -> str:
    """Return RFC 3339 with milliseconds."""
    moment = dt.datetime.fromtimestamp(unix, dt.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pod_row(pod: Pod, now: float) -> dict[str, Any]:
    """Return the pod as REST v2 does; `now` is sandbox time. A read uses up one view of a stale port."""
    made = pod.container
    row = {
        "id": pod.id,
        "name": pod.name,
        "status": pod.status,
        "actions": ACTIONS[pod.status],
        "image": made.image,
        "args": made.args,
        "entrypoint": made.entrypoint or [],
        "cmd": made.cmd or [],
        "disk": made.disk,
        "mounts": _mounts(pod.storage),
        "ports": made.ports,
        "env": made.env,
        "registry": made.registry,
        "cloud": "SECURE" if pod.pool is None else pod.pool.cloud,
        "dataCenterId": pod.center,
        "cudaVersion": None if pod.pool is None else pod.pool.cuda,
        "ssh": {"proxy": _proxy(pod), "direct": _direct(pod)},
        "template": None,
        "cost": pod.meter.gpu_price / MICROS,
        "locked": pod.locked,
        "runtime": _runtime(pod, now),
        "globalNetworking": {"enabled": pod.order.global_networking},
        "createdAt": timestamp(pod.created),
        "startedAt": None if pod.started is None else timestamp(pod.started),
        **_compute(pod),
    }
    pod.stale_views = max(0, pod.stale_views - 1)
    return row


def _compute(pod: Pod) -> dict[str, Any]:
    order = pod.order
    if order.cpu is not None:
        memory = math.ceil(CPU_BY_ID[order.cpu].ram_per_vcpu * order.vcpus)
        return {"cpu": {"id": order.cpu, "vcpuCount": order.vcpus, "memory": memory}}
    gpu = "" if pod.pool is None else pod.pool.model.id
    return {"gpu": {"id": gpu, "count": order.count, "vcpuCount": vcpus(pod), "memory": memory_gb(pod)}}


def vcpus(pod: Pod) -> int:
    """Return the vCPUs of the whole pod."""
    return pod.order.vcpus or 12 * pod.order.count


def memory_gb(pod: Pod) -> int:
    """Return the main memory of the whole pod in GB."""
    return 2 * pod.order.vcpus or 46 * pod.order.count


def _mounts(storage: Storage) -> dict[str, Any]:
    if storage.volume_id is not None:
        return {"network": [{"volumeId": storage.volume_id, "path": storage.path}]}
    return {"persistent": {"size": storage.size, "path": storage.path}} if storage.size else {}


def _endpoint(port: int, user: str) -> dict[str, Any]:
    return {"host": LOOPBACK, "port": port, "username": user, "command": f"ssh {user}@{LOOPBACK} -p {port}"}


def _proxy(pod: Pod) -> dict[str, Any] | None:
    # It carries interactive shells only; the sandbox's lets nobody in.
    port = 0 if pod.machine is None else pod.machine.proxy_port
    return _endpoint(port, pod.host_id) if port else None


def _direct(pod: Pod) -> dict[str, Any] | None:
    return _endpoint(pod.direct_port, "root") if pod.direct_port else None


def ports_of(pod: Pod) -> list[tuple[int, int | None, str, str | None]]:
    """Return what the running pod publishes: private port, public port, type, address."""
    rows: list[tuple[int, int | None, str, str | None]] = []
    if pod.direct_port:
        rows.append((22, pod.direct_port, "tcp", LOOPBACK))
    rows += [(port, HTTP_BASE + index, "http", EXTRA_IP) for index, port in enumerate(pod.container.http_ports)]
    return [*rows, (EXTRA_PORT, HTTP_BASE - 1, "http", EXTRA_IP)]


def uptime(pod: Pod, now: float) -> int:
    """Return whole seconds since the container started."""
    return 0 if pod.up_since is None else int(now - pod.up_since)


def _runtime(pod: Pod, now: float) -> dict[str, Any] | None:
    if not pod.seen_up:
        return None
    keys = ("private", "public", "type", "ip")
    return {
        "uptime": uptime(pod, now),
        "gpus": [{"util": 0, "memoryUtil": 0} for _ in range(pod.order.count)],
        "cpu": {"util": 1},
        "memory": {"util": 2},
        "ports": [dict(zip(keys, row, strict=True)) for row in ports_of(pod)],
    }
