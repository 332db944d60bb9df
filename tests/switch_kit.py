"""A pretended instance: the real start command run by a real shell, with every path in a folder of the test."""

from __future__ import annotations

import base64
import contextlib
import gzip
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from providers_kit import Answer, Api, serving

from gpuplug.providers._start import SelfDestroy, start_command
from gpuplug.types import Secret, StartParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INSTANCE = "424242"
OWN = f"/api/v0/instances/{INSTANCE}/"
INSTANCE_KEY = "instance-key-0123456789abcdef"
WAIT_S = 15.0
SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is absent"), id=shell)
    for shell in ("dash", "busybox", "bash")
]


@contextlib.contextmanager
def provider() -> Iterator[Api]:
    """Serve a provider that knows one instance, and ends it when asked."""
    with serving() as server:
        server.on(f"GET {OWN}", Answer({"instances": {"id": int(INSTANCE)}}))
        server.on(f"DELETE {OWN}", Answer({"success": True}))
        yield server


def key_pair() -> tuple[Secret, str]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Secret(private), public


def assignments(command: str) -> dict[str, str]:
    """Return what a start command sets for its scripts."""
    blob = re.search(r"printf %s ([A-Za-z0-9+/=]+)\|base64", command)
    assert blob is not None
    lines = gzip.decompress(base64.b64decode(blob[1])).decode().splitlines()
    return dict(line.split("=", 1) for line in itertools.takewhile(lambda line: line.startswith("GP_"), lines))


def eventually(check: Callable[[], bool], what: str) -> None:
    """Poll until `check` holds; the processes watched here can tell nobody."""
    end = time.monotonic() + WAIT_S
    pause = subprocess.run  # a child process yields the processor without a fixed sleep
    while not check():
        assert time.monotonic() < end, f"not seen: {what}"
        pause(["true"], check=True)


@dataclass
class Machine:
    """Paths, clock and processes of one pretended instance."""

    root: Path
    url: str
    shell: str = "dash"
    path: str = os.environ["PATH"]
    period: str = "0.05"
    lease_s: int = 900
    hard_s: int = 86_400
    budget_s: int = 0
    host_key: Secret = field(default_factory=lambda: Secret(""))
    host_public: str = ""
    user_public: str = ""

    def __post_init__(self) -> None:
        self.host_key, self.host_public = key_pair()
        _, self.user_public = key_pair()
        (self.root / "home").mkdir(parents=True)
        (self.root / "shell").mkdir()
        (self.root / "shell" / "sh").symlink_to(shutil.which(self.shell) or "/bin/sh")
        self.uptime(1000)
        self.environ(CONTAINER_ID=INSTANCE, CONTAINER_API_KEY=INSTANCE_KEY)
        (self.root / "sshd.sh").write_text(f'#!/bin/sh\necho started >>"{self.root}/sshd.log"\n')
        (self.root / "sshd.sh").chmod(0o755)

    @property
    def state(self) -> Path:
        return self.root / "home" / ".gpuplug"

    @property
    def switch(self) -> Path:
        return self.state / "switch"

    def uptime(self, seconds: float) -> None:
        (self.root / "uptime.new").write_text(f"{seconds:.2f} 99.00\n")
        (self.root / "uptime.new").replace(self.root / "uptime")

    def environ(self, **values: str) -> None:
        text = "".join(f"{name}={value}\0" for name, value in values.items())
        (self.root / "environ").write_text("PATH=/bin\0" + text)

    def read(self, name: str) -> str:
        try:
            return (self.switch / name).read_text().strip()
        except FileNotFoundError:
            return ""

    def write(self, name: str, text: str) -> None:
        (self.switch / f"{name}.test").write_text(text)
        (self.switch / f"{name}.test").replace(self.switch / name)

    def command(self) -> str:
        start = StartParams(self.host_key, self.user_public, "nonce-1", self.lease_s, self.hard_s, self.budget_s)
        return start_command(start, SelfDestroy(f"{self.url}/api/v0/instances/$CONTAINER_ID/", "CONTAINER_API_KEY"))

    def boot(self, *, complains: bool = False) -> str:
        """Run the start command as the provider does at each container start; return what it printed."""
        variables = {
            "PATH": f"{self.root / 'shell'}:{self.path}",
            "GP_HOME": str(self.root / "home"),
            "GP_ETC_SSH": str(self.root / "ssh"),
            "GP_INIT_ENVIRON": str(self.root / "environ"),
            "GP_UPTIME": str(self.root / "uptime"),
            "GP_SSHD_PID": str(self.root / "sshd.pid"),
            "GP_SSHD": str(self.root / "sshd.sh"),
            "GP_PERIOD": self.period,
        }
        done = subprocess.run(
            [self.root / "shell" / "sh", "-c", self.command()],
            env=variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert complains == bool(done.stderr), done.stderr
        return done.stdout

    def armed(self) -> None:
        self.boot()
        eventually(lambda: self.read("state") == "armed", "armed")

    def beats(self) -> None:
        """Wait until the switch has looked at the clock as it stands now."""
        now = (self.root / "uptime").read_text().partition(".")[0]
        eventually(lambda: self.read("beat") == now, f"beat {now}")

    def pid(self) -> int:
        eventually(lambda: self.read("pid").isdigit(), "pid of the switch")
        return int(self.read("pid"))

    def close(self) -> None:
        """End every process whose command line names this machine's folder."""
        mark = str(self.root).encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid() and mark in _cmdline(folder):
                _kill(int(folder.name))


@contextlib.contextmanager
def machines(root: Path, url: str) -> Iterator[Callable[..., Machine]]:
    """Yield a maker of machines, and end all their processes afterwards."""
    made: list[Machine] = []

    def machine(**terms: Any) -> Machine:  # noqa: ANN401 - the fields of Machine
        made.append(Machine(root / str(len(made)), url, **terms))
        return made[-1]

    try:
        yield machine
    finally:
        for one in made:
            one.close()


def _cmdline(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
