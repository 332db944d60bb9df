"""The body of a create: what runs in the pod from its first process on, and what is mounted there."""

from __future__ import annotations

import importlib.resources
import json
import re
from typing import TYPE_CHECKING

from gpuplug.errors import UsageError
from gpuplug.providers._api import checked_image, checked_label
from gpuplug.providers._start import SelfDestroy, start_command
from gpuplug.providers.runpod.rows import BID_VARIABLE, LABEL_VARIABLE
from gpuplug.types import Cloud, SelfStop

if TYPE_CHECKING:
    from gpuplug.types import Offer, Spec

MOUNT_PATH = "/workspace"
LEAST_DISK_GB = 20
LEAST_VOLUME_GB = 10
# The service takes 100 KiB in all; nothing a shell reads here has a limit of its own.
_MOST_CHARACTERS = 60_000
_END = "GP_END_OF_FILE"
_GPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()+-]{0,99}")
_VOLUME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def disk_gb(wished: int) -> int:
    """Return the size of the container's disk: smaller ones than 20 GB are often refused."""
    return max(LEAST_DISK_GB, wished)


def check_volumes(volume_gb: int, network_volume: str) -> None:
    """Raise UsageError for volumes that no pod can have."""
    if volume_gb and network_volume:
        raise UsageError("a pod has either a volume of its own or a network volume", hint="leave --volume out")
    if volume_gb and volume_gb < LEAST_VOLUME_GB:
        raise UsageError(f"a volume of {volume_gb} GB is too small", hint=f"--volume {LEAST_VOLUME_GB}")
    if network_volume and not _VOLUME.fullmatch(network_volume):
        raise UsageError(
            f"{network_volume!r} is no id of a network volume", hint="leave --network-volume out, or copy its id there"
        )


def offer_parts(offer: Offer) -> tuple[str, Cloud]:
    """Return the GPU type's id and the cloud that `offer` names.

    Raises:
        UsageError: it is no offer of this provider.
    """
    gpu_id, _, cloud = offer.id.rpartition("/")
    if not _GPU.fullmatch(gpu_id) or cloud not in {one.name for one in Cloud}:
        raise UsageError(f"{offer.id!r} is no offer of runpod")
    return gpu_id, Cloud[cloud]


def body(offer: Offer, spec: Spec, label: str, base: str, center: str) -> dict[str, object]:
    """Return the body for `POST /v2/pods`; `center` is the data center of the network volume, or "".

    It holds the injected host key: treat it as a secret.

    Raises:
        UsageError: a value that cannot be sent.
    """
    gpu_id, cloud = offer_parts(offer)
    wanted: dict[str, object] = {
        "name": label,
        "image": spec.image,
        # The service takes neither for granted, whatever its description says.
        "cloud": cloud.name,
        "gpu": {"id": gpu_id, "count": offer.gpu_count, **({"minCudaVersion": offer.cuda} if offer.cuda else {})},
        "disk": disk_gb(spec.disk_gb),
        "ports": ["22/tcp"],
        "env": variables(spec, label),
        "entrypoint": ["/bin/sh"],
        "cmd": ["-c", script(spec, label, base)],
    }
    # A limit and no preference: where none of them has room the create is refused.
    if offer.places:
        wanted["dataCenterIds"] = list(offer.places)
    if spec.volume_gb:
        wanted["mounts"] = {"persistent": {"size": spec.volume_gb, "path": MOUNT_PATH}}
    if spec.network_volume:
        wanted["mounts"] = {"network": [{"volumeId": spec.network_volume, "path": MOUNT_PATH}]}
        wanted["dataCenterIds"] = [center]
    return wanted


def spot_input(offer: Offer, spec: Spec, label: str, base: str, center: str) -> dict[str, object]:
    """Return the input of the mutation `podRentInterruptable`, which the REST API has no counterpart of.

    Raises:
        UsageError: a value that cannot be sent.
    """
    gpu_id, cloud = offer_parts(offer)
    env = {**variables(spec, label), BID_VARIABLE: f"{bid(spec, offer.gpu_count):.6f}"}
    wanted: dict[str, object] = {
        "bidPerGpu": bid(spec, offer.gpu_count),
        "name": label,
        "imageName": spec.image,
        "cloudType": cloud.name,
        "gpuTypeId": gpu_id,
        "gpuCount": offer.gpu_count,
        "supportPublicIp": True,
        "containerDiskInGb": disk_gb(spec.disk_gb),
        "volumeInGb": spec.volume_gb,
        "ports": "22/tcp",
        "env": [{"key": name, "value": value} for name, value in env.items()],
        "dockerArgs": json.dumps({"entrypoint": ["/bin/sh"], "cmd": ["-c", script(spec, label, base)]}),
    }
    if spec.volume_gb or spec.network_volume:
        wanted["volumeMountPath"] = MOUNT_PATH
    if spec.network_volume:
        wanted |= {"networkVolumeId": spec.network_volume, "dataCenterId": center}
    return wanted


def bid(spec: Spec, gpu_count: int) -> float:
    """Return the bid for one GPU and hour in dollars, rounded down to a micro-dollar."""
    if spec.bid is None:
        raise UsageError("a spot machine needs a bid")
    return (spec.bid.micros // gpu_count) / 1_000_000


def self_stop(base: str) -> SelfStop:
    """Return how a pod asks for its own rest."""
    url = f"{base}/v2/pods/$RUNPOD_POD_ID/action"
    return SelfStop(url, "RUNPOD_POD_ID", "RUNPOD_API_KEY", "POST", {"action": "stop"})


def variables(spec: Spec, label: str) -> dict[str, str]:
    """Return the pod's environment."""
    return {
        LABEL_VARIABLE: label,
        # Read by the start script of the provider's own images.
        "PUBLIC_KEY": spec.start.user_key,
        # Some images name an ordinary user; the start command needs root.
        "RUNPOD_POD_USER": "0",
    }


def script(spec: Spec, label: str, base: str) -> str:
    """Return what the first process of the pod runs: start command, SSH server, and then for ever.

    Raises:
        UsageError: a value that cannot be sent.
    """
    checked_label(label)
    checked_image(spec.image)
    destroy = SelfDestroy(f"{base}/v2/pods/$RUNPOD_POD_ID", "RUNPOD_API_KEY")
    mounted = spec.volume_gb or spec.network_volume
    keep = f"${{GP_VOLUME:-{MOUNT_PATH}}}/.gpuplug/{label}" if mounted else ""
    return "\n".join(
        [
            f'export GP_KEEP="{keep}"',
            '(umask 077; d=${GP_HOME:-${HOME:-/root}}/.gpuplug; mkdir -p "$d"; ' + f"cat >\"$d/prepare.sh\" <<'{_END}'",
            f"{_file('prepare.sh')}{_END}",
            ")",
            start_command(spec.start, destroy, limit=_MOST_CHARACTERS),
            _file("process1.sh"),
        ]
    )


def _file(name: str) -> str:
    return (importlib.resources.files("gpuplug.providers.runpod") / name).read_text("utf-8")
