"""A machine changes nothing outside its folder and leaves no process behind, however nasty its start command."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from machine_kit import corners, kinds, machine, until

from gpuplug.sandbox.machine import init, isolation

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH_WAYS = [kind for kind in kinds() if kind.values[0]["sshd"] == "asyncssh"]
ONLY_BUBBLEWRAP = pytest.mark.skipif(bool(isolation.why_no_bubblewrap()), reason=isolation.why_no_bubblewrap())
DOUBLE_FORK = (
    "import os, sys, time\n"
    "if os.fork(): sys.exit()\n"
    "os.setsid(); os.closerange(0, 3); os.chdir('/')\n"
    "if os.fork(): os._exit(0)\n"
    "os.execvpe('sleep', ['sleep', sys.argv[1]], {'PATH': '/usr/bin:/bin'})\n"
)
NASTY = r"""
umask 000
mkdir -p ~/.ssh && echo 'ssh-ed25519 AAAA nasty' >>~/.ssh/authorized_keys
echo nasty >"${GP_ETC_SSH:-/etc/ssh}/nasty"
ssh-keygen -q -t ed25519 -N '' -f ~/made
mv ~/made "${GP_ETC_SSH:-/etc/ssh}/ssh_host_ed25519_key"
kill -HUP "$(cat "${GP_SSHD_PID:-/run/sshd.pid}")"
setsid sleep @naps@ &
(setsid sh -c 'trap "" TERM HUP INT; sleep @naps@ & while :; do sleep @naps@; done' &)
python -c "$CODE" @naps@
echo nasty >"$(mktemp)"
trap '' TERM HUP INT
echo all done
sleep @naps@
"""


@pytest.fixture
def naps() -> Iterator[str]:
    """Seconds to sleep that no other program sleeps: what shows that a process is one of the test's."""
    seconds = f"86399.{secrets.randbits(48)}"
    yield seconds
    init.kill_until_none(lambda: sleepers(seconds), 2)


def sleepers(seconds: str) -> set[int]:
    found = set()
    for pid in init.process_parents():
        with contextlib.suppress(OSError):
            if seconds.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def nasty_command(naps: str) -> str:
    return NASTY.replace("@naps@", naps)


def fingerprint() -> dict[str, str]:
    """Return what a machine of bad manners would change: SSH's files, and the names in home and /etc."""
    found = {}
    for folder in (Path("/etc/ssh"), Path.home() / ".ssh"):
        for path in [folder, *folder.rglob("*")]:
            if path.is_file():
                content = path.read_bytes() if os.access(path, os.R_OK) else b""
                found[str(path)] = f"{path.stat().st_mtime_ns} {hashlib.sha256(content).hexdigest()}"
            elif path.exists():
                found[str(path)] = str(path.stat().st_mtime_ns)
    for folder in (Path.home(), Path("/etc")):
        found[f"{folder}/*"] = ", ".join(sorted(os.listdir(folder)))  # noqa: PTH208 - names are what is compared
    return found


@pytest.mark.skipif(not init.ON_LINUX, reason="looks into /proc")
@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_a_nasty_machine_writes_only_in_its_folder_and_all_its_processes_end(
    kind: dict[str, Any], naps: str, tmp_path: Path
) -> None:
    before = fingerprint()
    with machine(nasty_command(naps), folder=tmp_path / "m", env={"CODE": DOUBLE_FORK}, **kind) as one:
        until(lambda: "all done" in one.log())
        until(lambda: len(sleepers(naps)) >= 7)
        assert (tmp_path / "m/disk/root/.ssh/authorized_keys").read_text().endswith("nasty\n")
        assert (tmp_path / "m/disk/etc/ssh/nasty").exists()
        assert any((tmp_path / "m/disk/tmp").iterdir())
        assert fingerprint() == before
        one.ssh(f"setsid sleep {naps} >/dev/null 2>&1 </dev/null &")
        one.stop()
        assert not sleepers(naps)
        one.boot()
        until(lambda: len(sleepers(naps)) >= 7)
        one.destroy()
        assert not sleepers(naps)
        assert not any(tmp_path.iterdir())
    assert fingerprint() == before


