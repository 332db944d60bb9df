"""What a machine is made of, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - dataclasses.fields() users resolve the annotation
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class MachineError(Exception):
    """A machine cannot be made or booted here; the message says why and what to do instead."""


@dataclass(frozen=True)
class MachineSpec:
    """One rented instance.

    Attributes:
        folder: its disk; made at the first boot, removed by `destroy()`. No two machines may share it.
        id: what the market calls it.
        image: what was asked for; a name only, since every machine runs this computer's own programs.
        start_command: run by `sh -c` at each boot, after sshd is up.
        env: environment of the first process (its key, its id); SSH sessions do not inherit it.
        authorized_keys: public keys that may log in besides those in the machine's ~/.ssh/authorized_keys.
        gpu_name: what `nvidia-smi` says, without the maker's name: `RTX 4090`.
        gpu_count: how many GPUs `nvidia-smi` lists.
        vram_mb: memory of one GPU, MiB.
        driver: version of the GPU driver.
        cuda: newest CUDA version that the driver supports.
        sshd: `asyncssh` (Python, runs everywhere) or `openssh` (the real /usr/sbin/sshd).
        start_delay: seconds from "sshd is up" to the start command.
        auth_lag: seconds from "sshd is up" during which every key is refused.
        sshd_enabled: False makes an image without a running sshd; `$GP_SSHD` starts one.
        sshd_installed: False makes an image without an sshd: `$GP_SSHD` names a program that is not there until
            `apt-get install openssh-server` was run.
        mounts: folders of this computer that stand at other paths of the machine, and outlive it.
        fixed_host_key: sshd keeps the key that the image was built with, whatever the start command does.
        isolation: `bubblewrap` (own view of files and processes), `variables` (own folder only), or
            `auto`: bubblewrap where it works.
    """

    folder: Path
    id: str
    image: str
    start_command: str
    env: dict[str, str] = field(repr=False)
    authorized_keys: list[str]
    gpu_name: str
    gpu_count: int
    vram_mb: int
    driver: str
    cuda: str
    sshd: str = "asyncssh"
    start_delay: float = 0.3
    auth_lag: float = 0.0
    sshd_enabled: bool = True
    sshd_installed: bool = True
    mounts: Mapping[str, Path] = field(default_factory=dict)
    fixed_host_key: bool = False
    isolation: str = "auto"
