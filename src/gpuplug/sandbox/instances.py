"""One rented instance and the row by which the API shows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.meter import Meter, dollars
from gpuplug.sandbox.offers import HOURS_PER_MONTH, machine_fields

if TYPE_CHECKING:
    from gpuplug.sandbox.catalogue import Host
    from gpuplug.sandbox.faults import Fault
    from gpuplug.sandbox.machine import Machine
    from gpuplug.sandbox.orders import Order

DAY = 86_400
BYTES_PER_GB = 10**9
# Columns that the service computes and therefore cannot filter on.
COMPUTED = frozenset({"dph_total", "num_gpus", "dph_base", "duration", "uptime_mins"})


@dataclass(slots=True)
class Instance:
    """A contract: `actual` is the container's state, `cur` and `next` the contract's, `intended` the user's wish."""

    id: int
    host: Host
    order: Order
    key: str
    meter: Meter
    created_wall: float
    visible_at: float
    label: str | None
    bid: int | None = None
    quirks: dict[str, Fault] = field(default_factory=dict)
    ssh_keys: dict[int, str] = field(default_factory=dict)
    actual: str | None = None
    cur: str = "running"
    intended: str = "running"
    next: str = "running"
    status_msg: str | None = None
    up_since: float | None = None
    gone: bool = False
    machine: Machine = field(init=False)  # it is made from the rest
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None

    def all_states(self, state: str) -> None:
        """Set what is wished and what the contract says, now and next."""
        self.cur = self.intended = self.next = state

    @property
    def direct(self) -> bool:
        """Whether a port of the machine leads straight to the container."""
        able = self.host.direct_ports > 0 and "no_direct_ports" not in self.quirks
        return self.order.direct and able

    def bill(self, now_ns: int) -> None:
        """Make the meter follow the state: GPU only while running, disk until destroyed, nothing from a lost host."""
        lost = self.gone or self.actual == "offline"
        self.meter.switch(now_ns, gpu=self.actual == "running" and not lost, disk=not lost)

    @property
    def bytes_micros(self) -> int:
        """Micro-dollars that the bytes through the machine's public ports have cost; those of its own downloads are not."""
        link = self.machine.link
        return round((link.bytes_in + link.bytes_out) * Fraction(self.host.inet_cost) * MICROS / BYTES_PER_GB)

    def micros(self, now_ns: int) -> int:
        """Micro-dollars that it has cost: time and bytes."""
        return self.meter.micros(now_ns) + self.bytes_micros

    def verdict(self, now_ns: int) -> dict[str, Any]:
        """Return what the meter endpoint says of this instance."""
        micros = self.micros(now_ns)
        return {
            "platform": "vast",
            "id": self.id,
            "label": self.label,
            "gpu": self.host.model.name,
            "num_gpus": self.host.num_gpus,
            "machine_id": self.host.machine_id,
            "state": "destroyed" if self.gone else self.actual,
            "intended": self.intended,
            "started": self.created_wall,
            "billing": self.meter.rate > 0,
            "rate_micros": self.meter.rate,
            "spend": dollars(micros),
            "spend_micros": micros,
            "bytes_micros": self.bytes_micros,
        }


def instance_row(instance: Instance, now: float, wall: float) -> dict[str, Any]:
    """Return the instance as `show` and `list` do; `now` is sandbox time and `wall` its Unix time."""
    host, order = instance.host, instance.order
    running = instance.actual == "running"
    minutes = None if instance.up_since is None else (now - instance.up_since) / 60
    return {
        **machine_fields(host),
        **_money(instance),
        **_ports(instance),
        "id": instance.id,
        "label": instance.label,
        "actual_status": instance.actual,
        "intended_status": instance.intended,
        "cur_state": instance.cur,
        "next_state": instance.next,
        "status_msg": instance.status_msg,
        "image_uuid": order.image,
        "image_args": list(order.args),
        "image_runtype": order.runtype,
        "extra_env": [[name, value] for name, value in order.env],
        "onstart": order.onstart or None,
        "start_date": instance.created_wall,
        "end_date": wall + host.days_left * DAY,
        # The machine's own figure: reading it as the instance's age is a mistake.
        "duration": 273_608_757.0,
        "uptime_mins": minutes if running else None,
        "gpu_util": 0.0 if running else None,
        "gpu_temp": 34.0,
        "cpu_util": 0.02 if running else None,
        "mem_limit": host.cpu_ram / 1000,
        "mem_usage": 0.4 if running else None,
        "vmem_usage": None,
        "disk_space": order.disk_gb,
        "disk_usage": 0.2,
        "disk_util": -1,
        "country_code": None if host.place is None else host.place.rpartition(", ")[2],
        "template_id": None,
        "template_hash_id": None,
        "template_name": None,
        "volume_info": None,
        "credit_balance": None,
        "time_remaining": "12 Mon 24 D 16 Hr",
    }


def _money(instance: Instance) -> dict[str, Any]:
    host, meter = instance.host, instance.meter
    gpu = meter.gpu_price / MICROS
    disk = host.storage_cost * instance.order.disk_gb / HOURS_PER_MONTH
    running = instance.actual == "running"
    return {
        "is_bid": instance.bid is not None,
        "min_bid": host.min_bid / MICROS,
        "dph_base": gpu,
        "dph_total": gpu + disk,
        "search": {"gpuCostPerHour": gpu, "diskHour": disk, "totalHour": gpu + disk},
        "instance": {
            "gpuCostPerHour": gpu if running else 0.0,
            "diskHour": disk,
            "totalHour": (gpu if running else 0.0) + disk,
        },
        "storage_cost": host.storage_cost,
        "storage_total_cost": disk,
        "inet_up_cost": host.inet_cost,
        "inet_down_cost": host.inet_cost,
    }


def _ports(instance: Instance) -> dict[str, Any]:
    machine, running = instance.machine, instance.actual == "running"
    ports: dict[str, Any] | None = None
    if running:
        ports = {}
        if instance.direct:
            ports["22/tcp"] = [{"HostIp": "0.0.0.0", "HostPort": str(machine.direct_port)}]  # noqa: S104 - quoted from the service
    known = instance.order.ssh and instance.up_since is not None
    port = machine.proxy_port - instance.order.jupyter if known else None
    direct = machine.direct_port if running and instance.direct else -1
    return {
        "public_ipaddr": "127.0.0.1 \n",
        "local_ipaddrs": "127.0.0.1 \n",
        "ssh_host": "127.0.0.1",
        "ssh_port": port,
        "ssh_idx": "5",
        "ports": ports,
        "direct_port_start": direct,
        "direct_port_end": direct,
        "direct_port_count": int(direct >= 0),
        # The host's own port, not the container's.
        "machine_dir_ssh_port": 22,
        "jupyter_token": "sandbox" if instance.order.jupyter else None,
    }
