"""How a person reaches an instance with their own ssh: a command that pins its host key and names its key file."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from gpuplug.engine.ending import KNOWN_HOSTS
from gpuplug.errors import HostError, NotReadyError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from gpuplug.ledger import Lease
    from gpuplug.providers import Provider
    from gpuplug.types import Endpoint


def ssh_command(provider: Provider, lease: Lease, keys: Path) -> str:
    """Return the command; asks the provider where the instance answers, and writes the known host beside its key.

    Holds no secret: it names the file of the key.

    Raises:
        UsageError: an instance of this platform is not reached by a key of its own.
        HostError: its keys lie on another computer, its host key is not proven yet, or it is gone.
        NotReadyError: it has no address yet.
    """
    if not provider.traits.identity:
        raise UsageError(f"an instance on {provider.name} is not reached by ssh from here")
    key = keys / lease.label
    if not key.exists():
        raise HostError(f"the keys of #{lease.instance_id} lie on the computer that rented it")
    if not lease.rotated:
        raise HostError(f"the host key of #{lease.instance_id} is not proven yet", hint="run a cell there first")
    instance = provider.show(lease.instance_id)
    if instance is None:
        raise HostError(f"#{lease.instance_id} does not exist any more at {provider.name}", hint="%gpu ls")
    if not instance.endpoints:
        raise NotReadyError(f"#{lease.instance_id} has no address yet")
    direct = next((each for each in instance.endpoints if each.via == "direct"), instance.endpoints[0])
    known = _write_known_host(keys / f"{lease.label}{KNOWN_HOSTS}", lease)
    return _command(direct, lease, key, known)


def _write_known_host(path: Path, lease: Lease) -> Path:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{lease.label} {lease.host_key}\n")
    return path


def _command(endpoint: Endpoint, lease: Lease, key: Path, known: Path) -> str:
    options = (
        "IdentitiesOnly=yes",
        f"UserKnownHostsFile={known}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={lease.label}",
        "StrictHostKeyChecking=yes",
    )
    words = ["ssh", "-i", str(key), *(word for option in options for word in ("-o", option))]
    return shlex.join([*words, "-p", str(endpoint.port), "--", f"{endpoint.user}@{endpoint.host}"])
