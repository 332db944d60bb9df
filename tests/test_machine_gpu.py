"""The stand-in for nvidia-smi says what the rented machine should have."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from machine_kit import machine, until

from gpuplug.sandbox.machine import MachineSpec
from gpuplug.sandbox.machine.gpu import marketing_name, nvidia_smi

if TYPE_CHECKING:
    from pathlib import Path


def smi(tmp_path: Path, *arguments: str, name: str = "RTX 4090", count: int = 2) -> tuple[int, str]:
    spec = MachineSpec(tmp_path, "7", "image", "", {}, [], name, count, 24564, "550.54.15", "12.4")
    script = tmp_path / "nvidia-smi"
    script.write_text(nvidia_smi(spec))
    done = subprocess.run(["/bin/sh", str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_query_answers_in_the_asked_order_for_every_gpu(tmp_path: Path) -> None:
    fields = "--query-gpu=index,name,memory.total,driver_version"
    assert smi(tmp_path, fields, "--format=csv,noheader") == (
        0,
        "0, NVIDIA GeForce RTX 4090, 24564 MiB, 550.54.15\n1, NVIDIA GeForce RTX 4090, 24564 MiB, 550.54.15\n",
    )
    assert smi(tmp_path, "--query-gpu=memory.total", "--format=csv,noheader,nounits", count=1) == (0, "24564\n")
    assert smi(tmp_path, "--query-gpu=name", "--format=csv", count=1) == (0, "name\nNVIDIA GeForce RTX 4090\n")


def test_the_list_and_the_table_name_gpu_driver_and_cuda(tmp_path: Path) -> None:
    status, listed = smi(tmp_path, "-L")
    assert status == 0
    assert [line.split(" (UUID: GPU-")[0] for line in listed.splitlines()] == [
        "GPU 0: NVIDIA GeForce RTX 4090",
        "GPU 1: NVIDIA GeForce RTX 4090",
    ]
    assert len(set(listed.split())) > 8, "each has a UUID of its own"
    table = smi(tmp_path)[1]
    for part in ("Driver Version: 550.54.15", "CUDA Version: 12.4", "NVIDIA GeForce RTX 4090", "24564MiB"):
        assert part in table


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--query-gpu=nonsense", "--format=csv"], 2), (["--reset"], 1)],
)
def test_what_it_does_not_know_it_refuses(tmp_path: Path, arguments: list[str], status: int) -> None:
    assert smi(tmp_path, *arguments, count=1)[0] == status


def test_a_machine_without_gpu_has_none(tmp_path: Path) -> None:
    assert smi(tmp_path, count=0) == (6, "No devices were found\n")


def test_a_hostile_name_stays_text(tmp_path: Path) -> None:
    name = "'; touch " + str(tmp_path / "made") + " $(id) \\n"
    assert name in smi(tmp_path, "-L", name=name, count=1)[1]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("market", "driver"),
    [
        ("RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("RTX 4000Ada", "NVIDIA RTX 4000Ada"),
        ("RTX A6000", "NVIDIA RTX A6000"),
        ("H100 SXM", "NVIDIA H100 SXM"),
        ("Tesla T4", "Tesla T4"),
    ],
)
def test_the_driver_puts_the_maker_before_the_name(market: str, driver: str) -> None:
    assert marketing_name(market) == driver


def test_it_is_found_first_in_a_session_and_in_the_start_command() -> None:
    with machine("nvidia-smi -L; echo end", isolation="variables") as one:
        listed = one.ssh("nvidia-smi -L").stdout
        until(lambda: "end" in one.log())
        log = one.log()
    assert isinstance(listed, bytes)
    assert listed.startswith(b"GPU 0: NVIDIA GeForce RTX 4090")
    assert listed.decode() in log
