"""`serve` and `run` as a user starts them: real processes, real signals."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from sandbox_kit import child_environment, market, offers, rent, wait_until

from gpuplug.sandbox.cli import main

RENT = """
import json, os, sys, urllib.request
def call(method, path, body):
    request = urllib.request.Request(os.environ["VAST_URL"] + path, json.dumps(body).encode(), method=method)
    request.add_header("Authorization", "Bearer " + os.environ["VAST_API_KEY"])
    return json.load(urllib.request.urlopen(request, timeout=10))
offer = call("POST", "/api/v0/bundles/", {"limit": 1, "verified": {"eq": True}})["offers"][0]
number = call("PUT", f"/api/v0/asks/{offer['id']}/", {"image": "x"})["new_contract"]
if "destroy" in sys.argv:
    call("DELETE", f"/api/v0/instances/{number}/", {})
print(os.environ["GPUPLUG_HOME"])
sys.exit(7)
"""


def _run(*command: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    argv = [sys.executable, "-m", "gpuplug.sandbox.cli", "run", "--pull", "0", "--", *command]
    done = subprocess.run(argv, capture_output=True, text=True, env=child_environment(), timeout=60, check=False)
    verdict: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return done, verdict


def test_run_hands_on_the_status_and_reports_what_still_bills_and_leaves_nothing() -> None:
    done, verdict = _run(sys.executable, "-c", RENT)
    assert done.returncode == 7
    assert verdict["billing_now"] == 1
    assert float(verdict["spend"]) >= 0
    assert len(verdict["instances"]) == 1
    assert not Path(done.stdout.strip()).exists()


def test_run_reports_zero_when_the_command_cleaned_up() -> None:
    _, verdict = _run(sys.executable, "-c", RENT, "destroy")
    assert verdict["billing_now"] == 0
    assert [row["state"] for row in verdict["instances"]] == ["destroyed"]


def test_run_of_a_command_that_a_signal_killed_gives_128_and_the_signal() -> None:
    done, _ = _run("sh", "-c", "kill -KILL $$")
    assert done.returncode == 128 + signal.SIGKILL


def test_run_of_a_missing_command_gives_127() -> None:
    done, verdict = _run("/no/such/command")
    assert (done.returncode, verdict["billing_now"]) == (127, 0)
    assert "cannot run '/no/such/command'" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_passes_signals_on_and_lets_the_command_end_by_itself(number: signal.Signals) -> None:
    script = 'trap "echo got; exit 3" INT TERM HUP; echo ready; while :; do read -r line; done'
    argv = [sys.executable, "-m", "gpuplug.sandbox.cli", "run", "--", "bash", "-c", script]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=child_environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, "got\n")
    assert json.loads(err.splitlines()[-1])["billing_now"] == 0


def test_closing_the_terminal_of_a_run_ends_the_command_and_every_machine_and_leaves_no_folder(tmp_path: Path) -> None:
    rent_and_stay = RENT.replace("sys.exit(7)", "sys.stdout.flush(); import time; time.sleep(1000)")
    pid, terminal = pty.fork()
    if pid == 0:  # a process of its own session, whose terminal this is
        argv = [sys.executable, "-m", "gpuplug.sandbox.cli", "run", "--pull", "0", "--", sys.executable, "-c"]
        os.execve(sys.executable, [*argv, rent_and_stay], child_environment(TMPDIR=str(tmp_path)))  # noqa: S606 - as a terminal does
    try:
        seen = b""
        while b"/home" not in seen:
            seen += os.read(terminal, 4096)
        wait_until(lambda: len(_descendants(pid)) > 1)
        before = _descendants(pid)
    finally:
        os.close(terminal)
        status = os.waitpid(pid, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    wait_until(lambda: not any(Path(f"/proc/{each}").exists() for each in before))
    assert list(tmp_path.iterdir()) == []


def test_a_market_that_nohup_started_outlives_its_terminal() -> None:
    argv = ["nohup", sys.executable, "-m", "gpuplug.sandbox.cli", "serve", "--json"]
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=child_environment(),
    ) as process:
        assert process.stdout is not None
        meter = json.loads(process.stdout.readline())["meter_url"]
        process.send_signal(signal.SIGHUP)
        with urllib.request.urlopen(meter, timeout=20) as reply:  # noqa: S310 - of the market on this computer
            assert json.load(reply)["billing_now"] == 0
        process.terminate()
        assert process.wait(20) == 0


def test_serve_prints_an_environment_that_a_shell_can_read() -> None:
    argv = [sys.executable, "-m", "gpuplug.sandbox.cli", "serve"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=child_environment()) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        show = 'echo "$VAST_URL $VAST_API_KEY $RUNPOD_API_BASE_URL $RUNPOD_API_KEY"'
        shell = subprocess.run(["sh", "-c", "".join(lines) + show], capture_output=True, text=True, check=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    url, key, runpod_url, runpod_key = shell.stdout.split()
    assert url.startswith("http://127.0.0.1:")
    assert (len(key), runpod_url, runpod_key[:4]) == (64, url, "rpa_")


def test_serve_ends_every_machine_when_it_is_terminated() -> None:
    with market(seed=4, pull=0) as shop:
        with shop.client() as api:
            rent(api, onstart="sleep 1000 & echo pid; while :; do sleep 1000; done")
        wait_until(lambda: shop.meter()["instances"][0]["state"] == "running")
        before = _descendants(shop.process.pid)
        assert before
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before))
    assert shop.process.returncode == 0


def _descendants(pid: int) -> set[int]:
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in table.splitlines()]
    parents = {int(child): int(parent) for child, parent in rows}
    found, last = {pid}, 0
    while len(found) != last:
        last = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def test_the_same_seed_gives_the_same_market_in_another_process() -> None:
    seen = []
    for _ in range(2):
        with market(seed=11) as shop, shop.client() as api:
            seen.append(([(row["id"], row["dph_total"]) for row in offers(api)], shop.vast_api_key))
    assert seen[0] == seen[1]


def test_speed_makes_sandbox_hours_pass_in_seconds() -> None:
    with market(seed=1, pull=600, speed=3600) as shop, shop.client() as api:
        rent(api)
        wait_until(lambda: shop.meter()["instances"][0]["state"] == "running")
        assert shop.control()["now"] > 600


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run", "run needs a command after --"),
        ("", "verb"),
        ("serve --speed 0", "'0'"),
        ("serve --speed nan", "'nan'"),
        ("serve --speed inf", "'inf'"),
        ("serve --speed fast", "'fast'"),
        ("serve --pull -5", "'-5'"),
        ("serve --pull soon", "'soon'"),
        ("serve --port 99999", "'99999'"),
        ("serve --port -1", "'-1'"),
        ("serve --port http", "'http'"),
        ("serve --seed x", "'x'"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_one_line_with_a_hint(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    first, empty, hint = capsys.readouterr().err.splitlines()
    assert first.startswith("gpuplug sandbox: ")
    assert said in first
    assert (empty, hint.startswith("hint: gpuplug sandbox")) == ("", True)


@pytest.mark.parametrize("verb", [["serve"], ["run", "--", "true"]])
def test_a_port_in_use_is_said_in_one_line_with_a_hint(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main([verb[0], "--port", port, *verb[1:]]) == 1
    first, empty, hint = capsys.readouterr().err.splitlines()
    assert first == f"gpuplug sandbox: port {port} of 127.0.0.1 cannot be opened: Address already in use"
    assert (empty, "--port" in hint) == ("", True)


def test_nothing_of_ours_is_imported_by_the_sandbox() -> None:
    code = (
        "import sys, gpuplug.sandbox.cli\n"
        "print([n for n in sys.modules if n.startswith('gpuplug.') and not n.startswith('gpuplug.sandbox')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=child_environment(PATH=os.defpath)
    )
    assert done.stdout == "[]\n"
