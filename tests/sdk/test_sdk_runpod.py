"""The vendor's unmodified clients judge the sandbox: `runpod` 1.12 (GraphQL) and 2.0 (REST v2), module and command."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from runpod_kit import GPU, Login, rent_pod, runpod_client, until_up
from sandbox_kit import RunningMarket, market
from sdk_kit import client_environment, drive, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.sdk
GRAPHQL, REST = "1.12.0", "2.0.0rc2"


@pytest.fixture(scope="session", params=[GRAPHQL, REST])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def vendor(version: str) -> Path:
    return programs(f"runpod=={version}", f".venv-sdk-runpod-{version}")


@pytest.fixture
def shop() -> Iterator[RunningMarket]:
    with market(seed=9, pull=0) as one:
        yield one


@pytest.fixture
def environment(shop: RunningMarket, tmp_path: Path) -> dict[str, str]:
    # The command of 1.12 takes its key from a file only.
    folder = tmp_path / ".runpod"
    folder.mkdir()
    (folder / "config.toml").write_text(f'[default]\napi_key = "{shop.runpod_api_key}"\n')
    return client_environment(shop, tmp_path)


def test_the_module_lives_through_a_rental(
    shop: RunningMarket, environment: dict[str, str], vendor: Path, version: str
) -> None:
    seen = json.loads(drive(vendor / "python", "drive_runpod.py", environment))
    number = shop.meter()["instances"][0]["id"]
    assert GPU in seen["gpus"]
    assert seen["gpu"]["id"] == GPU
    assert (seen["number"], seen["listed"], seen["after"], seen["missing"]) == (number, [number], [], None)
    assert seen["user"]["id"].startswith("user_")
    if version == REST:
        assert seen["pod"]["env"] == {"GREETING": "hello"}
        assert [one["status"] for one in (seen["stopped"], seen["resumed"])] == ["EXITED", "RUNNING"]
        assert seen["again"] == "pod not found"
    else:
        assert seen["pod"]["env"] == ["GREETING=hello"]
        assert [one["desiredStatus"] for one in (seen["stopped"], seen["resumed"])] == ["EXITED", "RUNNING"]
        assert seen["again"] == "pod not found to terminate"
    assert seen["ended"] is None
    assert shop.meter()["billing_now"] == 0


class Command:
    """The `runpod` command in an environment of its own."""

    def __init__(self, program: Path, environment: dict[str, str]) -> None:
        self._program = program
        self._environment = environment

    def __call__(self, *words: str, answers: str = "") -> str:
        argv = [str(self._program), *words]
        done = subprocess.run(
            argv, capture_output=True, text=True, input=answers, env=self._environment, timeout=90, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def until(self, text: str, *words: str) -> list[str]:
        """Let the command print until a line contains `text`, interrupt it, and return the lines."""
        argv = [str(self._program), *words]
        env = {**self._environment, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
            assert process.stdout is not None
            killer = threading.Timer(90, process.kill)
            killer.start()
            lines = []
            for line in process.stdout:
                lines.append(line)
                if text in line:
                    break
            process.send_signal(signal.SIGINT)
            process.wait(30)
            killer.cancel()
        assert text in "".join(lines), lines
        return lines


def test_the_command_creates_and_lists_a_pod(shop: RunningMarket, environment: dict[str, str], vendor: Path) -> None:
    runpod = Command(vendor / "runpod", environment)
    assert "has been created" in runpod("pod", "create", "mine", answers="y\n")
    row = shop.meter()["instances"][0]
    assert (row["label"], row["gpu"]) == ("mine", "NVIDIA GeForce RTX 3090")
    table = runpod("pod", "list")
    assert row["id"] in table
    assert "RUNNING" in table


def test_the_commands_keys_open_a_pod(shop: RunningMarket, environment: dict[str, str], tmp_path: Path) -> None:
    vendor = programs(f"runpod=={GRAPHQL}", f".venv-sdk-runpod-{GRAPHQL}")
    runpod = Command(vendor / "runpod", environment)
    assert "has been added" in runpod("ssh", "add-key", answers="y\nmine\n")
    assert "mine" in runpod("ssh", "list-keys")
    with runpod_client(shop) as api:
        row = until_up(api, rent_pod(api, startSsh=True))
    login = Login(tmp_path / ".runpod" / "ssh" / "mine")
    login.until_in(row)


def test_the_newer_command_follows_a_log_and_pages_through_registry_logins(
    shop: RunningMarket, environment: dict[str, str]
) -> None:
    vendor = programs(f"runpod=={REST}", f".venv-sdk-runpod-{REST}")
    runpod = Command(vendor / "runpod", environment)
    with runpod_client(shop) as api:
        number = rent_pod(api, cmd=["sh", "-c", "echo here I am; sleep 1000"])
        until_up(api, number)
        shop.action("pagination", size=2)
        for name in ("a", "b", "c"):
            runpod("registry", "add", name, "--username", "u", "--password", "p")
        assert all(name in runpod("registry", "list") for name in ("a", "b", "c"))
        runpod("registry", "delete", "b", "--yes")
        shop.action("pagination")
        assert [row["name"] for row in api.get("/v2/registries").json()["registries"]] == ["a", "c"]
        # Without a source, or without --follow, the command asks another, fixed host.
        for source, text in (("container", "[container] here I am"), ("system", "[system] start container")):
            assert runpod.until(text, "logs", number, "--follow", "--type", source)


def test_a_create_whose_reply_is_lost_leaves_a_pod_that_bills(
    shop: RunningMarket, environment: dict[str, str], vendor: Path, version: str
) -> None:
    # 1.12 asks for the GPU type first, and only then creates.
    shop.fault("drop_after", **({"point": "pod_create"} if version == REST else {"point": "graphql", "nth": 2}))
    script = (
        "import os, runpod; runpod.api_key = os.environ['RUNPOD_API_KEY'];"
        f"runpod.create_pod('x', 'runpod/base:1', {GPU!r}, cloud_type='SECURE')"
    )
    argv = [str(vendor / "python"), "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=90, check=False)
    assert done.returncode != 0
    assert shop.meter()["billing_now"] == len(shop.meter()["instances"]) == 1
