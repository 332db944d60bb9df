"""Where the bench runs: a machine with its own sshd, reached directly, and what is at hand to say of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from machine_kit import machine

from gpuplug.sandbox.machine import MachineError, isolation, openssh
from gpuplug.session import Session
from gpuplug.streams.ssh import connect
from gpuplug.types import Endpoint, Identity, Secret, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = Path("/dev/shm")
_ROOM = 1 << 30
_DELAY = Path(__file__).with_name("delay.py")


@dataclass(frozen=True)
class Place:
    """A machine as SSH sees it."""

    host: str
    port: int
    user: str
    user_key: str
    host_key: str

    @contextlib.contextmanager
    def session(self, kernel: str) -> Iterator[Session]:
        """Return a session that is not open yet, on a connection that is."""
        connection = connect(Endpoint(self.host, self.port, self.user), Identity(Secret(self.user_key), self.host_key))
        session = Session(lambda: connection, kernel, clock=SystemClock(), on_link=lambda _: None)
        try:
            yield session
        finally:
            session.close()
            connection.close()

    @contextlib.contextmanager
    def behind(self, round_trip_s: float) -> Iterator[Place]:
        """Return the same machine, further away: a process of its own holds all bytes back, both ways."""
        command = [sys.executable, "-I", str(_DELAY), str(self.port), str(round_trip_s / 2)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                yield replace(self, port=int(process.stdout.readline()))
            finally:
                process.terminate()


def sshd() -> str:
    """Return the SSH server that a rented machine most likely has, where that can run; else the one in Python."""
    try:
        openssh.check(isolation.choose("auto"))
    except MachineError:
        return "asyncssh"
    return "openssh"


def disk() -> str:
    """Return where the machine's disk lies: in memory if that can be, so that no other disk's noise is measured."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        return str(_MEMORY)
    return tempfile.gettempdir()


@contextlib.contextmanager
def rented() -> Iterator[Place]:
    """Boot a machine; its sshd is reached without the breakable network in front, which is Python."""
    usual, tempfile.tempdir = tempfile.tempdir, disk()
    try:
        booting = machine(sshd=sshd())
        host = booting.__enter__()
    finally:
        tempfile.tempdir = usual
    with contextlib.ExitStack() as stack:
        stack.push(booting)
        port = host.machine._sshd_port  # noqa: SLF001 - nobody but a bench wants to go past the link
        assert port is not None
        yield Place(host.host, port.number, host.user, host.user_key, host.host_key_line)
