"""What the first process of a pod does, run by real shells in a folder of the test: images with and without an SSH server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from providers_kit import Answer, Api, serving
from runpod_rows_kit import LABEL, POD
from switch_kit import SHELLS, eventually, key_pair

from gpuplug.providers.runpod import orders
from gpuplug.types import Money, Secret, Spec, StartParams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POD_KEY = "rpa_POD0123456789"
# What every image has; package managers are added by the tests.
TOOLS = """base64 cat chmod cmp cp curl cut dirname env grep gunzip gzip head kill ln ls mkdir mv nohup printf rm sed setsid
sleep ssh-keygen tail tr true"""


@dataclass
class Pod:
    """One container of a pod: its disk is `root`; `volume` outlives it."""

    root: Path
    volume: Path
    url: str
    host_key: Secret
    host_public: str
    shell: str = "dash"
    mounted: bool = False
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.bin = self.root / "bin"
        for folder in ("home", "ssh", "bin", "sbin"):
            (self.root / folder).mkdir(parents=True)
        for tool in TOOLS.split():
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        (self.bin / "sh").symlink_to(shutil.which(self.shell) or "/bin/sh")
        self.program("bin/python3", f'exec {sys.executable} "$@"')
        # Nothing serves a port here: who asks for the key that is served is told the one that is in place.
        self.program("bin/ssh-keyscan", f'echo "127.0.0.1 $(cat {self.root}/ssh/ssh_host_ed25519_key.pub)"')
        (self.root / "uptime").write_text("1000.00 1.00\n")
        (self.root / "environ").write_text(f"RUNPOD_POD_ID={POD}\0RUNPOD_API_KEY={POD_KEY}\0")

    @property
    def state(self) -> Path:
        return self.root / "home" / ".gpuplug"

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    @property
    def line(self) -> str:
        return f"gpuplug-hostkey nonce-1 {self.host_public}"

    def program(self, name: str, text: str) -> None:
        path = self.root / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def with_sshd(self) -> Pod:
        self.program("sbin/sshd", f'echo started >>"{self.root}/sshd.log"')
        return self

    def start(self) -> Pod:
        start = StartParams(self.host_key, key_pair()[1], "nonce-1", 900, 3600, 0)
        spec = Spec("ubuntu:24.04", 20, Money(0), start, volume_gb=20 if self.mounted else 0)
        environ = {
            "PATH": str(self.bin),
            "GP_HOME": str(self.root / "home"),
            "GP_ETC_SSH": str(self.root / "ssh"),
            "GP_INIT_ENVIRON": str(self.root / "environ"),
            "GP_UPTIME": str(self.root / "uptime"),
            "GP_SSHD_PID": str(self.root / "sshd.pid"),
            "GP_SSHD": str(self.root / "sbin" / "sshd"),
            "GP_PERIOD": "0.05",
            "GP_VOLUME": str(self.volume),
            "GP_IMAGE_START": str(self.root / "start.sh"),
        }
        with (self.root / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.bin / "sh", "-c", orders.script(spec, LABEL, self.url)], env=environ, stdout=log, stderr=log
            )
        return self

    def ready(self) -> Pod:
        eventually(lambda: self.line in self.log.splitlines(), "the line of the host key")
        return self

    def armed(self) -> None:
        state = self.state / "switch" / "state"
        eventually(lambda: state.exists() and state.read_text() == "armed\n", "armed")

    def end(self) -> None:
        """End every process that names this container's folder in its environment."""
        mark = f"GP_HOME={self.root / 'home'}".encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid() and mark in _environ(folder):
                subprocess.run(["kill", "-KILL", folder.name], check=False, stderr=subprocess.DEVNULL)
        if self.process is not None:
            self.process.wait()


def _environ(folder: Path) -> bytes:
    try:
        return (folder / "environ").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        server.on(f"GET /v2/pods/{POD}", Answer({"id": POD}))
        yield server


