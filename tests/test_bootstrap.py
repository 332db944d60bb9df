"""The start command, run by real shells in a folder of the test; one test ends at a real sshd."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from providers_kit import Api, serving
from switch_kit import SHELLS, Machine, eventually, key_pair, machines

from gpuplug.errors import UsageError
from gpuplug.providers._start import SelfDestroy, start_command
from gpuplug.types import Secret, StartParams

Make = Callable[..., Machine]
VAST = SelfDestroy("https://console.vast.ai/api/v0/instances/$CONTAINER_ID/", "CONTAINER_API_KEY")


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        yield server


@pytest.fixture
def make(api: Api, tmp_path: Path) -> Iterator[Make]:
    with machines(tmp_path, api.url) as make:
        yield make


def params(host_key: Secret, user_key: str, nonce: str = "0123456789abcdef0123456789abcdef") -> StartParams:
    return StartParams(host_key, user_key, nonce, 900, 86_400, 86_400)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_injected_host_key_is_put_in_place_and_named_in_the_log(make: Make, shell: str) -> None:
    machine = make(shell=shell)
    printed = machine.boot()
    etc = machine.root / "ssh"
    assert printed == f"gpuplug-hostkey nonce-1 {machine.host_public}\n"
    assert (etc / "ssh_host_ed25519_key.pub").read_text().strip() == machine.host_public
    read_back = subprocess.run(
        ["ssh-keygen", "-y", "-f", etc / "ssh_host_ed25519_key"], capture_output=True, text=True, check=True
    ).stdout
    assert read_back.split()[:2] == machine.host_public.split()
    assert mode(etc / "ssh_host_ed25519_key") == 0o600


def test_host_keys_that_came_with_the_image_are_removed(make: Make) -> None:
    machine = make()
    etc = machine.root / "ssh"
    etc.mkdir()
    for name in ("ssh_host_rsa_key", "ssh_host_rsa_key.pub", "ssh_host_ecdsa_key"):
        (etc / name).write_text("baked into the image")
    machine.boot()
    assert sorted(one.name for one in etc.iterdir()) == ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"]


def test_a_rotated_host_key_survives_a_restart_and_is_the_one_in_the_log(make: Make) -> None:
    machine = make()
    machine.boot()
    key = machine.root / "ssh" / "ssh_host_ed25519_key"
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (machine.state / "rotated").touch()
    rotated = Path(f"{key}.pub").read_text().split()
    assert machine.boot().split()[2:] == rotated[:2]
    assert rotated[1] not in machine.host_public


@pytest.mark.parametrize("before", [None, "", "ssh-rsa AAAA other\n", "ssh-rsa AAAA last line without its end"])
def test_the_user_key_is_added_once_and_others_stay(make: Make, before: str | None) -> None:
    machine = make()
    keys = machine.root / "home" / ".ssh" / "authorized_keys"
    keys.parent.mkdir()
    if before is not None:
        keys.write_text(before)
    machine.boot()
    machine.boot()
    lines = [line for line in keys.read_text().splitlines() if line]
    assert [line.split()[:2] for line in lines if "ed25519" in line] == [machine.user_public.split()]
    assert lines[:-1] == (before or "").splitlines()
    assert mode(keys) == 0o600
    assert mode(keys.parent) == 0o700


def test_the_running_sshd_gets_hup_and_no_other_is_started(make: Make) -> None:
    machine = make()
    with subprocess.Popen(["sleep", "60"]) as sshd:
        (machine.root / "sshd.pid").write_text(f"{sshd.pid}\n")
        machine.boot()
        assert sshd.wait(10) == -signal.SIGHUP
    assert not (machine.root / "sshd.log").exists()


@pytest.mark.parametrize("pid", [None, "", "garbage", "999999999"])
def test_sshd_is_started_when_none_runs(make: Make, pid: str | None) -> None:
    machine = make()
    if pid is not None:
        (machine.root / "sshd.pid").write_text(pid)
    machine.boot()
    assert (machine.root / "sshd.log").read_text() == "started\n"


def test_the_log_of_the_first_process_gets_the_line_too(make: Make) -> None:
    machine = make()
    (machine.root / "fd").mkdir()
    (machine.root / "fd" / "1").write_text("")
    printed = machine.boot()
    assert (machine.root / "fd" / "1").read_text() == printed


def test_settings_in_effect_are_kept_for_whoever_rotates_the_key(make: Make, tmp_path: Path) -> None:
    machine = make()
    machine.root = tmp_path / "it's $(odd) `place`"
    machine.__post_init__()
    machine.boot()
    script = '. "$1"; printf "%s\\n" "$GP_HOME" "$GP_ETC_SSH" "$GP_SSHD_PID"'
    settings = machine.state / "env"
    read = subprocess.run(["sh", "-c", script, "sh", settings], capture_output=True, text=True, check=True).stdout
    assert read.splitlines() == [str(machine.root / name) for name in ("home", "ssh", "sshd.pid")]
    assert mode(settings) == 0o600
    assert mode(machine.state) == 0o700


def test_no_private_key_is_left_beside_the_host_key(make: Make) -> None:
    machine = make()
    machine.boot()
    eventually(lambda: bool(machine.read("state")), "the switch runs")
    secret = machine.host_key.reveal().split("\n")[1]
    holders = [one for one in machine.root.rglob("*") if one.is_file() and secret in one.read_text(errors="replace")]
    assert holders == [machine.root / "ssh" / "ssh_host_ed25519_key"]
    environ = Path(f"/proc/{machine.pid()}/environ").read_bytes()
    assert secret.encode() not in environ


def test_the_switch_is_armed_even_when_ssh_cannot_be_set_up(make: Make) -> None:
    machine = make()
    (machine.root / "ssh").write_text("no folder")
    machine.boot(complains=True)
    eventually(lambda: bool(machine.read("beat")), "the switch runs")


@pytest.mark.openssh
@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="sshd is absent")
def test_a_real_sshd_shows_the_injected_key_and_lets_the_user_in(make: Make) -> None:
    machine = make()
    private, machine.user_public = key_pair()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = machine.root / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {machine.root}/ssh/ssh_host_ed25519_key\n"
        f"AuthorizedKeysFile {machine.root}/home/.ssh/authorized_keys\nPidFile {machine.root}/sshd.pid\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\n"
    )
    (machine.root / "sshd.sh").write_text(f'#!/bin/sh\nmkdir -p /run/sshd\n/usr/sbin/sshd -f "{config}"\n')
    machine.boot()
    eventually((machine.root / "sshd.pid").exists, "sshd")
    user_key = machine.root / "user_key"
    user_key.touch(0o600)
    user_key.write_text(private.reveal())
    (machine.root / "known").write_text(f"[127.0.0.1]:{port} {machine.host_public}\n")
    options = f"-F /dev/null -oStrictHostKeyChecking=yes -oUserKnownHostsFile={machine.root}/known -oBatchMode=yes"
    answer = subprocess.run(
        ["ssh", *options.split(), "-i", user_key, "-p", str(port), "127.0.0.1", "echo in"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert answer.stdout == "in\n", answer.stderr


def test_the_command_fits_into_what_vast_takes_and_is_always_the_same() -> None:
    host_key, _ = key_pair()
    _, user_key = key_pair()
    command = start_command(params(host_key, f"{user_key} somebody@laptop"), VAST)
    assert len(command) <= 4048
    assert command == start_command(params(host_key, user_key), VAST)
    with pytest.raises(UsageError, match="more than 1000"):
        start_command(params(host_key, user_key), VAST, limit=1000)


@pytest.mark.parametrize("nonce", ["", "a b", "$(id)", "`id`", "a;b", "a'b", "a\nb", "a\0b", 'a"b', "ä", "a|b", "~"])
def test_a_value_that_means_something_to_a_shell_is_refused(nonce: str) -> None:
    host_key, _ = key_pair()
    _, user_key = key_pair()
    with pytest.raises(UsageError, match="GP_NONCE"):
        start_command(params(host_key, user_key, nonce), VAST)


@pytest.mark.parametrize(
    "url", ["https://a/$(id)/", "https://a/$ID/;id", "https://a/", "https://a/$A/$B", "https://a b/$ID/"]
)
def test_an_address_that_means_something_to_a_shell_is_refused(url: str) -> None:
    host_key, _ = key_pair()
    _, user_key = key_pair()
    with pytest.raises(UsageError):
        start_command(params(host_key, user_key), SelfDestroy(url, "KEY"))


def test_a_broken_host_key_is_refused_without_being_shown() -> None:
    _, user_key = key_pair()
    with pytest.raises(UsageError) as caught:
        start_command(params(Secret("geheim; id"), user_key), VAST)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("name", ["bootstrap.sh", "deadman.sh"])
def test_the_scripts_are_plain_posix_shell(name: str) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is absent")
    script = Path(__file__).parents[1] / "src" / "gpuplug" / "agent" / name
    found = subprocess.run(["shellcheck", "-s", "sh", script], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_the_whole_command_is_one_line_of_printable_ascii() -> None:
    host_key, _ = key_pair()
    _, user_key = key_pair()
    command = start_command(params(host_key, user_key), VAST)
    assert command.isascii()
    assert command.isprintable()
    assert os.linesep not in command
