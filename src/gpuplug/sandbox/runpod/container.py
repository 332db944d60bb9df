"""The machine of a pod: what its image runs at the start, its environment, its folders."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from gpuplug.sandbox.catalogue import BY_NAME
from gpuplug.sandbox.faults import NO_EGRESS
from gpuplug.sandbox.machine import Machine, MachineSpec
from gpuplug.sandbox.runpod.catalogue import DRIVERS
from gpuplug.sandbox.runpod.pods import LOOPBACK, memory_gb, vcpus

if TYPE_CHECKING:
    from pathlib import Path

    from gpuplug.sandbox.faults import Fault
    from gpuplug.sandbox.runpod.orders import Container
    from gpuplug.sandbox.runpod.pods import Pod

# What /start.sh of the service's own images does, as far as SSH is concerned.
START = r"""
etc=${GP_ETC_SSH:-/etc/ssh} home=${GP_HOME:-$HOME}
echo "Pod Started"
if [ -n "$PUBLIC_KEY" ]; then
  echo "Setting up SSH..."
  mkdir -p "$home/.ssh"
  printf '%s\n' "$PUBLIC_KEY" >>"$home/.ssh/authorized_keys"
  chmod 700 "$home/.ssh"
  if [ ! -e "$etc/made_here" ]; then
    rm -f "$etc"/ssh_host_*
    ssh-keygen -q -t ed25519 -N '' -f "$etc/ssh_host_ed25519_key"
    : >"$etc/made_here"
  fi
  "$GP_SSHD"
  echo "SSH host keys:"
  for key in "$etc"/*.pub; do
    echo "Key: $key"
    ssh-keygen -lf "$key"
  done
fi
env | grep -E '^(RUNPOD_|PATH=|_=)' | sed 's/^\([^=]*\)=\(.*\)/export \1="\2"/' >"${etc%/ssh}/rp_environment"
grep -qs rp_environment "$home/.bashrc" || echo "source ${etc%/ssh}/rp_environment" >>"$home/.bashrc"
echo "Start script(s) finished, Pod is ready to use."
exec sleep infinity
"""


def start_command(made: Container) -> str:
    """Return what the container runs; entrypoint or command of the user replace the image's own."""
    if made.entrypoint or made.cmd:
        return "exec " + shlex.join([*(made.entrypoint or []), *(made.cmd or [])])
    return START if made.official else ""


def machine_of(pod: Pod, *, folder: Path, network: Path | None, sshd: str) -> Machine:
    """Make the machine of a pod below `folder`; `network` is where its network volume lies."""
    quirks, made, storage = pod.quirks, pod.container, pod.storage
    mounts = {}
    if storage.path:
        mounts[storage.path] = network or folder / "volume"
        mounts[storage.path].mkdir(parents=True, exist_ok=True)
    name, vram, count = _gpu(pod)
    cuda = "12.8" if pod.pool is None else pod.pool.cuda
    env = environment(pod)
    machine = Machine(
        MachineSpec(
            folder=folder / str(pod.generation),
            id=pod.id,
            image=made.image,
            start_command=start_command(made),
            env=env,
            authorized_keys=[],
            gpu_name=name,
            gpu_count=count,
            vram_mb=vram,
            driver=DRIVERS[cuda],
            cuda=cuda,
            sshd=sshd,
            start_delay=_seconds(quirks.get("start_delay")),
            auth_lag=_seconds(quirks.get("auth_lag")),
            sshd_enabled=False,
            sshd_installed=made.has_sshd and "no_sshd" not in quirks,
            fixed_host_key="fixed_host_key" in quirks,
            mounts=mounts,
        )
    )
    if 22 in made.tcp_ports:  # noqa: PLR2004 - SSH
        # The container is told its public port, so the port is there before it is.
        env["RUNPOD_TCP_PORT_22"] = str(machine.link.reserve())
    return machine


def _gpu(pod: Pod) -> tuple[str, int, int]:
    """Return name, memory in MiB and number of the GPUs that are really inside."""
    if pod.pool is None or "zero_gpus" in pod.quirks:
        return "", 0, 0
    if "wrong_gpu" in pod.quirks:
        model = BY_NAME[str(pod.quirks["wrong_gpu"].more.get("gpu", "Tesla T4"))]
        return model.name, model.vram, pod.order.count
    return pod.pool.model.id, pod.pool.model.vram, pod.order.count


def _seconds(fault: Fault | None) -> float:
    return 0.0 if fault is None else fault.number("seconds", 5)


def environment(pod: Pod) -> dict[str, str]:
    """Return the environment of the container's first process: the user's, and the service's own on top."""
    own = {
        "RUNPOD_POD_ID": pod.id,
        "RUNPOD_API_KEY": pod.key,
        "RUNPOD_DC_ID": pod.center or "",
        "RUNPOD_POD_HOSTNAME": pod.host_id,
        "RUNPOD_GPU_COUNT": str(pod.order.count),
        "RUNPOD_CPU_COUNT": str(vcpus(pod)),
        "RUNPOD_MEM_GB": str(memory_gb(pod)),
        "RUNPOD_PUBLIC_IP": LOOPBACK,
    }
    if pod.storage.volume_id is not None:
        own["RUNPOD_VOLUME_ID"] = pod.storage.volume_id
    if pod.container.official and pod.pool is not None:
        own |= {"CUDA_VERSION": pod.pool.cuda, "PYTORCH_VERSION": "2.8.0"}
    return {**pod.container.env, **own, **(NO_EGRESS if "no_egress" in pod.quirks else {})}