@pytest.fixture
def make(api: Api, tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    made: list[Pod] = []
    keys = key_pair()
    (tmp_path / "volume").mkdir()

    def pod(**terms: object) -> Pod:
        made.append(Pod(tmp_path / str(len(made)), tmp_path / "volume", api.url, *keys, **terms))  # type: ignore[arg-type]
        return made[-1]

    yield pod
    for one in made:
        one.end()


@pytest.mark.parametrize("shell", SHELLS)
def test_an_image_with_an_ssh_server_is_ready_without_an_installation(make: Callable[..., Pod], shell: str) -> None:
    pod = make(shell=shell).with_sshd()
    pod.program("bin/apt-get", "exit 7")
    pod.start().ready()
    assert (pod.root / "sshd.log").read_text() == "started\n"
    assert "installing" not in pod.log
    assert pod.process is not None
    assert pod.process.poll() is None


@pytest.mark.parametrize("shell", SHELLS)
def test_an_image_without_one_gets_it_after_the_switch_is_armed(make: Callable[..., Pod], api: Api, shell: str) -> None:
    pod = make(shell=shell)
    sshd = f"printf '%s\\n' '#!/bin/sh' 'echo started >>\"{pod.root}/sshd.log\"' >{pod.root}/sbin/sshd"
    pod.program(
        "bin/apt-get",
        f'echo "$DEBIAN_FRONTEND $*" >>{pod.root}/apt.log; case $* in *install*) ;; *) exit 100 ;; esac\n'
        f"until [ -s {pod.state}/switch/state ]; do sleep 0.05; done; cp {pod.state}/switch/pid {pod.root}/armed_first\n"
        f"{sshd}; chmod 755 {pod.root}/sbin/sshd; echo noise",
    )
    pod.start().ready()
    assert (pod.root / "sshd.log").read_text() == "started\n"
    assert (pod.root / "armed_first").exists()
    assert (pod.root / "apt.log").read_text().splitlines() == [
        "noninteractive update -q",
        "noninteractive install -q -y --no-install-recommends openssh-server",
    ]
    assert "noise" not in pod.log
    (seen, *_) = api.wait("GET", f"/v2/pods/{POD}")
    assert seen.headers["authorization"] == f"Bearer {POD_KEY}"


@pytest.mark.parametrize(
    ("manager", "package"), [("apk", "openssh"), ("dnf", "openssh-server"), ("yum", "openssh-server")]
)
def test_other_package_managers_are_known(make: Callable[..., Pod], manager: str, package: str) -> None:
    pod = make()
    pod.program(f"bin/{manager}", f'echo "$*" >>{pod.root}/installed; echo "E: no network"; exit 1')
    pod.start()
    eventually(lambda: "gpuplug-failed" in pod.log, "the failure")
    assert package in (pod.root / "installed").read_text()
    assert "gpuplug-failed no SSH server could be installed: E: no network" in pod.log.splitlines()


def test_where_nothing_can_be_installed_it_is_said_and_the_switch_stays_armed(make: Callable[..., Pod]) -> None:
    pod = make().start()
    wanted = "gpuplug-failed no SSH server could be installed: no apt-get, apk, dnf or yum"
    eventually(lambda: wanted in pod.log.splitlines(), "the failure")
    pod.armed()
    assert pod.process is not None
    assert pod.process.poll() is None


def test_python_alone_is_enough_to_arm_the_switch_and_it_says_who_it_is(make: Callable[..., Pod], api: Api) -> None:
    pod = make().with_sshd()
    (pod.bin / "curl").unlink(missing_ok=True)
    pod.start().ready()
    (seen, *_) = api.wait("GET", f"/v2/pods/{POD}")
    assert seen.headers["user-agent"] == "gpuplug"
    pod.armed()


@pytest.mark.parametrize("ends", ["exit 1", "exec sleep 60"])
def test_the_images_own_start_script_runs_and_its_end_does_not_end_the_pod(make: Callable[..., Pod], ends: str) -> None:
    pod = make().with_sshd()
    pod.program("start.sh", f"echo own script; {ends}")
    pod.start().ready()
    eventually(lambda: "own script" in pod.log, "the image's own script")
    assert pod.process is not None
    assert pod.process.poll() is None


def test_a_stop_takes_the_disk_and_leaves_the_host_key_the_journals_and_the_working_folder(
    make: Callable[..., Pod],
) -> None:
    first = make(mounted=True).with_sshd().start().ready()
    key = first.root / "ssh" / "ssh_host_ed25519_key"
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (first.state / "rotated").touch()
    rotated = " ".join(Path(f"{key}.pub").read_text().split()[:2])
    (first.state / "kernels" / "nb").mkdir()
    (first.root / "home" / "gpuplug" / "nb").mkdir()
    (first.root / "home" / "gpuplug" / "nb" / "out.txt").write_text("kept")
    kept = first.volume / ".gpuplug" / LABEL
    eventually(lambda: (kept / "host_key").exists() and (kept / "host_key").read_bytes() == key.read_bytes(), "kept")
    first.end()
    shutil.rmtree(first.root)

    second = make(mounted=True).with_sshd()
    (second.root / "ssh" / "ssh_host_rsa_key").write_text("came with the image")
    second.host_public = rotated
    second.start().ready()
    assert (second.state / "rotated").exists()
    assert not (second.root / "ssh" / "ssh_host_rsa_key").exists()
    assert (second.root / "home" / "gpuplug" / "nb" / "out.txt").read_text() == "kept"
    assert (second.state / "kernels" / "nb").is_dir()
    assert not (second.state / "switch").is_symlink()


def _catches(pid: int, number: signal.Signals) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (number - 1) & 1)


def test_the_notice_that_the_pod_is_taken_away_reaches_the_cells_and_leaves_them_their_seconds(
    make: Callable[..., Pod],
) -> None:
    pod = make().with_sshd().start().ready()
    (pod.state / "kernels" / "nb").mkdir(parents=True)
    (pod.state / "kernels" / "none").mkdir()
    with subprocess.Popen(["sleep", "60"]) as kernel:
        (pod.state / "kernels" / "nb" / "pid").write_text(f"{kernel.pid}\n")
        (pod.state / "kernels" / "none" / "pid").write_text("1\n")
        assert pod.process is not None
        number = pod.process.pid
        eventually(lambda: _catches(number, signal.SIGTERM), "heed SIGTERM")
        pod.process.send_signal(signal.SIGTERM)
        assert kernel.wait(15) == -signal.SIGTERM
    assert pod.process.poll() is None


def test_a_full_or_broken_volume_keeps_neither_switch_nor_ssh_from_starting(make: Callable[..., Pod]) -> None:
    pod = make(mounted=True).with_sshd()
    pod.volume.rmdir()
    pod.volume.write_text("no folder")
    pod.start().ready()
    pod.armed()


def test_without_a_volume_nothing_is_written_to_where_one_would_be(make: Callable[..., Pod]) -> None:
    pod = make().with_sshd().start().ready()
    assert list(pod.volume.iterdir()) == []
    assert not (pod.state / "kernels").exists()


@pytest.mark.parametrize("name", ["prepare.sh", "process1.sh"])
def test_the_scripts_are_plain_posix_shell(name: str) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is absent")
    script = Path(orders.__file__).parent / name
    found = subprocess.run(["shellcheck", "-s", "sh", script], capture_output=True, text=True, check=False)
    assert found.stdout == ""
