"""Debian's own sshd as a machine's SSH server: whether it can run here, and its configuration."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplug.sandbox.machine import isolation
from gpuplug.sandbox.machine.spec import MachineError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEPARATION_FOLDER = Path("/run/sshd")


@dataclass(frozen=True)
class SshdPaths:
    """Where sshd finds and leaves its files, as it sees them."""

    port: int
    host_key: str
    pid_file: str
    authorized_keys_files: tuple[str, ...]


def program() -> str:
    """Return the path of sshd.

    Raises:
        MachineError: it is not installed.
    """
    found = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not found:
        msg = "there is no sshd on this computer; install openssh-server or use sshd='asyncssh'"
        raise MachineError(msg)
    return found


def check(mode: str) -> None:
    """Raise where OpenSSH cannot serve root of a machine.

    Raises:
        MachineError: sshd is missing, or needs what only bubblewrap or a root user can give it.
    """
    program()
    if mode == isolation.BUBBLEWRAP:
        return
    if os.geteuid() != 0:
        msg = "without bubblewrap only root can run OpenSSH for user root; use sshd='asyncssh'"
        raise MachineError(msg)
    if not _SEPARATION_FOLDER.is_dir():
        msg = f"without bubblewrap OpenSSH needs {_SEPARATION_FOLDER}, which does not exist; use sshd='asyncssh'"
        raise MachineError(msg)


def configuration(paths: SshdPaths, env: Mapping[str, str], *, change_home: bool) -> str:
    """Return the text of an sshd_config.

    `change_home`: the account's home is not the machine's, so that every command first goes to the latter.
    """
    lines = [
        f"Port {paths.port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {_quoted(paths.host_key)}",
        f"PidFile {_quoted(paths.pid_file)}",
        "AuthorizedKeysFile " + " ".join(_quoted(path.replace("%", "%%")) for path in paths.authorized_keys_files),
        "AllowUsers root",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",
        "UseDNS no",
        "PermitUserRC no",
        "PrintMotd no",
        "PrintLastLog no",
        "X11Forwarding no",
        "LogLevel VERBOSE",
        "SetEnv " + " ".join(_quoted(f"{name}={value}") for name, value in env.items()),
    ]
    if change_home:
        # A terminal's login would be recorded in this computer's own files.
        lines += ["PermitTTY no", 'ForceCommand cd "$HOME" && exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"']
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
