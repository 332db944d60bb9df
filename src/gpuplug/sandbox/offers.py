"""Offers: machines as the search shows them, under ids that do not last."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.catalogue import MICROS, Host

if TYPE_CHECKING:
    from gpuplug.sandbox.clock import ScaledClock

HOURS_PER_MONTH = 720
DAY = 86_400
# One machine was seen with three ids within minutes; an id stays good for one change more.
ID_LIFE_S = 120.0


class OfferBook:
    """All machines, and which offer id stands for which of them now."""

    def __init__(self, hosts: list[Host], seed: int, clock: ScaledClock) -> None:
        self.hosts = hosts
        self._seed = seed
        self._clock = clock
        self._by_machine = {host.machine_id: host for host in hosts}

    def host(self, machine_id: int) -> Host:
        """Return the machine; KeyError when there is none."""
        return self._by_machine[machine_id]

    def ask_id(self, host: Host) -> int:
        """Return the id under which `host` is offered now; it changes with time."""
        now = self._clock.now()
        if now - host.asked_at > ID_LIFE_S:
            host.generation += 1
            host.asked_at = now
        return self._id(host, host.generation)

    def find(self, ask_id: int) -> Host | None:
        """Return the free machine that `ask_id` offers, or None when the id is unknown, old, or taken."""
        for host in self.hosts:
            if host.occupant is not None:
                continue
            fresh = self.ask_id(host)
            if ask_id in {fresh, self._id(host, host.generation - 1)}:
                return host
        return None

    def release(self, host: Host) -> None:
        """Put `host` back on the market under an id that was never used."""
        host.occupant = None
        host.generation += 2  # also past the id that `find` still honours
        host.asked_at = self._clock.now()

    def rows(self, storage_gb: float, *, bid: bool) -> list[dict[str, Any]]:
        """Return every machine as an offer with a disk of `storage_gb`; taken ones say so."""
        return [self._row(host, storage_gb, bid=bid) for host in self.hosts]

    def _id(self, host: Host, generation: int) -> int:
        text = f"{self._seed}:{host.machine_id}:{generation}".encode()
        return 10_000_000 + int.from_bytes(hashlib.sha256(text).digest()[:4], "big") % 80_000_000

    def _row(self, host: Host, storage_gb: float, *, bid: bool) -> dict[str, Any]:
        ask = self.ask_id(host)
        return {
            "id": ask,
            "ask_contract_id": ask,
            "bundle_id": ask + 1,
            "bundled_results": None,
            "rentable": host.occupant is None,
            "rented": host.occupant is not None,
            "is_bid": bid,
            **money_fields(host, storage_gb, bid=bid),
            **machine_fields(host),
            **_lease_fields(host, self._clock),
        }


def _hourly(gpu: float, disk: float) -> dict[str, float]:
    return {
        "gpuCostPerHour": gpu,
        "diskHour": disk,
        "totalHour": gpu + disk,
        "discountTotalHour": 0,
        "discountedTotalPerHour": gpu + disk,
    }


def money_fields(host: Host, storage_gb: float, *, bid: bool) -> dict[str, Any]:
    """Return every price of an offer, in dollars; an interruptible one is priced at its lowest bid."""
    base = (host.min_bid if bid else host.price) / MICROS
    disk = host.storage_cost * storage_gb / HOURS_PER_MONTH
    total = base + disk
    vram_gb = host.model.vram * host.num_gpus / 1024
    return {
        "dph_base": base,
        "dph_total": total,
        "dph_total_adj": total,
        "discounted_dph_total": total,
        "discounted_hourly": 0.0,
        "discount_rate": 0.0,
        "credit_discount_max": 0.1,
        "min_bid": host.min_bid / MICROS,
        "storage_cost": host.storage_cost,
        "storage_total_cost": disk,
        "inet_up_cost": host.inet_cost,
        "inet_down_cost": host.inet_cost,
        "internet_up_cost_per_tb": host.inet_cost * 1024,
        "internet_down_cost_per_tb": host.inet_cost * 1024,
        "vram_costperhour": base / vram_gb,
        "dlperf_per_dphtotal": host.model.dlperf * host.num_gpus / total,
        "flops_per_dphtotal": host.model.flops * host.num_gpus / total,
        "score": round(host.model.dlperf * host.num_gpus / total * host.reliability, 6),
        "search": _hourly(base, disk),
        "instance": _hourly(0.0, disk),
    }


def machine_fields(host: Host) -> dict[str, Any]:
    """Return what an offer and an instance both say of the machine."""
    return {**_gpu_fields(host), **_computer_fields(host), **_standing_fields(host)}


def _gpu_fields(host: Host) -> dict[str, Any]:
    model = host.model
    version = [int(part) for part in host.driver.split(".")]
    return {
        "gpu_name": model.name,
        "num_gpus": host.num_gpus,
        "gpu_frac": host.num_gpus / host.gpus_in_machine,
        "gpu_ids": [host.machine_id * 8 + index for index in range(host.num_gpus)],
        "gpu_arch": "nvidia",
        "gpu_ram": model.vram,
        "gpu_total_ram": model.vram * host.num_gpus,
        "gpu_mem_bw": model.bandwidth,
        "gpu_lanes": 16,
        "gpu_max_power": float(model.power),
        "gpu_max_temp": 90.0,
        "gpu_display_active": False,
        "bw_nvlink": 300.0 if "SXM" in model.name else 0.0,
        "pcie_bw": 24.6,
        "pci_gen": 4.0,
        "compute_cap": model.arch,
        "total_flops": model.flops * host.num_gpus,
        "dlperf": model.dlperf * host.num_gpus,
        "cuda_max_good": host.cuda,
        "driver_version": host.driver,
        "driver_vers": version[0] * 1_000_000 + version[1] * 1000 + version[2],
    }


def _computer_fields(host: Host) -> dict[str, Any]:
    return {
        "cpu_name": host.cpu_name,
        "cpu_cores": host.cpu_cores,
        "cpu_cores_effective": host.cpu_cores * host.num_gpus / host.gpus_in_machine,
        "cpu_ghz": 3.2,
        "cpu_arch": "amd64",
        "cpu_ram": host.cpu_ram,
        "has_avx": 1,
        "mobo_name": "ROMED8-2T",
        "os_version": "22.04",
        "disk_space": host.disk_space,
        "disk_bw": 3200.0,
        "disk_name": "nvme",
        "inet_up": host.inet_up,
        "inet_down": host.inet_down,
        "nw_disk_avg_bw": None,
        "nw_disk_max_bw": None,
        "nw_disk_min_bw": None,
        "avail_vol_ask_id": None,
        "avail_vol_dph": None,
        "avail_vol_size": None,
    }


def _standing_fields(host: Host) -> dict[str, Any]:
    return {
        "machine_id": host.machine_id,
        "host_id": host.host_id,
        "hostname": None,
        "webpage": None,
        "logo": "/static/logos/vastai_small2.png",
        "cluster_id": None,
        "reliability": host.reliability,
        "reliability2": host.reliability,
        "expected_reliability": host.reliability,
        "target_reliability": 0.96,
        "reliability_mult": 0.97,
        "sla_guaranteed": None,
        "verification": host.verification,
        "vericode": int(host.verification == "verified"),
        "is_vm_deverified": False,
        "vms_enabled": False,
        "hosting_type": int(host.datacenter),
        "external": None,
        "static_ip": True,
        "direct_port_count": host.direct_ports,
        "public_ipaddr": host.address,
        "geolocation": host.place,
        "geolocode": None if host.place is None else sum(host.place.encode()),
        "resource_type": "gpu",
        "rn": 1,
        "time_remaining": "",
        "time_remaining_isbid": "",
    }


def _lease_fields(host: Host, clock: ScaledClock) -> dict[str, Any]:
    end = clock.epoch + host.days_left * DAY
    return {
        "start_date": clock.epoch - host.up_since_days * DAY,
        "end_date": end,
        "duration": end - clock.wall(),
    }
