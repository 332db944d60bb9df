"""What a create request asks for, from either API, checked against the service's rules."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.runpod.catalogue import BY_ID, CPU_BY_ID, CUDA_VERSIONS
from gpuplug.sandbox.runpod.problems import bad, no_capacity

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_VARIABLES = 50
DEFAULT_DISK = 20
_PORT = re.compile(r"^\d{1,5}/(tcp|http)$")


@dataclass(slots=True)
class Container:
    """What runs in a pod; a change of it begins with an empty disk."""

    image: str
    disk: int = DEFAULT_DISK
    env: dict[str, str] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    registry: str | None = None

    @property
    def args(self) -> str:
        """Entrypoint and command in their raw form."""
        if self.entrypoint is not None:
            return json.dumps({"entrypoint": self.entrypoint, "cmd": self.cmd or []})
        return shlex.join(self.cmd or [])

    @property
    def has_sshd(self) -> bool:
        """Whether the image has an sshd: the service's own images and those whose name says so."""
        return self.official or any(word in self.image.lower() for word in ("ssh", "pytorch"))

    @property
    def official(self) -> bool:
        """Whether it is one of the service's own images, whose start script reads PUBLIC_KEY."""
        return self.image.startswith("runpod/")

    @property
    def tcp_ports(self) -> list[int]:
        """The ports that get one of the machine's."""
        return [int(port.split("/")[0]) for port in self.ports if port.endswith("/tcp")]

    @property
    def http_ports(self) -> list[int]:
        """The ports that the service's proxy carries."""
        return [int(port.split("/")[0]) for port in self.ports if port.endswith("/http")]


@dataclass(slots=True)
class Storage:
    """What of a pod's disk survives: `size` GB on the host at `path`, or a network volume there, or nothing."""

    path: str = ""
    size: int = 0
    volume_id: str | None = None


@dataclass(slots=True)
class Order:
    """One accepted create request; `bid` is micro-dollars per GPU and hour, None for an ordinary pod.

    `stop_at` and `end_at` are Unix times at which the service itself stops or terminates the pod.
    """

    name: str
    container: Container
    gpus: tuple[str, ...]
    count: int
    clouds: tuple[str, ...]
    centers: tuple[str, ...] = ()
    cuda: tuple[str, ...] = CUDA_VERSIONS
    cpu: str | None = None
    vcpus: int = 0
    storage: Storage = field(default_factory=Storage)
    global_networking: bool = False
    start_ssh: bool = False
    start_jupyter: bool = False
    bid: int | None = None
    stop_at: float | None = None
    end_at: float | None = None


def parse(body: Mapping[str, Any]) -> Order:
    """Read the body of `POST /v2/pods`, already in its shape and with its template's fields.

    Raises:
        Problem: a rule is broken.
    """
    gpu, cpu = body.get("gpu"), body.get("cpu")
    if (gpu is None) == (cpu is None):
        raise bad("exactly one of gpu or cpu must be provided")
    return Order(
        name=body["name"],
        container=container(body),
        gpus=() if gpu is None else _gpu(gpu),
        count=0 if gpu is None else gpu["count"],
        clouds=(body.get("cloud", "SECURE"),),
        centers=tuple(body.get("dataCenterIds", ())),
        cuda=CUDA_VERSIONS if gpu is None else cuda_wish(gpu.get("allowedCudaVersions"), gpu.get("minCudaVersion")),
        cpu=None if cpu is None else _cpu(cpu),
        vcpus=0 if cpu is None else cpu["vcpuCount"],
        storage=_storage(body.get("mounts", {}), on_cpu=cpu is not None),
        global_networking=body.get("globalNetworking", False),
        start_ssh=body.get("startSsh", False),
        start_jupyter=body.get("startJupyter", False),
    )


def container(body: Mapping[str, Any]) -> Container:
    """Read the container's settings.

    Raises:
        Problem: a rule is broken.
    """
    entrypoint, cmd = body.get("entrypoint"), body.get("cmd")
    if body.get("args"):
        entrypoint, cmd = _told_twice(body["args"], entrypoint, cmd)
    made = Container(
        image=body["image"],
        disk=body.get("disk", DEFAULT_DISK),
        env=dict(body.get("env", {})),
        ports=list(body.get("ports", ())),
        entrypoint=entrypoint or None,
        cmd=cmd or None,
        registry=body.get("registry"),
    )
    check(made)
    return made


def check(made: Container) -> None:
    """Raise Problem where the container breaks a rule of the service."""
    if not made.image:
        raise bad("image must not be empty")
    if len(made.env) > MAX_VARIABLES:
        raise bad(f"at most {MAX_VARIABLES} environment variables are allowed, got {len(made.env)}")
    for port in made.ports:
        if not _PORT.match(port):
            raise bad(f"invalid port {port!r}: expected <port>/tcp or <port>/http")


def raw_args(text: str) -> tuple[list[str] | None, list[str] | None]:
    """Return entrypoint and command of the raw form: a JSON object, or a shell string.

    Raises:
        Problem: it is neither.
    """
    if text.lstrip().startswith("{"):
        try:
            both = json.loads(text)
        except ValueError:
            raise bad("args is not valid JSON") from None
        return both.get("entrypoint"), both.get("cmd")
    try:
        return None, shlex.split(text)
    except ValueError as error:
        raise bad(f"args: {error}") from None


def cuda_wish(allowed: list[str] | None, least: str | None) -> tuple[str, ...]:
    """Return the versions of CUDA that a machine may have."""
    return tuple(
        version
        for version in CUDA_VERSIONS
        if (not allowed or version in allowed) and (not least or _order(version) >= _order(least))
    )


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _told_twice(
    args: str, entrypoint: list[str] | None, cmd: list[str] | None
) -> tuple[list[str] | None, list[str] | None]:
    told = raw_args(args)
    if (entrypoint and entrypoint != told[0]) or (cmd and cmd != told[1]):
        raise bad("args and entrypoint/cmd say different things")
    return told


def _gpu(gpu: Mapping[str, Any]) -> tuple[str, ...]:
    if "count" not in gpu:
        # The documented default of 1 is not applied: the service finds no machine with no GPUs.
        raise no_capacity()
    if gpu["id"] not in BY_ID:
        raise bad(f"unknown gpu id {gpu['id']!r}")
    return (gpu["id"],)


def _cpu(cpu: Mapping[str, Any]) -> str:
    flavor = CPU_BY_ID.get(cpu["id"])
    count: int = cpu["vcpuCount"]
    if flavor is None:
        raise bad(f"unknown cpu id {cpu['id']!r}")
    if count & (count - 1) or not flavor.least <= count <= flavor.most:
        raise bad(f"vcpuCount must be a power of 2 from {flavor.least} to {flavor.most}, got {count}")
    return flavor.id


def _storage(mounts: Mapping[str, Any], *, on_cpu: bool) -> Storage:
    persistent, network = mounts.get("persistent"), mounts.get("network")
    if persistent is not None and network is not None:
        raise bad("mounts.persistent and mounts.network are mutually exclusive")
    if persistent is not None:
        if on_cpu:
            raise bad("mounts.persistent is not supported on cpu pods")
        return Storage(checked_path(persistent["path"]), persistent["size"])
    if network:
        return Storage(checked_path(network[0]["path"]), volume_id=network[0]["volumeId"])
    return Storage()


def checked_path(path: str) -> str:
    """Return a mount path.

    Raises:
        Problem: it is not absolute.
    """
    if not path.startswith("/") or path == "/" or ".." in path.split("/"):
        raise bad(f"mount path must be absolute, got {path!r}")
    return path.rstrip("/")
