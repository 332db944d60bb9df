"""What GraphQL changes: pods on demand and spot, volumes, keys, registry logins."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.runpod.catalogue import BY_ID, CPU_BY_ID
from gpuplug.sandbox.runpod.graph_rows import Rows, caller_of
from gpuplug.sandbox.runpod.orders import Container, Order, Storage, check, checked_path, cuda_wish, raw_args
from gpuplug.sandbox.runpod.pod_routes import changed_container
from gpuplug.sandbox.runpod.pods import ALIVE, Pod
from gpuplug.sandbox.runpod.problems import bad
from gpuplug.sandbox.runpod.shelf import COMMUNITY, SECURE

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphql import GraphQLResolveInfo

    from gpuplug.sandbox.runpod.cloud import Cloud

Asked = dict[str, Any]
CLOUDS = {"SECURE": (SECURE,), "COMMUNITY": (COMMUNITY,), "ALL": (SECURE, COMMUNITY)}
DEFAULT_MOUNT = "/runpod-volume"
# What a pod's own key may change, of itself.
_OWN = frozenset({"podStop", "podTerminate"})


class Changes:
    """Resolvers of the fields of Mutation."""

    def __init__(self, cloud: Cloud, rows: Rows) -> None:
        self._cloud = cloud
        self._rows = rows

    def fields(self) -> dict[str, Any]:
        """Return the resolvers by field."""
        changes: dict[str, Callable[[Asked], object]] = {
            "podFindAndDeployOnDemand": self._deploy,
            "podRentInterruptable": self._deploy,
            "deployCpuPod": self._deploy_cpu,
            "podStop": self._stop,
            "podResume": self._resume,
            "podBidResume": self._resume,
            "podTerminate": self._terminate,
            "podEditJob": self._edit,
            "updateUserSettings": self._settings,
            "saveRegistryAuth": lambda asked: self._cloud.registers.add_registry(asked["name"]),
            "createNetworkVolume": self._create_volume,
            "deleteNetworkVolume": self._delete_volume,
        }
        return {
            **{name: _resolver(name, change) for name, change in changes.items()},
            "deleteRegistryAuth": self._delete_registry,
        }

    def _deploy(self, asked: Asked) -> Asked:
        order = _order(self._with_template(asked))
        return self._rows.pod(self._cloud.create(order))

    def _deploy_cpu(self, asked: Asked) -> Asked:
        found = re.fullmatch(r"(\w+)-(\d+)-(\d+)", str(asked.get("instanceId")))
        if found is None or found[1] not in CPU_BY_ID:
            raise bad(f"unknown instance id {asked.get('instanceId')!r}")
        full = self._with_template(asked)
        order = Order(
            name=full.get("name") or "pod",
            container=_container(full),
            gpus=(),
            count=0,
            clouds=(SECURE,),
            centers=_centers(full),
            cpu=found[1],
            vcpus=int(found[2]),
            storage=_storage({**full, "volumeInGb": 0}),
            start_ssh=bool(full.get("startSsh")),
        )
        return self._rows.pod(self._cloud.create(order))

    def _with_template(self, asked: Asked) -> Asked:
        number = asked.get("templateId")
        if not number:
            return asked
        row = self._cloud.registers.template(number)
        own = {name: value for name, value in asked.items() if value not in {None, ""} or name == "env"}
        taken = {
            "imageName": row["image"],
            "containerDiskInGb": row["disk"],
            "ports": ",".join(row["ports"]),
            "dockerArgs": row["args"],
        }
        env = {**row["env"], **_env(asked)}
        return {**taken, **own, "env": [{"key": name, "value": value} for name, value in env.items()]}

    def _pod(self, asked: Asked) -> Pod:
        pod = self._cloud.pods.get(asked["podId"])
        if pod is None:
            raise bad("pod not found")
        return pod

    def _stop(self, asked: Asked) -> Asked:
        pod = self._pod(asked)
        if pod.status in ALIVE:
            self._cloud.stop(pod)
        return self._rows.pod(pod)

    def _resume(self, asked: Asked) -> Asked:
        pod = self._pod(asked)
        if pod.status in ALIVE:
            raise bad("pod is already running")
        bid = asked.get("bidPerGpu")
        if (bid is None) != (pod.bid is None):
            raise bad("only an interruptible pod is resumed with a bid, and only with one")
        self._cloud.start(pod, None if bid is None else round(bid * MICROS))
        return self._rows.pod(pod)

    def _terminate(self, asked: Asked) -> None:
        if asked["podId"] not in self._cloud.pods:
            raise bad("pod not found to terminate")
        self._cloud.destroy(self._pod(asked))

    def _edit(self, asked: Asked) -> Asked:
        pod = self._pod(asked)
        body = {
            "image": asked.get("imageName"),
            "args": asked.get("dockerArgs"),
            "disk": asked.get("containerDiskInGb"),
            "ports": None if asked.get("ports") is None else _ports(asked),
            "env": None if asked.get("env") is None else _env(asked),
        }
        pod.container = changed_container(pod, {name: value for name, value in body.items() if value is not None})
        self._cloud.life.bill(pod)
        if pod.status in ALIVE:
            self._cloud.life.restart(pod, anew=True)
        return self._rows.pod(pod)

    def _settings(self, asked: Asked) -> Asked:
        if asked.get("pubKey") is not None:
            self._cloud.account.ssh_keys = [key for key in asked["pubKey"].splitlines() if key.strip()]
        return self._rows.user()

    def _create_volume(self, asked: Asked) -> Asked:
        body = {"name": asked["name"], "size": asked["size"], "dataCenter": asked["dataCenterId"]}
        return self._rows.volume(self._cloud.store.create(body))

    def _delete_volume(self, asked: Asked) -> bool:
        self._cloud.delete_volume(self._cloud.store.need(asked["id"]))
        return True

    def _delete_registry(self, info: GraphQLResolveInfo[Any], registryAuthId: str) -> bool:  # noqa: N803 - the API's name
        caller_of(info).must_be_account()
        if self._cloud.registers.registries.pop(registryAuthId, None) is None:
            raise bad("registry auth not found")
        return True


def _resolver(name: str, change: Callable[[Asked], object]) -> Callable[..., object]:
    def resolve(info: GraphQLResolveInfo[Any], input: Asked | None = None) -> object:  # noqa: A002 - the API's name
        asked = input or {}
        caller = caller_of(info)
        if name in _OWN:
            caller.must_own(str(asked.get("podId")))
        else:
            caller.must_be_account()
        return change(asked)

    return resolve


def _order(asked: Asked) -> Order:
    gpus = tuple(asked.get("gpuTypeIdList") or [asked.get("gpuTypeId") or ""])
    if unknown := [gpu for gpu in gpus if gpu not in BY_ID]:
        raise bad(f"unknown gpu type id {unknown[0]!r}")
    bid = asked.get("bidPerGpu")
    allowed = asked.get("allowedCudaVersions") or ([asked["cudaVersion"]] if asked.get("cudaVersion") else None)
    return Order(
        name=asked.get("name") or "pod",
        container=_container(asked),
        gpus=gpus,
        count=asked.get("gpuCount") or 1,
        clouds=CLOUDS[asked.get("cloudType") or "ALL"],
        centers=_centers(asked),
        cuda=cuda_wish(allowed, asked.get("minCudaVersion")),
        storage=_storage(asked),
        global_networking=bool(asked.get("globalNetwork")),
        start_ssh=bool(asked.get("startSsh")),
        start_jupyter=bool(asked.get("startJupyter")),
        bid=None if bid is None else round(bid * MICROS),
        stop_at=_moment(asked.get("stopAfter")),
        end_at=_moment(asked.get("terminateAfter")),
    )


def _container(asked: Asked) -> Container:
    entrypoint, cmd = raw_args(asked.get("dockerArgs") or "")
    made = Container(
        image=asked.get("imageName") or "",
        disk=asked.get("containerDiskInGb") or 10,
        env=_env(asked),
        ports=_ports(asked),
        entrypoint=entrypoint or None,
        cmd=cmd or None,
        registry=asked.get("containerRegistryAuthId") or None,
    )
    check(made)
    return made


def _env(asked: Asked) -> dict[str, str]:
    return {pair["key"]: pair["value"] for pair in asked.get("env") or []}


def _ports(asked: Asked) -> list[str]:
    return [port.strip() for port in (asked.get("ports") or "").split(",") if port.strip()]


def _centers(asked: Asked) -> tuple[str, ...]:
    return (asked["dataCenterId"],) if asked.get("dataCenterId") else ()


def _storage(asked: Asked) -> Storage:
    path = asked.get("volumeMountPath") or DEFAULT_MOUNT
    if asked.get("networkVolumeId"):
        return Storage(checked_path(path), volume_id=asked["networkVolumeId"])
    size = asked.get("volumeInGb") or 0
    return Storage(checked_path(path), size) if size else Storage()


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise bad(f"{text!r} is not an ISO 8601 time") from None
