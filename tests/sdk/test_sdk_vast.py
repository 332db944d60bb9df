"""The vendor's unmodified client judges the sandbox: the `vastai` command and the `VastAI` class, version 1.9.1."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from sandbox_kit import RunningMarket, market, wait_until
from sdk_kit import VASTAI, client_environment, drive, programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.sdk


@pytest.fixture(scope="session")
def vendor() -> Path:
    """The folder of the programs of the vendor's environment, made once and kept."""
    return programs(VASTAI, ".venv-sdk")


@pytest.fixture
def shop() -> Iterator[RunningMarket]:
    with market(seed=9, pull=0) as one:
        yield one


@pytest.fixture
def environment(shop: RunningMarket, tmp_path: Path) -> dict[str, str]:
    return client_environment(shop, tmp_path)


def test_the_sdk_class_lives_through_a_rental(shop: RunningMarket, environment: dict[str, str], vendor: Path) -> None:
    seen = json.loads(drive(vendor / "python", "drive_sdk.py", environment))
    number = shop.meter()["instances"][0]["id"]
    assert seen["prices"] == sorted(seen["prices"])
    assert (len(seen["prices"]), seen["names"]) == (5, ["RTX 4090"])
    assert (seen["listed"], seen["after"], seen["missing"]) == ([number], [], None)
    assert (seen["extra_env"], seen["label"]) == ({"GREETING": "hello"}, "second")
    assert re.fullmatch(r"ssh://root@127\.0\.0\.1:\d+", seen["ssh_url"])
    assert seen["tail"] == f"hello from {number}\n"
    assert "root" in seen["ls"]
    assert 0 < seen["age"] < 60
    assert seen["user_credit"] == pytest.approx(25, abs=0.01)
    assert seen["destroyed"]["success"] is True
    assert shop.meter()["billing_now"] == 0


class Command:
    """The `vastai` command in an environment of its own."""

    def __init__(self, program: Path, environment: dict[str, str]) -> None:
        self._program = program
        self._environment = environment

    def __call__(self, *words: str) -> str:
        argv = [str(self._program), *words]
        done = subprocess.run(argv, capture_output=True, text=True, env=self._environment, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def raw(self, *words: str) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self(*words, "--raw"))


def test_the_vastai_command_lives_through_a_rental(
    shop: RunningMarket, environment: dict[str, str], vendor: Path
) -> None:
    vastai = Command(vendor / "vastai", environment)
    found = vastai.raw(
        "search", "offers", "gpu_name=RTX_4090 num_gpus=1 rented=false", "-o", "dph_total", "--storage", "20"
    )
    assert {row["gpu_name"] for row in found} == {"RTX 4090"}
    create = ("--image", "x", "--disk", "20", "--ssh", "--direct", "--label", "one", "--onstart-cmd", "echo hello")
    made = vastai.raw("create", "instance", str(found[0]["id"]), *create)
    number = str(made["new_contract"])
    assert made["success"] is True
    wait_until(lambda: _state(shop) == "running")
    assert [str(row["id"]) for row in vastai.raw("show", "instances")] == [number]
    assert vastai.raw("show", "instance", number)["label"] == "one"
    assert "hello" in vastai("logs", number)
    assert re.fullmatch(r"ssh://root@127\.0\.0\.1:\d+\s*", vastai("ssh-url", number))
    vastai("label", "instance", number, "two")
    assert shop.meter()["instances"][0]["label"] == "two"
    vastai("stop", "instance", number)
    wait_until(lambda: _state(shop) == "exited")
    vastai("start", "instance", number)
    wait_until(lambda: _state(shop) == "running")
    vastai("destroy", "instance", number, "--yes")
    assert (shop.meter()["billing_now"], _state(shop)) == (0, "destroyed")


def _state(shop: RunningMarket) -> str:
    state: str = shop.meter()["instances"][0]["state"]
    return state


def test_the_sdk_repeats_a_create_whose_reply_was_lost_and_leaves_an_orphan_that_bills(
    shop: RunningMarket, environment: dict[str, str], vendor: Path
) -> None:
    shop.fault("drop_after", point="create")
    script = (
        "from vastai import VastAI; s = VastAI(); s.create_instance(id=s.search_offers(limit=1)[0]['id'], image='x')"
    )
    done = subprocess.run(
        [str(vendor / "python"), "-c", script], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.returncode != 0
    assert [row["status"] for row in shop.requests("create")][1:] == [400]
    assert shop.meter()["billing_now"] == 1
