"""Booting, stopping and destroying a sandbox machine, and what stays."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from machine_kit import LIMIT_S, LoopThread, corners, example_spec, kinds, machine, until

from gpuplug.sandbox.machine import Machine, MachineError, init, isolation, openssh
from gpuplug.sandbox.machine.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_SSHD = {"sshd_enabled": False, "sshd_installed": False}
BOTH_WAYS = [kind for kind in kinds() if kind.values[0]["sshd"] == "asyncssh"]


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    with LoopThread.running() as one:
        yield one


@pytest.fixture
def forgotten_probe() -> Iterator[None]:
    isolation.why_no_bubblewrap.cache_clear()
    yield
    isolation.why_no_bubblewrap.cache_clear()


@pytest.mark.parametrize("kind", corners())
def test_a_stopped_machine_boots_again_with_its_disk_and_runs_the_start_command_again(kind: dict[str, Any]) -> None:
    start = "echo boot >>~/boots; echo this is boot $(wc -l <~/boots)"
    with machine(start, **kind) as one:
        until(lambda: "boot 1" in one.log())
        ports, key = (one.port, one.proxy_port), one.host_key_line
        assert one.ssh("echo kept >/workspace/file || echo kept >~/file").exit_status == 0
        one.stop()
        assert not one.running
        with pytest.raises(ConnectionRefusedError):
            one.ssh("true")
        one.boot()
        assert one.running
        until(lambda: "boot 2" in one.log())
        assert one.log().count("this is boot") == 2
        assert one.ssh("cat /workspace/file || cat ~/file").stdout == b"kept\n"
        assert (one.port, one.proxy_port) == ports
        assert one.host_key_line == key


def test_a_key_added_before_there_is_a_disk_lets_in_too(
    thread: LoopThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, reached, go_on = Disk.make, threading.Event(), threading.Event()

    def held_up(disk: Disk) -> bool:
        reached.set()
        assert go_on.wait(LIMIT_S)
        return make(disk)

    async def boot_and_add(one: Machine) -> None:
        booting = asyncio.create_task(one.boot(LIMIT_S))
        assert await asyncio.to_thread(reached.wait, LIMIT_S)
        try:
            await one.add_key("ssh-ed25519 AAAA later")
        finally:
            go_on.set()
            await booting

    monkeypatch.setattr(Disk, "make", held_up)
    one = Machine(example_spec(tmp_path / "m"))
    try:
        thread.run(boot_and_add(one))
        assert (tmp_path / "m/control/authorized_keys").read_text() == "ssh-ed25519 AAAA later\n"
    finally:
        thread.run(one.destroy())


def test_a_key_added_while_the_machine_is_stopped_lets_in_after_the_boot() -> None:
    with machine(authorized_keys=[]) as one:
        one.stop()
        key = one.user_public_key
        one.add_key(key)
        one.add_key(key)
        one.boot()
        assert one.ssh("true").exit_status == 0


@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_terminate_lets_the_start_command_say_goodbye_and_ends_with_it(kind: dict[str, Any]) -> None:
    with machine("trap 'echo goodbye; exit 143' TERM; echo hello; while :; do sleep 0.05; done", **kind) as one:
        until(lambda: "hello" in one.log())
        mark = one.mark
        one.terminate(LIMIT_S)
        assert one.log().splitlines()[-1] == "goodbye"
        assert (one.running, init.marked(mark)) == (False, set())
        assert one.machine.log_from(len("hello\n")) == b"goodbye\n"


@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_terminate_ends_a_start_command_that_will_not_go_and_a_machine_without_one(kind: dict[str, Any]) -> None:
    for start in ("trap '' TERM; echo hello; while :; do sleep 0.05; done", "echo hello"):
        with machine(start, **kind) as one:
            until(lambda one=one: "hello" in one.log())  # type: ignore[misc]
            mark = one.mark
            one.terminate(0.2)
            assert (one.running, init.marked(mark)) == (False, set())


@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_what_is_mounted_outlives_the_machine(kind: dict[str, Any], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for look in ("nothing yet", "written before"):
        with machine(mounts={"/workspace": kept, "/data/deep": kept}, **kind) as one:
            workspace = one.ssh("cat ${GP_HOME:-/root}/../workspace/note || echo nothing yet").stdout
            deep = one.ssh("cat ${GP_HOME:-/root}/../data/deep/note || echo nothing yet").stdout
            assert workspace == deep == f"{look}\n".encode()
            one.ssh("echo written before >${GP_HOME:-/root}/../data/deep/note")
    assert (kept / "note").read_text() == "written before\n"


@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_an_image_without_an_sshd_names_a_program_that_is_not_there(kind: dict[str, Any]) -> None:
    with machine("[ -e $GP_SSHD ] && echo there || echo missing", **kind, sshd_enabled=False) as one:
        until(lambda: "there" in one.log())
    with machine("[ -e $GP_SSHD ] && echo there || echo missing", **kind, **NO_SSHD) as one:
        until(lambda: "missing" in one.log())


@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_stop_ends_processes_that_will_not_go(kind: dict[str, Any]) -> None:
    start = (
        "trap '' TERM HUP INT; for i in 1 2 3 4 5; do "
        "(setsid sh -c 'trap \"\" TERM; while :; do sleep 0.2; done' &) ; done; echo stubborn; sleep 1000"
    )
    with machine(start, **kind) as one:
        until(lambda: "stubborn" in one.log())
        mark = one.mark
        assert len(init.marked(mark)) > 5
        one.stop()
        assert not init.marked(mark)


@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_ended_processes_leave_no_zombies(kind: dict[str, Any]) -> None:
    with machine("for i in 1 2 3; do (sh -c true &); done; echo done", **kind) as one:
        until(lambda: "done" in one.log())
        for _ in range(3):
            one.ssh("(sleep 0 &); true")
        # A zombie has no environment, but it has a parent: process 1, the first process, or the server.
        family = init.marked(one.mark)
        until(lambda: not {pid for pid, parent in zombies().items() if parent in family})


def zombies() -> dict[int, int]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state == "Z":
                found[int(stat.parent.name)] = int(parent)
    return found


def test_destroy_deletes_what_the_machine_had_closed_and_may_be_repeated() -> None:
    with machine(
        "mkdir -p ~/closed/deep && touch ~/closed/deep/file && chmod 0 ~/closed/deep ~/closed; echo ok"
    ) as one:
        until(lambda: "ok" in one.log())
        one.destroy()
        assert not one.spec.folder.exists()
        assert one.log() == ""
        one.destroy()


def test_a_machine_whose_first_process_is_killed_is_not_running_and_leaves_nothing() -> None:
    start = "(setsid sleep 1000 &); echo up; until [ -e ~/die ]; do sleep 0.02; done; kill -9 $PPID; sleep 1000"
    with machine(start, isolation="variables") as one:
        until(lambda: "up" in one.log())
        mark = one.mark
        assert one.running
        (one.spec.folder / "disk/root/die").touch()
        until(lambda: not one.running)
        assert not init.marked(mark)
        one.boot()
        assert one.running


def test_the_start_command_waits_for_its_delay_and_runs_with_posix_sh() -> None:
    start = 'set -- $(cat "$GP_UPTIME"); echo "at $1"; echo "${BASH_VERSION:-no bash}" $0'
    begin = time.monotonic()
    before = float(Path("/proc/uptime").read_text().split()[0]) if init.ON_LINUX else begin
    with machine(start, start_delay=0.4, isolation="variables") as one:
        until(lambda: "sh" in one.log())
        words = one.log().split()
        assert float(words[1]) >= before + 0.4
        assert words[2:] == ["no", "bash", "/bin/sh"]


def test_a_machine_that_is_not_up_in_time_says_so_and_leaves_nothing() -> None:
    with (
        pytest.raises(MachineError, match=r"machine slow was not up within 0\.01 s"),
        machine(id="slow", boot_s=0.01) as one,
    ):
        pytest.fail(f"{one} is up")


def test_stop_and_destroy_give_up_a_boot_that_goes_on(tmp_path: Path, thread: LoopThread) -> None:
    async def play() -> None:
        for end in (Machine.stop, Machine.destroy):
            rented = Machine(example_spec(tmp_path / "m"))
            booting = asyncio.create_task(rented.boot(timeout=20))
            await asyncio.sleep(0)
            await end(rented)
            with pytest.raises(MachineError, match="was stopped while it booted"):
                await booting
            assert not rented.running
            await rented.destroy()
            with pytest.raises(MachineError, match="is destroyed"):
                await rented.boot(timeout=20)

    thread.run(play())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sshd": "dropbear"}, "sshd 'dropbear' does not exist; it is asyncssh or openssh"),
        ({"isolation": "jail"}, "isolation 'jail' does not exist; it is auto, bubblewrap or variables"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MachineError, match=message), machine(**options):
        pytest.fail("it booted")


@pytest.mark.usefixtures("forgotten_probe")
def test_without_bwrap_the_variables_do_and_demanding_it_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert isolation.choose("auto") == isolation.VARIABLES
    with pytest.raises(MachineError, match="bwrap is not installed"):
        isolation.choose("bubblewrap")


@pytest.mark.usefixtures("forgotten_probe")
def test_a_bwrap_that_is_forbidden_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = tmp_path / "bwrap"
    forbidden.write_text("#!/bin/sh\necho no permissions to create a namespace >&2\nexit 1\n")
    forbidden.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert isolation.choose("auto") == isolation.VARIABLES
    with pytest.raises(MachineError, match="no permissions to create a namespace"):
        isolation.choose("bubblewrap")


def test_openssh_says_clearly_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/sbin/sshd")
    with pytest.raises(MachineError, match="only root can run OpenSSH"):
        openssh.check(isolation.VARIABLES)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(MachineError, match="no sshd on this computer"):
        openssh.check(isolation.BUBBLEWRAP)
