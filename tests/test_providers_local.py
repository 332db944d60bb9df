"""This computer as a provider: real folders, real child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from providers_kit import access
from switch_kit import eventually

from gpuplug.errors import NotReadyError, OfferGoneError, ProviderError, UsageError
from gpuplug.providers import Access, load
from gpuplug.providers.local import LocalProvider
from gpuplug.types import (
    ZERO,
    GpuWish,
    Identity,
    InstanceState,
    Offer,
    Query,
    Secret,
    Spec,
    StartParams,
    SystemClock,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

START = StartParams(Secret(""), "", "", 900, 3600, 0)
SPEC = Spec("", 20, ZERO, START)
NOBODY = Identity(Secret(""), "")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A computer whose nvidia-smi fails."""
    smi(tmp_path, monkeypatch, "exit 9")


def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def local(tmp_path: Path, bare: None) -> LocalProvider:  # noqa: ARG001 - used for its effect
    provider = load("local", Access(Secret(""), "", "", str(tmp_path / "home"), SystemClock()))
    assert isinstance(provider, LocalProvider)
    return provider


def made(local: LocalProvider, label: str = "gp-one") -> Path:
    (offer,) = local.offers(Query()).offers
    assert local.launch(offer, SPEC, label) == label
    return Path(local._home) / label  # noqa: SLF001 - the folder is what is tested


def said(local: LocalProvider, command: str, label: str = "gp-one") -> str:
    instance = local.show(label)
    assert instance is not None
    connection = local.connect(instance, NOBODY)
    stream = connection.run(command)
    text = b"".join(iter(lambda: stream.read(4096), b"")).decode()
    connection.close()
    return text


def test_without_a_gpu_the_offer_is_the_cpu_and_free(local: LocalProvider) -> None:
    (offer,) = local.offers(Query()).offers
    assert (offer.gpu, offer.gpu_count, offer.price, offer.provider) == ("CPU", 1, ZERO, "local")
    assert local.traits.free
    assert not local.traits.identity


@pytest.mark.parametrize(
    ("wishes", "found"),
    [
        ((), [("NVIDIA H200", 2)]),
        ((GpuWish("h200"),), [("NVIDIA H200", 1)]),
        ((GpuWish("H200", 2),), [("NVIDIA H200", 2)]),
        ((GpuWish("H200", 3),), []),
        ((GpuWish("RTX_4090"),), []),
    ],
)
def test_the_gpus_of_this_computer_are_offered_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wishes: tuple[GpuWish, ...], found: list[tuple[str, int]]
) -> None:
    smi(tmp_path, monkeypatch, "echo 'NVIDIA H200'; echo 'NVIDIA H200'")
    offers = LocalProvider(access("", home=str(tmp_path / "home"))).offers(Query(gpus=wishes)).offers
    assert [(one.gpu, one.gpu_count) for one in offers] == found


def test_an_instance_is_a_private_folder_with_a_state_of_its_own(local: LocalProvider) -> None:
    folder = made(local)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (
        said(local, 'echo "$GPUPLUG_STATE"; pwd; echo "$HOME"') == f"{folder}/state\n{folder}\n{os.environ['HOME']}\n"
    )


def test_the_cell_sees_the_packages_of_this_interpreter(local: LocalProvider) -> None:
    made(local)
    text = said(local, "echo $VIRTUAL_ENV; python -c 'import sys; print(sys.prefix)'")
    assert text == f"{sys.prefix}\n{sys.prefix}\n"


