"""The user's side of SSH for tests: a configuration, known_hosts and keys of their own, read by the real `ssh`."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from streams_kit import HOST, Sshd

from gpuplug.streams.known import connect
from gpuplug.streams.ssh import KeyPair, make_key
from gpuplug.testing.streams import read_all
from gpuplug.types import SshTarget

if TYPE_CHECKING:
    from pathlib import Path

    from machine_kit import MachineFromOutside

SSH = shutil.which("ssh") or ""
needs_ssh = [pytest.mark.openssh, pytest.mark.skipif(not SSH, reason="there is no ssh client")]
PATIENCE_S = 30.0


@dataclass
class User:
    """A user whose `ssh` reads `config` alone; `config`, `known_hosts` and `key` lie in `folder`."""

    folder: Path
    key: KeyPair

    @property
    def key_file(self) -> Path:
        return self.folder / "id_test"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def configure(self, text: str = "") -> None:
        """Write a configuration: `text`, and what holds for every host."""
        (self.folder / "config").write_text(
            f"{text}\nHost *\n  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n"
            f"  IdentityFile {self.key_file}\n"
        )

    def know(self, *lines: str) -> None:
        """Replace known_hosts."""
        self.known_hosts.write_text("".join(f"{line}\n" for line in lines))

    def ssh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the real client with this user's files; it never asks."""
        return subprocess.run(
            ["ssh", "-o", "BatchMode=yes", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def make_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """Make a user in `folder` and put its `ssh` first on PATH; no agent."""
    folder.mkdir(parents=True, exist_ok=True)
    user = User(folder, make_key())
    user.key_file.write_text(user.key.private.reveal())
    user.key_file.chmod(0o600)
    user.configure()
    programs = folder / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {SSH} -F "{folder}/config" "$@"\n')
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return user


def known_line(port: int, public: str, host: str = "127.0.0.1") -> str:
    """Return the line of known_hosts for a server on loopback."""
    return f"[{host}]:{port} {public}"


def me() -> str:
    return getpass.getuser()


def let_in(user: User, machine: MachineFromOutside) -> None:
    """Make the machine known to the user, and the user's key known to the machine."""
    machine.add_key(user.key.public)
    user.know(known_line(machine.port, machine.host_key_line))


HI = b"hi\n"


def authorize(server: Sshd, *keys: KeyPair) -> None:
    (server.folder / "authorized_keys").write_text("".join(f"{key.public}\n" for key in keys))


def at(server: Sshd) -> SshTarget:
    return SshTarget(HOST, me(), server.port)


def greeting(target: SshTarget) -> bytes:
    connection = connect(target)
    try:
        return read_all(connection.run("echo hi"))
    finally:
        connection.close()


def attempts(server: Sshd) -> int:
    """How often anybody tried to authenticate, by the server's own log."""
    return len(re.findall(r"(Accepted|Failed|Postponed|Connection closed by authenticating)", server.log))
