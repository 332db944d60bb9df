"""Every adapter keeps every promise that its traits make."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, ClassVar

import pytest
from machine_kit import MachineFromOutside, machine
from money_suite import MoneySuite
from runpod_kit import rent_pod, runpod_client
from sandbox_kit import RunningMarket, market, rent
from ssh_kit import let_in, make_user, needs_ssh
from toy_cloud import ToyCloud, toy_cloud
from toy_provider import ToyProvider

from gpuplug.providers import Access
from gpuplug.providers.local import LocalProvider
from gpuplug.providers.runpod import RunpodProvider
from gpuplug.providers.ssh import SshProvider
from gpuplug.providers.vast import VastProvider
from gpuplug.sandbox.machine.gpu import nvidia_smi
from gpuplug.testing import Trouble
from gpuplug.types import GpuWish, Query, Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gpuplug.types import Clock

THERE = "~/.gpuplug/instances"


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


class SshMarket:
    """A machine of the user's with two GPUs, and nothing on it."""

    def __init__(self, box: MachineFromOutside, folder: Path) -> None:
        self._box = box
        self._home = folder / "home"
        self._gpu("RTX 4090")
        self._there("rm -rf ~/.gpuplug")

    def access(self, clock: Clock) -> Access:
        return Access(Secret(""), "", "", str(self._home), clock, f"root@127.0.0.1:{self._box.port}")

    def existing(self) -> Mapping[str, str]:
        return {name: name for name in self._there(f"ls {THERE} 2>/dev/null || true").split()}

    def stranger(self) -> str:
        self._there(f"mkdir -p {THERE}/somebody")
        return "somebody"

    def cause(self, trouble: Trouble, instance_id: str = "") -> None:  # noqa: ARG002 - nobody can be outbid here
        assert trouble is Trouble.TAKEN
        self._gpu("L4")

    def pass_time(self, seconds: float) -> None:
        """Nothing here takes time."""

    def _gpu(self, name: str) -> None:
        spec = dataclasses.replace(self._box.spec, gpu_name=name)
        (program,) = self._box.spec.folder.rglob("bin/nvidia-smi")
        program.write_text(nvidia_smi(spec))

    def _there(self, command: str) -> str:
        done = self._box.ssh(command)
        assert done.returncode == 0, done.stderr
        return bytes(done.stdout or b"").decode()  # type: ignore[arg-type]  # bytes, by encoding=None


@pytest.fixture(scope="module")
def box() -> Iterator[MachineFromOutside]:
    with machine(gpu_count=2) as running:
        yield running


class TestSsh(MoneySuite):
    adapter = SshProvider
    pytestmark = needs_ssh

    @pytest.fixture
    def market(self, box: MachineFromOutside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshMarket:
        let_in(make_user(tmp_path / "user", monkeypatch), box)
        return SshMarket(box, tmp_path)


class SandboxMarket:
    """One account of the sandbox market, through its control endpoint and its meter."""

    platform: ClassVar[str]
    troubles: ClassVar[Mapping[Trouble, tuple[str, dict[str, object]]]]

    def __init__(self, sandbox: RunningMarket) -> None:
        self.sandbox = sandbox

    def existing(self) -> Mapping[str, str]:
        rows = self.sandbox.meter()["instances"]
        mine = (row for row in rows if row["platform"] == self.platform and row["state"] != "destroyed")
        return {str(row["id"]): row["label"] for row in mine}

    def cause(self, trouble: Trouble, instance_id: str = "") -> None:
        if trouble is Trouble.NO_CREDIT:
            self.sandbox.action("credit", amount=0)
        elif trouble is Trouble.OUTBID:
            self.outbid(instance_id)
        else:
            name, parameters = self.troubles[trouble]
            self.sandbox.fault(name, **parameters)

    def outbid(self, instance_id: str) -> None:
        raise NotImplementedError

    def pass_time(self, seconds: float) -> None:
        self.sandbox.action("advance", seconds=seconds)


class VastMarket(SandboxMarket):
    platform = "vast"
    troubles: ClassVar[Mapping[Trouble, tuple[str, dict[str, object]]]] = {
        Trouble.TAKEN: ("taken", {"point": "create"}),
        Trouble.LAG: ("list_lag", {"point": "create", "seconds": 1}),
        Trouble.DRIFT: ("price_change", {"point": "create", "factor": 2}),
    }

    def access(self, clock: Clock) -> Access:
        key = Secret(self.sandbox.vast_api_key)
        return Access(key, "the variable VAST_API_KEY", self.sandbox.vast_url, "", clock)

    def stranger(self) -> str:
        with self.sandbox.client() as api:
            return str(rent(api, label="somebody"))

    def outbid(self, instance_id: str) -> None:
        self.sandbox.action("outbid", instance=int(instance_id))


class RunpodMarket(SandboxMarket):
    platform = "runpod"
    troubles: ClassVar[Mapping[Trouble, tuple[str, dict[str, object]]]] = {
        Trouble.TAKEN: ("capacity", {"point": "pod_create"}),
        Trouble.LAG: ("list_lag", {"point": "pod_create", "seconds": 1}),
        Trouble.DRIFT: ("price_change", {"point": "pod_create", "factor": 2}),
    }

    def access(self, clock: Clock) -> Access:
        key = Secret(self.sandbox.runpod_api_key)
        return Access(key, "the variable RUNPOD_API_KEY", self.sandbox.runpod_api_base_url, "", clock)

    def stranger(self) -> str:
        with runpod_client(self.sandbox) as api:
            return rent_pod(api, name="somebody")

    def outbid(self, instance_id: str) -> None:
        self.sandbox.action("preempt", instance=instance_id)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=11) as sandbox:
        yield sandbox


class TestVast(MoneySuite):
    adapter = VastProvider
    query = Query(gpus=(GpuWish("RTX_4090"),))

    @pytest.fixture
    def market(self, running: RunningMarket) -> Iterator[VastMarket]:
        yield VastMarket(running)
        running.reset()


class TestRunpod(MoneySuite):
    adapter = RunpodProvider
    query = Query(gpus=(GpuWish("RTX_4090"),))

    @pytest.fixture
    def market(self, running: RunningMarket) -> Iterator[RunpodMarket]:
        yield RunpodMarket(running)
        running.reset()


class TestToy(MoneySuite):
    adapter = ToyProvider

    @pytest.fixture
    def market(self) -> Iterator[ToyCloud]:
        with toy_cloud() as cloud:
            yield cloud