def test_no_key_reaches_the_child(local: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAST_API_KEY", "RUNPOD_API_KEY", "HF_TOKEN", "AWS_SECRET", "my_token", "DB_PASSWORD"):
        monkeypatch.setenv(name, "canary-value")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    made(local)
    text = said(local, "env")
    assert "canary-value" not in text
    assert "TOKENIZERS_PARALLELISM=false" in text


def test_every_folder_is_listed_until_it_is_ended(local: LocalProvider) -> None:
    assert local.instances() == []
    made(local, "gp-one")
    made(local, "gp-two")
    (Path(local._home) / "other").mkdir()  # noqa: SLF001 - not an instance
    (Path(local._home) / "gp-file").touch()  # noqa: SLF001 - not an instance
    found = local.instances()
    assert [one.id for one in found] == [one.label for one in found] == ["gp-one", "gp-two"]
    assert {one.state for one in found} == {InstanceState.RUNNING}
    assert {(one.gpu, one.gpu_count, one.price) for one in found} == {("CPU", 1, ZERO)}
    local.terminate("gp-one")
    assert [one.id for one in local.instances()] == ["gp-two"]
    assert local.show("gp-one") is None
    local.terminate("gp-one")


@pytest.mark.parametrize("label", ["", "mine", "gp-", "gp-../../x", "gp-a/b", "../gp-x", "gp-a\n", "/etc"])
def test_a_label_cannot_leave_the_home(local: LocalProvider, label: str) -> None:
    (offer,) = local.offers(Query()).offers
    with pytest.raises(UsageError):
        local.launch(offer, SPEC, label)
    local.terminate(label)
    assert local.show(label) is None


def test_a_link_is_no_instance_and_is_not_followed(local: LocalProvider, tmp_path: Path) -> None:
    made(local)
    target = tmp_path / "precious"
    target.mkdir()
    (Path(local._home) / "gp-link").symlink_to(target)  # noqa: SLF001 - an attack
    local.terminate("gp-link")
    assert target.is_dir()
    assert [one.id for one in local.instances()] == ["gp-one"]


def test_the_same_label_twice_is_refused(local: LocalProvider) -> None:
    made(local)
    with pytest.raises(ProviderError, match="cannot be made"):
        made(local)


def test_hardware_that_is_not_here_is_refused(local: LocalProvider) -> None:
    with pytest.raises(OfferGoneError):
        local.launch(Offer("local", "H200", "", "H200", 1, ZERO), SPEC, "gp-one")


def test_a_connection_to_nothing_is_not_ready(local: LocalProvider) -> None:
    made(local)
    instance = local.show("gp-one")
    assert instance is not None
    local.terminate("gp-one")
    with pytest.raises(NotReadyError):
        local.connect(instance, NOBODY)
    assert local.logs(instance) == ""


@pytest.fixture
def agent(local: LocalProvider) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A process that works on the instance's state and ignores SIGTERM."""
    folder = made(local)
    script = 'trap "" TERM; touch "$1/ready"; while :; do sleep 0.05; done'
    with subprocess.Popen(["sh", "-c", script, "agent", folder / "state"]) as process:
        eventually((folder / "state" / "ready").exists, "the process")
        yield folder, process
        process.kill()


def test_the_agent_is_ended_by_its_pid_file(
    local: LocalProvider, agent: tuple[Path, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, process = agent
    (folder / "state" / "daemon-abc.pid").write_text(f"{process.pid}\n")
    monkeypatch.setattr("gpuplug.providers.local._END_S", 1.0)
    local.terminate("gp-one")
    assert process.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_a_kernel_that_outlived_the_agent_is_ended_too(
    local: LocalProvider, agent: tuple[Path, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, process = agent
    (folder / "state" / "kernels" / "k").mkdir(parents=True)
    (folder / "state" / "kernels" / "k" / "pid").write_text(f"{process.pid}\n")
    monkeypatch.setattr("gpuplug.providers.local._END_S", 1.0)
    local.terminate("gp-one")
    assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("text", ["", "no number", "-1", "1", "{stranger}"])
def test_a_strangers_process_is_never_ended(local: LocalProvider, text: str) -> None:
    folder = made(local)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (folder / "state" / "daemon-abc.pid").write_text(text.format(stranger=stranger.pid))
        local.terminate("gp-one")
        assert stranger.poll() is None
        stranger.kill()
    assert not folder.exists()


def test_a_system_that_does_not_say_what_a_process_is_keeps_nobody_waiting(
    local: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = local.launch(local.offers(Query()).offers[0], SPEC, "gp-stuck")
    (tmp_path / "home" / name / "state" / "daemon-1.pid").write_text(f"{os.getpid()}\n")
    ps = tmp_path / "bin" / "ps"
    ps.write_text("#!/bin/sh\nexec sleep 60\n")
    ps.chmod(0o755)
    monkeypatch.setattr("gpuplug.providers.local._PROC", tmp_path / "none")
    monkeypatch.setattr("gpuplug.providers.local._PROBE_S", 0.2)
    with pytest.raises(ProviderError, match="cannot be found out"):
        local.terminate(name)