@pytest.mark.skipif(not init.ON_LINUX, reason="looks into /proc")
@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_a_machine_ends_when_its_parent_is_killed(kind: dict[str, Any], naps: str, tmp_path: Path) -> None:
    code = (
        "import sys, os, machine_kit as kit, pathlib\n"
        "options = {'isolation': sys.argv[1], 'folder': pathlib.Path(sys.argv[2]) / 'm'}\n"
        "with kit.machine(sys.argv[3], env={'CODE': sys.argv[4]}, **options) as one:\n"
        "    kit.until(lambda: 'all done' in one.log())\n"
        "    one.ssh('setsid sleep %s >/dev/null 2>&1 </dev/null &' % sys.argv[5])\n"
        "    print('booted', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    # Roots for files that the killed parent cannot remove itself.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code, kind["isolation"], str(tmp_path), nasty_command(naps), DOUBLE_FORK, naps]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"booted\n"
        mark = mark_of(tmp_path / "m")
        until(lambda: len(sleepers(naps) - {parent.pid}) >= 8)
        parent.send_signal(signal.SIGKILL)
    until(lambda: not (sleepers(naps) - {parent.pid}), 2)
    until(lambda: not init.marked(mark), 2)


def mark_of(folder: Path) -> str:
    environ = (folder / "control/environ").read_text().split("\0")
    return next(line for line in environ if line.startswith("SANDBOX_MACHINE="))


@pytest.mark.bubblewrap
@ONLY_BUBBLEWRAP
def test_in_its_own_view_a_machine_can_neither_see_nor_signal_nor_write_what_is_ours(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("ours")
    with subprocess.Popen(["/bin/sleep", "60"]) as bystander, machine(isolation="bubblewrap") as one:
        attempts = [
            f"cat {secret}",
            f"kill -9 {bystander.pid}",
            "touch /usr/nasty",
            "touch /machine/control/nasty",
            "touch /nasty",
            "mount -o remount,rw /usr",
            "mount -t tmpfs none /usr",
            "echo 1 >/proc/sys/kernel/printk",
            "test -e /etc/ssh/ssh_config",
            "ls /home/*",
        ]
        done = {attempt: one.ssh(attempt).exit_status for attempt in attempts}
        first = one.ssh("tr '\\0' ' ' </proc/1/cmdline; ls -d /proc/[0-9]* | wc -l").stdout
        spared = bystander.poll() is None
        bystander.kill()
    assert [attempt for attempt, status in done.items() if status == 0] == []
    assert spared
    assert isinstance(first, bytes)
    command, count = first.decode().rsplit(maxsplit=1)
    assert "init.py" in command
    assert int(count) < 12


@pytest.mark.bubblewrap
@ONLY_BUBBLEWRAP
def test_links_left_on_the_disk_do_not_lead_the_next_boot_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = outside / "authorized_keys"
    target.write_text("untouched")
    with machine("", isolation="bubblewrap") as one:
        one.stop()
        disk = one.spec.folder / "disk"
        for name in ("fonts", "alternatives", "localtime", "hosts"):
            place = disk / "etc" / name
            if place.is_dir():
                shutil.rmtree(place)
            place.unlink(missing_ok=True)
            place.symlink_to(outside if name == "fonts" else target)
        (disk / "root/.ssh/authorized_keys").symlink_to(target)
        one.boot()
        one.add_key(one.user_public_key)
        assert one.ssh("true").exit_status == 0
        one.destroy()
    assert [path.name for path in outside.iterdir()] == ["authorized_keys"]
    assert target.read_text() == "untouched"


def test_the_key_of_the_first_process_is_in_no_argument_and_in_no_session() -> None:
    key = secrets.token_hex(32)
    with machine("echo up", env={"CONTAINER_API_KEY": key}) as one:
        until(lambda: "up" in one.log())
        arguments = subprocess.run(["/bin/ps", "-axww", "-o", "args="], capture_output=True, check=True).stdout
        assert key.encode() not in arguments
        environments = one.ssh("env; cat /proc/self/environ /proc/$PPID/environ").stdout
        assert isinstance(environments, bytes)
        assert key.encode() not in environments


@pytest.mark.parametrize("kind", corners())
def test_a_folder_name_with_spaces_and_quotes_is_just_a_name(kind: dict[str, Any]) -> None:
    with (
        tempfile.TemporaryDirectory(prefix='it\'s a "disk" 100% $HOME ') as folder,
        machine("nvidia-smi -L", folder=Path(folder) / "m", **kind) as one,
    ):
        until(lambda: "GPU 0" in one.log())
        assert one.ssh("nvidia-smi -L | wc -l").stdout == b"1\n"
