"""`serve` and `run` as a user starts them: real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_passes_signals_on_and_lets_the_command_end_by_itself(number: signal.Signals) -> None:
    script = 'trap "echo got; exit 3" INT TERM; echo ready; while :; do read -r line; done'
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


def test_a_command_line_that_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["run"], ["serve", "--speed", "0"], []):
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert ended.value.code == 2
    assert "run needs a command after --" in capsys.readouterr().err


def test_nothing_of_ours_is_imported_by_the_sandbox() -> None:
    code = (
        "import sys, gpuplug.sandbox.cli\n"
        "print([n for n in sys.modules if n.startswith('gpuplug.') and not n.startswith('gpuplug.sandbox')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=child_environment(PATH=os.defpath)
    )
    assert done.stdout == "[]\n"
