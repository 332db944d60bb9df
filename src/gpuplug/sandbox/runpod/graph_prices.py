"""What GraphQL tells without a key: GPU types, data centers, CPU flavours, and what they cost now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.runpod.catalogue import BY_ID, CPUS, DATA_CENTERS, GPUS, CpuFlavor, DataCenter, GpuModel
from gpuplug.sandbox.runpod.orders import cuda_wish
from gpuplug.sandbox.runpod.shelf import COMMUNITY, SECURE, Pool, Wish, level

if TYPE_CHECKING:
    from graphql import GraphQLResolveInfo

    from gpuplug.sandbox.runpod.cloud import Cloud

Input = dict[str, Any] | None
VCPUS, MEMORY = 12, 46


class Prices:
    """Resolvers of the fields of Query that need no key."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def fields(self) -> dict[str, Any]:
        """Return the resolvers by field."""
        return {
            "countryCodes": [*sorted({center.country for center in DATA_CENTERS}), None],
            "dataCenters": lambda _info: [self.data_center(center) for center in DATA_CENTERS],
            "cpuFlavors": self._cpu_flavors,
            "gpuTypes": self._gpu_types,
        }

    def data_center(self, center: DataCenter) -> dict[str, Any]:
        """Return a data center."""

        def stock(_info: GraphQLResolveInfo[Any], input: Input = None) -> list[dict[str, Any]]:  # noqa: A002 - the API's name
            count = int((input or {}).get("gpuCount") or 1)
            pools = [pool for pool in self._cloud.shelf.pools if pool.center == center.id]
            return [_availability(pool, count) for pool in pools]

        return {
            "id": center.id,
            "name": center.name,
            "location": center.country,
            "listed": True,
            "storageSupport": bool(center.volumes),
            "compliance": [],
            "gpuAvailability": stock,
        }

    def _gpu_types(self, _info: GraphQLResolveInfo[Any], input: Input = None) -> list[dict[str, Any]]:  # noqa: A002 - the API's name
        asked = input or {}
        if asked.get("cluster"):
            return []
        ids = [asked["id"]] if asked.get("id") else asked.get("ids") or list(BY_ID)
        return [self.gpu_type(model) for model in GPUS if model.id in ids]

    def gpu_type(self, model: GpuModel) -> dict[str, Any]:
        """Return a GPU type; a price is null where the cloud has none."""
        price = self._cloud.shelf.prices[model.id]
        week, month = (price.secure * share / 100 / MICROS or None for share in (95, 85))
        return {
            "id": model.id,
            "displayName": model.name,
            "manufacturer": "Nvidia" if model.maker == "NVIDIA" else model.maker,
            "memoryInGb": model.memory,
            "secureCloud": model.max_secure > 0,
            "communityCloud": model.max_community > 0,
            "securePrice": _dollars(price.secure),
            "communityPrice": _dollars(price.community),
            "secureSpotPrice": _dollars(price.secure_spot),
            "communitySpotPrice": _dollars(price.community_spot),
            "oneWeekPrice": week,
            "oneMonthPrice": month,
            "maxGpuCount": max(model.max_secure, model.max_community),
            "maxGpuCountSecureCloud": model.max_secure,
            "maxGpuCountCommunityCloud": model.max_community,
            "minPodGpuCount": 1,
            "nodeGroupDatacenters": [],
            "lowestPrice": lambda _info, input=None: self._lowest(model, input or {"gpuCount": 1}),  # noqa: A006 - the API's name
        }

    def _lowest(self, model: GpuModel, asked: dict[str, Any]) -> dict[str, Any]:
        count = asked["gpuCount"]
        pools = self._asked_pools(model, asked)
        free = [pool for pool in pools if pool.has(count)]
        told: dict[str, Any] = {"gpuName": model.name, "gpuTypeId": model.id, "compliance": []}
        if not free:
            return {**told, "availableGpuCounts": []}
        price = self._cloud.shelf.prices[model.id]
        most = max(min(pool.largest, pool.free) for pool in free)
        stock, left = sum(pool.stock for pool in pools), sum(pool.free for pool in pools)
        return {
            **told,
            "uninterruptablePrice": min(price.of(pool.cloud) for pool in free) / MICROS,
            "minimumBidPrice": min(price.of(pool.cloud, spot=True) for pool in free) / MICROS,
            "stockStatus": level(pools, count).capitalize(),
            "countryCode": free[0].country,
            "supportPublicIp": True,
            "minVcpu": VCPUS * count,
            "minMemory": MEMORY * count,
            "minDisk": 20,
            "availableGpuCounts": list(range(1, most + 1)),
            "maxUnreservedGpuCount": most,
            "totalCount": stock,
            "rentedCount": max(0, stock - left),
            "gpuTypeCudaVersions": _versions(pools, count),
        }

    def _asked_pools(self, model: GpuModel, asked: dict[str, Any]) -> list[Pool]:
        secure = asked.get("secureCloud")
        clouds = (SECURE, COMMUNITY) if secure is None else (SECURE if secure else COMMUNITY,)
        center, country = asked.get("dataCenterId"), asked.get("countryCode")
        allowed = asked.get("allowedCudaVersions") or ([asked["cudaVersion"]] if asked.get("cudaVersion") else None)
        cuda = cuda_wish(allowed, asked.get("minCudaVersion"))
        wish = Wish(model.id, asked["gpuCount"], clouds, (center,) if center else (), cuda)
        return [pool for pool in self._cloud.shelf.matching(wish) if country in {None, pool.country}]

    def _cpu_flavors(self, _info: GraphQLResolveInfo[Any], input: Input = None) -> list[dict[str, Any]]:  # noqa: A002 - the API's name
        wanted = (input or {}).get("id")
        return [_flavor(flavor) for flavor in CPUS if wanted in {None, flavor.id}]


def _dollars(micros: int) -> float | None:
    return micros / MICROS if micros else None


def _status(pool: Pool, count: int) -> str | None:
    found = level([pool], count)
    return None if found == "NONE" else found.capitalize()


def _availability(pool: Pool, count: int) -> dict[str, Any]:
    return {
        "id": pool.model.id,
        "gpuTypeId": pool.model.id,
        "displayName": pool.model.name,
        "gpuTypeDisplayName": pool.model.name,
        "available": pool.has(count) > 0,
        "stockStatus": _status(pool, count),
    }


def _versions(pools: list[Pool], count: int) -> list[dict[str, str]]:
    versions = sorted({pool.cuda for pool in pools})
    able = {pool.cuda for pool in pools if pool.has(count)}
    return [{"cudaVersion": one, "availability": "AVAILABLE" if one in able else "UNAVAILABLE"} for one in versions]


def _flavor(flavor: CpuFlavor) -> dict[str, Any]:
    price = flavor.price * flavor.least
    return {
        "id": flavor.id,
        "displayName": flavor.name,
        "groupId": flavor.group,
        "groupName": flavor.group,
        "minVcpu": flavor.least,
        "maxVcpu": flavor.most,
        "ramMultiplier": flavor.ram_per_vcpu,
        "diskLimitPerVcpu": 10,
        "specifics": {"stockStatus": "High", "securePrice": price, "slsPrice": price},
    }
