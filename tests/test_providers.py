"""Every adapter keeps every promise that its traits make."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

import pytest
from money_suite import MoneySuite
from sandbox_kit import RunningMarket, market, rent
from toy_cloud import ToyCloud, toy_cloud
from toy_provider import ToyProvider

from gpuplug.providers import Access
from gpuplug.providers.local import LocalProvider
from gpuplug.providers.vast import VastProvider
from gpuplug.testing import Trouble
from gpuplug.types import GpuWish, Query, Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gpuplug.types import Clock


class LocalMarket:
    """A folder of this computer, and an nvidia-smi that shows one GPU."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "home"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._show("NVIDIA H200")

    def access(self, clock: Clock) -> Access:
        return Access(Secret(""), "", "", str(self._home), clock)

    def existing(self) -> Mapping[str, str]:
        return {folder.name: folder.name for folder in self._home.iterdir()} if self._home.exists() else {}

    def stranger(self) -> str:
        (self._home / "somebody").mkdir(parents=True)
        return "somebody"

    def cause(self, trouble: Trouble, instance_id: str = "") -> None:  # noqa: ARG002 - nobody can be outbid here
        assert trouble is Trouble.TAKEN
        self._show("NVIDIA L4")

    def pass_time(self, seconds: float) -> None:
        """Nothing here takes time."""

    def _show(self, gpu: str) -> None:
        smi = self.bin / "nvidia-smi"
        smi.write_text(f"#!/bin/sh\necho '{gpu}'\n")
        smi.chmod(0o755)


class TestLocal(MoneySuite):
    adapter = LocalProvider

    @pytest.fixture
    def market(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalMarket:
        made = LocalMarket(tmp_path)
        monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
        return made


class VastMarket:
    """The sandbox market, through its control endpoint and its meter."""

    def __init__(self, sandbox: RunningMarket) -> None:
        self._sandbox = sandbox

    def access(self, clock: Clock) -> Access:
        sandbox = self._sandbox
        return Access(Secret(sandbox.vast_api_key), "the variable VAST_API_KEY", sandbox.vast_url, "", clock)

    def existing(self) -> Mapping[str, str]:
        rows = self._sandbox.meter()["instances"]
        return {str(row["id"]): row["label"] for row in rows if row["state"] != "destroyed"}

    def stranger(self) -> str:
        with self._sandbox.client() as api:
            return str(rent(api, label="somebody"))

    def cause(self, trouble: Trouble, instance_id: str = "") -> None:
        sandbox = self._sandbox
        if trouble is Trouble.TAKEN:
            sandbox.fault("taken")
        elif trouble is Trouble.NO_CREDIT:
            sandbox.action("credit", amount=0)
        elif trouble is Trouble.LAG:
            sandbox.fault("list_lag", seconds=60)
        elif trouble is Trouble.DRIFT:
            sandbox.fault("price_change", factor=2)
        else:
            sandbox.action("outbid", instance=int(instance_id))

    def pass_time(self, seconds: float) -> None:
        self._sandbox.action("advance", seconds=seconds * 60)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=11) as sandbox:
        yield sandbox


class TestVast(MoneySuite):
    adapter = VastProvider
    query = Query(gpus=(GpuWish("RTX_4090"),))
    deviations: ClassVar[Mapping[str, str]] = {
        "a spot machine that is outbid is seen to run no more": "its search does not ask for interruptible machines yet",
    }

    @pytest.fixture
    def market(self, running: RunningMarket) -> Iterator[VastMarket]:
        yield VastMarket(running)
        running.reset()


class TestToy(MoneySuite):
    adapter = ToyProvider

    @pytest.fixture
    def market(self) -> Iterator[ToyCloud]:
        with toy_cloud() as cloud:
            yield cloud
