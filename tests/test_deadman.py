"""The dead man's switch, run by real shells against a real HTTP server."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from providers_kit import Answer, Api, Seen
from switch_kit import INSTANCE, INSTANCE_KEY, OWN, SHELLS, Machine, eventually, machines, provider

Make = Callable[..., Machine]


@pytest.fixture
def api() -> Iterator[Api]:
    with provider() as server:
        yield server


@pytest.fixture
def make(api: Api, tmp_path: Path) -> Iterator[Make]:
    with machines(tmp_path, api.url) as make:
        yield make


def tools(folder: Path, *leave_out: str) -> str:
    """Return a PATH with everything that the scripts use except some programs."""
    names = "base64 cat chmod curl cut grep gunzip gzip head mkdir mv python3 rm sed setsid sleep ssh-keygen tr wget"
    folder.mkdir()
    for name in names.split():
        # Not a version manager's wrapper, which would need more programs.
        found = sys.executable if name == "python3" else shutil.which(name)
        if found and name not in leave_out:
            (folder / name).symlink_to(found)
    return str(folder)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_instance_ends_itself_when_nobody_is_in_touch_for_a_lease(api: Api, make: Make, shell: str) -> None:
    machine = make(shell=shell, lease_s=60)
    machine.armed()
    machine.uptime(1059)
    machine.beats()
    assert not api.calls("DELETE")
    machine.uptime(1060)
    seen = api.wait("DELETE", OWN)[0]
    assert seen.headers["authorization"] == f"Bearer {INSTANCE_KEY}"
    assert machine.read("state") == "ending lease"


@pytest.mark.parametrize("shell", SHELLS)
def test_contact_renews_the_lease(api: Api, make: Make, shell: str) -> None:
    machine = make(shell=shell, lease_s=60)
    machine.armed()
    machine.write("contact", "1050.75\n")
    machine.uptime(1109)
    machine.beats()
    assert machine.read("state") == "armed"
    machine.uptime(1110)
    api.wait("DELETE", OWN)


def test_the_lease_can_be_changed_while_it_runs(api: Api, make: Make) -> None:
    machine = make(lease_s=60)
    machine.armed()
    machine.write("lease", "600\n")
    machine.uptime(1599)
    machine.beats()
    assert not api.calls("DELETE")
    machine.uptime(1600)
    api.wait("DELETE", OWN)


@pytest.mark.parametrize(("terms", "why"), [({"hard_s": 500}, "hard"), ({"budget_s": 500}, "budget")])
def test_the_hard_end_and_the_budget_end_it_although_somebody_is_in_touch(
    api: Api, make: Make, terms: dict[str, int], why: str
) -> None:
    machine = make(**terms)
    machine.armed()
    machine.write("contact", "1499\n")
    machine.uptime(1499)
    machine.beats()
    assert not api.calls("DELETE")
    machine.uptime(1500)
    api.wait("DELETE", OWN)
    assert machine.read("state") == f"ending {why}"


def test_a_budget_set_later_counts(api: Api, make: Make) -> None:
    machine = make()
    machine.armed()
    assert machine.read("budget") == ""
    machine.write("budget", "1100.5\n")
    machine.uptime(1100)
    api.wait("DELETE", OWN)
    assert machine.read("state") == "ending budget"


def test_a_budget_taken_back_no_longer_counts(api: Api, make: Make) -> None:
    machine = make(budget_s=100)
    machine.armed()
    (machine.switch / "budget").unlink()
    machine.write("contact", "1200")
    machine.uptime(1200)
    machine.beats()
    assert not api.calls("DELETE")


@pytest.mark.parametrize("garbage", ["", "-5", "nan", "$(touch /tmp/x)", "9" * 40, "0x7fffffff", "080", "1 2 3\n4"])
def test_garbage_in_any_file_means_the_terms_given_at_start(api: Api, make: Make, garbage: str) -> None:
    machine = make(lease_s=60, hard_s=70, budget_s=80)
    machine.armed()
    for name in ("contact", "lease", "hard", "budget"):
        machine.write(name, garbage)
    if garbage.startswith("1"):  # its first word is a number: deadlines long past
        api.wait("DELETE", OWN)
        return
    machine.uptime(1059)
    machine.beats()
    assert not api.calls("DELETE")
    machine.uptime(1060)
    api.wait("DELETE", OWN)


def test_a_garbled_budget_where_none_was_agreed_ends_nothing(api: Api, make: Make) -> None:
    machine = make()
    machine.armed()
    machine.write("budget", "soon")
    machine.uptime(1001)
    machine.beats()
    assert machine.read("state") == "armed"
    assert not api.calls("DELETE")


def test_a_contact_in_the_future_does_not_keep_the_instance(api: Api, make: Make) -> None:
    machine = make(lease_s=60)
    machine.armed()
    machine.write("contact", "9999999\n")
    machine.uptime(1060)
    api.wait("DELETE", OWN)


def test_it_retries_for_ever_until_the_instance_is_gone(api: Api, make: Make) -> None:
    api.on(
        f"DELETE {OWN}",
        Answer(status=500),
        Answer(hang_up=True),
        Answer("<html>", 502),
        Answer({"success": False, "error": "not_authorized"}, 403),
        Answer({"success": True}),
    )
    machine = make(lease_s=10)
    machine.path = tools(machine.root / "bin", "wget", "python3")
    machine.armed()
    machine.uptime(1010)
    api.wait("DELETE", OWN, count=6)  # 200 proves nothing: this process still runs


@pytest.mark.parametrize("tool", ["curl", "wget", "python3"])
def test_each_tool_that_an_image_may_have_is_enough(api: Api, make: Make, tool: str) -> None:
    machine = make(lease_s=10)
    machine.path = tools(machine.root / "bin", *{"curl", "wget", "python3"} - {tool})
    machine.armed()
    machine.uptime(1010)
    for seen in (api.wait("GET", OWN)[0], api.wait("DELETE", OWN)[0]):
        assert seen.headers["authorization"] == f"Bearer {INSTANCE_KEY}"


@pytest.mark.parametrize("tool", ["curl", "wget", "python3"])
def test_the_key_is_in_no_argument_and_no_file(api: Api, make: Make, tool: str) -> None:
    machine = make()
    machine.path = tools(machine.root / "bin", *{"curl", "wget", "python3"} - {tool})
    lines: list[bytes] = []

    def look(_: Seen) -> Answer:
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    lines.append((folder / "cmdline").read_bytes())
                except OSError:
                    continue
        return Answer({"instances": {"id": int(INSTANCE)}})

    api.on(f"GET {OWN}", look)
    machine.armed()
    assert any(tool.encode() in line and OWN.encode() in line for line in lines)
    assert not [line for line in lines if INSTANCE_KEY.encode() in line]
    files = [one for one in machine.state.rglob("*") if one.is_file()]
    assert not [one for one in files if INSTANCE_KEY.encode() in one.read_bytes()]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer({"success": False, "error": "auth_error"}, 401), "401"),
        (Answer({"instances": None}), f"does not know instance {INSTANCE}"),
    ],
)
def test_a_failed_self_test_says_unarmed_and_why_and_is_tried_again(
    api: Api, make: Make, answer: Answer, why: str
) -> None:
    api.on(f"GET {OWN}", answer)
    machine = make()
    machine.boot()
    eventually(lambda: why in machine.read("state"), why)
    assert machine.read("state").startswith("unarmed ")
    api.on(f"GET {OWN}", Answer({"instances": {"id": int(INSTANCE)}}))
    eventually(lambda: machine.read("state") == "armed", "armed")


def test_without_key_id_or_tool_it_says_so_and_still_tries_at_the_end(api: Api, make: Make) -> None:
    machine = make(lease_s=10)
    machine.environ(CONTAINER_ID=INSTANCE)
    machine.boot()
    eventually(lambda: machine.read("state") == "unarmed no key in $CONTAINER_API_KEY", "unarmed")
    machine.environ(CONTAINER_API_KEY=INSTANCE_KEY, CONTAINER_ID="")
    eventually(lambda: machine.read("state") == "unarmed no instance id in $CONTAINER_ID", "unarmed")
    machine.uptime(1010)
    eventually(lambda: machine.read("state") == "ending lease", "ending")
    machine.environ(CONTAINER_ID=INSTANCE, CONTAINER_API_KEY=INSTANCE_KEY)
    api.wait("DELETE", OWN)


def test_kernels_are_asked_to_end_before_the_instance_goes(api: Api, make: Make) -> None:
    machine = make(lease_s=10)
    machine.armed()
    with subprocess.Popen(["sleep", "60"]) as kernel:
        folder = machine.state / "kernels" / "notebook"
        folder.mkdir(parents=True)
        (folder / "pid").write_text(f"{kernel.pid}\n")
        ended: list[int | None] = []

        def note(_: Seen) -> Answer:
            ended.append(kernel.wait(10))
            return Answer({"success": True})

        api.on(f"DELETE {OWN}", note)
        machine.uptime(1010)
        api.wait("DELETE", OWN, count=2)
        assert ended[0] == -signal.SIGTERM


@pytest.mark.parametrize("shell", SHELLS)
def test_what_a_cell_has_started_has_five_seconds_after_sigterm_before_the_instance_goes(
    api: Api, make: Make, shell: str
) -> None:
    machine = make(shell=shell, lease_s=10, period="5")
    machine.path = tools(machine.root / "bin", "sleep")
    slept, held = machine.root / "slept", machine.root / "held"
    # Each pause of the switch is told and, from the end on, lasts until it is let go.
    sleep = machine.root / "bin" / "sleep"
    real = shutil.which("sleep")
    sleep.write_text(
        f'#!/bin/sh\ngrep -q ending "{machine.switch}/state" 2>/dev/null || exec {real} 0.05\n'
        f'echo "$1" >>"{slept}"\nwhile [ -e "{held}" ]; do {real} 0.05; done\n'
    )
    sleep.chmod(0o755)
    machine.armed()
    source = "import signal, sys; signal.signal(15, lambda *_: sys.exit(print('saved'))); print('up', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdout is not None
        assert kernel.stdout.readline() == "up\n"
        (machine.state / "kernels" / "notebook").mkdir(parents=True)
        (machine.state / "kernels" / "notebook" / "pid").write_text(f"{kernel.pid}\n")
        held.touch()
        machine.uptime(1010)
        eventually(slept.exists, "the pause before the end")
        assert kernel.stdout.read() == "saved\n"
    assert not api.calls("DELETE")
    assert set(slept.read_text().split()) == {"5"}
    held.unlink()
    api.wait("DELETE", OWN)


def test_a_second_start_in_the_same_boot_changes_nothing(make: Make) -> None:
    machine = make(lease_s=600)
    machine.armed()
    first = machine.pid()
    machine.uptime(1300)
    machine.boot()
    machine.beats()
    assert machine.pid() == first
    assert machine.read("contact") == "1000"


def test_after_a_restart_deadlines_start_anew(api: Api, make: Make) -> None:
    machine = make(lease_s=60, hard_s=500)
    machine.armed()
    os.kill(machine.pid(), signal.SIGKILL)
    machine.uptime(50_000)  # the host's clock went on while the container stood still
    machine.armed()
    machine.beats()
    assert not api.calls("DELETE")
    assert machine.read("contact") == "50000"
    assert machine.read("hard") == "50500"
    machine.uptime(50_060)
    api.wait("DELETE", OWN)


def test_a_number_that_another_process_has_now_does_not_keep_the_switch_from_starting(make: Make) -> None:
    machine = make()
    machine.switch.mkdir(parents=True)
    machine.write("pid", f"{os.getpid()}\n")
    machine.armed()
    assert machine.pid() != os.getpid()


def test_a_missing_clock_does_not_stop_the_switch(api: Api, make: Make) -> None:
    machine = make(lease_s=2, period="1")
    (machine.root / "uptime").unlink()
    machine.boot()
    api.wait("DELETE", OWN)


def test_hanging_up_does_not_end_the_switch(make: Make) -> None:
    machine = make()
    machine.armed()
    os.kill(machine.pid(), signal.SIGHUP)
    os.kill(machine.pid(), signal.SIGINT)
    machine.uptime(1001)
    machine.beats()


@pytest.mark.skipif(not shutil.which("prlimit"), reason="prlimit is absent")
@pytest.mark.parametrize("shell", SHELLS[:2])  # bash tries again for 16 s before it gives up
def test_a_cell_that_uses_up_all_processes_does_not_end_the_switch(api: Api, shell: str) -> None:
    # The limit does not bind root: then the switch runs as nobody, in a folder that nobody may enter.
    user = 65534 if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder, machines(Path(folder), api.url) as make:
        machine = make(shell=shell, lease_s=60)
        machine.armed()
        os.kill(machine.pid(), signal.SIGKILL)
        for path in [Path(folder), *Path(folder).rglob("*")]:
            if user and not path.is_symlink():
                os.chown(path, 65534, 65534)
        variables = {"PATH": f"{machine.root / 'shell'}:{machine.path}"}
        machine.uptime(2000)
        command: list[str | Path] = ["sh", machine.state / "deadman.sh", machine.state]
        with subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL, user=user) as switch, _ending(switch):
            machine.beats()
            eventually(lambda: machine.read("state") == "armed", "armed")
            _, most = resource.getrlimit(resource.RLIMIT_NPROC)
            limit = ["prlimit", f"--pid={switch.pid}"]
            subprocess.run([*limit, "--nproc=0:"], check=True, user=user)
            eventually(lambda: "2000" in _arguments(switch.pid), "starting itself again")
            subprocess.run([*limit, f"--nproc={'unlimited' if most < 0 else most}:"], check=True, user=user)
            machine.uptime(2059)
            machine.beats()
            assert not api.calls("DELETE")
            machine.uptime(2060)
            api.wait("DELETE", OWN)
            assert switch.poll() is None


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


def _arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
