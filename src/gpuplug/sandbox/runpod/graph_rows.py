"""What GraphQL tells to a key: the account with its money, and its pods."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.runpod.account import EMAIL, SPEND_LIMIT, USER_ID, Caller
from gpuplug.sandbox.runpod.catalogue import CENTER_BY_ID
from gpuplug.sandbox.runpod.graph_prices import Prices
from gpuplug.sandbox.runpod.pods import ALIVE, EXITED, Pod, memory_gb, ports_of, timestamp, uptime, vcpus
from gpuplug.sandbox.runpod.problems import Problem

if TYPE_CHECKING:
    from graphql import GraphQLResolveInfo

    from gpuplug.sandbox.runpod.cloud import Cloud
    from gpuplug.sandbox.runpod.volumes import Volume

UNAUTHORIZED = 401


class Rows:
    """Resolvers of the fields of Query that need a key."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._prices = Prices(cloud)

    def fields(self) -> dict[str, Any]:
        """Return the resolvers by field."""
        return {"myself": self._myself, "pod": self._pod}

    def _myself(self, info: GraphQLResolveInfo[Any]) -> dict[str, Any]:
        caller_of(info).must_be_account()
        return self.user()

    def _pod(self, info: GraphQLResolveInfo[Any], input: dict[str, Any] | None = None) -> dict[str, Any] | None:  # noqa: A002 - the API's name
        number = str((input or {}).get("podId"))
        caller_of(info).must_own(number)
        seen = {pod.id: pod for pod in self._cloud.listed()}
        return self.pod(seen[number]) if number in seen else None

    def user(self) -> dict[str, Any]:
        """Return the account."""
        cloud = self._cloud
        balance = cloud.balance() / MICROS
        pods = list(cloud.pods.values())
        network = sum(volume.meter.rate for volume in cloud.store.volumes.values())
        compute = sum(pod.meter.gpu_price for pod in pods if pod.status in ALIVE)
        return {
            "id": USER_ID,
            "email": EMAIL,
            "pubKey": "\n".join(cloud.account.ssh_keys),
            "clientBalance": balance,
            "currentSpendPerHr": cloud.rate() / MICROS,
            "spendLimit": SPEND_LIMIT,
            "minBalance": 0,
            "underBalance": balance <= 0,
            "clientLifetimeSpend": cloud.spent() / MICROS,
            "spendDetails": {
                "gpuComputePerHour": compute / MICROS,
                "networkStoragePerHour": network / MICROS,
                "localStoragePerHour": (cloud.rate() - network - compute) / MICROS,
            },
            "pods": lambda _info: [self.pod(pod) for pod in cloud.listed()],
            "networkVolumes": [self.volume(volume) for volume in cloud.store.volumes.values()],
            "containerRegistryCreds": [
                {"id": number, "name": name, "userId": USER_ID} for number, name in cloud.registers.registries.items()
            ],
            "savingsPlans": [],
        }

    def volume(self, volume: Volume) -> dict[str, Any]:
        """Return a network volume."""
        return {
            "id": volume.id,
            "name": volume.name,
            "size": volume.size,
            "dataCenterId": volume.center,
            "dataCenter": self._prices.data_center(CENTER_BY_ID[volume.center]),
        }

    def pod(self, pod: Pod) -> dict[str, Any]:
        """Return a pod; `desiredStatus` is what is wished, not what is."""
        made, storage, order = pod.container, pod.storage, pod.order
        cost = pod.meter.gpu_price / MICROS
        volume = self._cloud.store.volumes.get(storage.volume_id or "")
        row = {
            "id": pod.id,
            "name": pod.name,
            "imageName": made.image,
            "dockerArgs": made.args,
            "env": [f"{name}={value}" for name, value in made.env.items()],
            "desiredStatus": "RUNNING" if pod.status in ALIVE else EXITED,
            "podType": "RESERVED" if pod.bid is None else "INTERRUPTABLE",
            "locked": pod.locked,
            "version": 0,
            "costPerHr": cost,
            "adjustedCostPerHr": cost,
            "costMultiplier": 1,
            "lowestBidPriceToResume": self._bid_to_resume(pod),
            "savingsPlans": [],
            "gpuCount": order.count,
            "gpus": [{"id": f"GPU-{pod.id}-{index}", "podId": pod.id} for index in range(order.count)],
            "vcpuCount": vcpus(pod),
            "memoryInGb": memory_gb(pod),
            "cpuFlavorId": order.cpu,
            "containerDiskInGb": made.disk,
            "volumeInGb": storage.size,
            "volumeMountPath": storage.path or None,
            "networkVolumeId": storage.volume_id,
            "networkVolume": None if volume is None else self.volume(volume),
            "containerRegistryAuthId": made.registry,
            "ports": ",".join(made.ports),
            "machineId": None if pod.pool is None else pod.pool.machine_id,
            "machineType": None,
            "machine": self._machine(pod, cost),
            "createdAt": timestamp(pod.created),
            "lastStartedAt": None if pod.started is None else timestamp(pod.started),
            "lastStatusChange": _prose(pod),
            "uptimeSeconds": 0,
            "runtime": self._runtime(pod),
        }
        pod.stale_views = max(0, pod.stale_views - 1)
        return row

    def _bid_to_resume(self, pod: Pod) -> float | None:
        if pod.bid is None or pod.pool is None or pod.status in ALIVE:
            return None
        return self._cloud.shelf.prices[pod.pool.model.id].of(pod.pool.cloud, spot=True) / MICROS

    def _machine(self, pod: Pod, cost: float) -> dict[str, Any]:
        told = {"podHostId": pod.host_id, "dataCenterId": pod.center, "costPerHr": cost, "supportPublicIp": True}
        pool = pod.pool
        if pool is None:
            return told
        return {
            **told,
            "id": pool.machine_id,
            "gpuDisplayName": pool.model.name,
            "gpuTypeId": pool.model.id,
            "gpuType": self._prices.gpu_type(pool.model),
            "gpuAvailable": pool.free,
            "location": pool.country,
            "secureCloud": pool.cloud == "SECURE",
            "currentPricePerGpu": self._cloud.shelf.prices[pool.model.id].of(pool.cloud) / MICROS,
        }

    def _runtime(self, pod: Pod) -> dict[str, Any] | None:
        if not pod.seen_up:
            return None
        return {
            "uptimeInSeconds": uptime(pod, self._cloud.clock.now()),
            "ports": [
                {"ip": ip, "isIpPublic": kind == "tcp", "privatePort": private, "publicPort": public, "type": kind}
                for private, public, kind, ip in ports_of(pod)
            ],
            "gpus": [
                {"id": f"GPU-{pod.id}-{index}", "gpuUtilPercent": 0, "memoryUtilPercent": 0}
                for index in range(pod.order.count)
            ],
            "container": {"cpuPercent": 1, "memoryPercent": 2},
        }


def caller_of(info: GraphQLResolveInfo[Any]) -> Caller:
    """Return who asks; Problem when the request had no key."""
    if not isinstance(info.context, Caller):
        raise Problem(UNAUTHORIZED, "missing bearer token")
    return info.context


def _prose(pod: Pod) -> str:
    moment = dt.datetime.fromtimestamp(pod.created, dt.timezone.utc)
    verb = "Rented" if pod.status in ALIVE else "Exited"
    return f"{verb} by User: {moment.strftime('%a %b %d %Y %H:%M:%S')} GMT+0000 (Coordinated Universal Time)"
