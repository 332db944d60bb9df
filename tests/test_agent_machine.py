"""What the agent finds on a machine: which Python, which GPUs, and drivers that hang."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest
from agent_kit import installed

from gpuplug.agent import environment, probe
from gpuplug.agent.environment import Python

VERSION = platform.python_version()


def fake_python(folder: Path, version: str) -> Path:
    path = folder / "bin" / "python"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


def test_the_active_environment_comes_first_then_conda_then_path(tmp_path: Path) -> None:
    active = fake_python(tmp_path / "venv", "3.9.1")
    conda = fake_python(tmp_path / "conda", "3.10.2")
    environ = {
        "VIRTUAL_ENV": str(tmp_path / "venv"),
        "CONDA_PREFIX": str(tmp_path / "conda"),
        "PATH": os.environ["PATH"],
    }
    found = environment.choose(environ)
    assert found == Python(str(active), "3.9.1", "the active virtual environment", str(tmp_path / "venv"))
    del environ["VIRTUAL_ENV"]
    assert environment.choose(environ) == Python(
        str(conda), "3.10.2", "the active conda environment", str(tmp_path / "conda")
    )


@pytest.mark.parametrize("version", ["3.7.16", "2.7.18", "", "garbage", "3"])
def test_a_python_that_is_too_old_or_broken_is_passed_over(version: str, tmp_path: Path) -> None:
    fake_python(tmp_path / "venv", version)
    (tmp_path / "python3").symlink_to(sys.executable)
    found = environment.choose({"VIRTUAL_ENV": str(tmp_path / "venv"), "PATH": str(tmp_path)})
    assert found == Python(str(tmp_path / "python3"), VERSION, "python3 on PATH")


def test_without_any_other_the_agents_own_python_runs_the_cells(tmp_path: Path) -> None:
    assert environment.choose({"PATH": str(tmp_path)}).path == sys.executable


def test_a_kernel_finds_the_environments_programs_first(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    found = environment.variables(Python("p", VERSION, "why", str(tmp_path)), {"PATH": "/bin", "A": "b"})
    assert found == {"A": "b", "PATH": f"{tmp_path}/bin:/bin", "VIRTUAL_ENV": str(tmp_path)}
    (tmp_path / "pyvenv.cfg").unlink()
    conda = environment.variables(Python("p", VERSION, "why", str(tmp_path)), {"PATH": "/bin"})
    assert conda["CONDA_PREFIX"] == str(tmp_path)


def test_rows_of_nvidia_smi_become_names_and_memory() -> None:
    rows = "NVIDIA GeForce RTX 4090, 24564\nNVIDIA H200, 143771\nOdd, Name, [N/A]\n\n"
    assert probe.gpus(rows) == [["NVIDIA GeForce RTX 4090", 24564], ["NVIDIA H200", 143771], ["Odd, Name", 0]]


def nvidia_smi(folder: Path, script: str) -> str:
    folder.mkdir()
    path = folder / "nvidia-smi"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_probe_reads_gpus_and_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'case "$1" in --query*) echo "NVIDIA H200, 143771";; *) echo "| Driver 570  CUDA Version: 12.8 |";; esac\n'
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "bin", script))
    found = probe.probe(Python(sys.executable, VERSION, "chosen"), str(tmp_path))
    assert (found["gpus"], found["cuda"]) == ([["NVIDIA H200", 143771]], "12.8")
    assert found["environment"] == f"{sys.executable}: chosen"


def test_a_driver_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever waited for it to the end would see the GPU.
    late = "import time; time.sleep(60); print('NVIDIA H200, 143771')"
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "bin", f'exec {sys.executable} -c "{late}"\n'))
    monkeypatch.setattr(probe, "_SMI_S", 0.2)
    found = probe.probe(Python("/none", VERSION, "chosen"), str(tmp_path))
    assert (found["gpus"], found["cuda"], found["ipython"]) == ([], "", None)


def test_a_slow_probe_holds_up_no_output(tmp_path: Path) -> None:
    path = nvidia_smi(tmp_path / "bin", f"touch {tmp_path}/asked; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done\n")
    with installed(tmp_path / "home") as machine:
        machine.more["PATH"] = path
        with machine.control() as cells, machine.bulk() as bulk, machine.bulk() as other:
            bulk.send({"op": "probe", "id": 1})
            assert cells.cell("print('meanwhile')").text() == "meanwhile\n"
            assert other.ask("ping")[0]["ok"]
            (tmp_path / "go").touch()
            assert bulk.receive()[0]["ok"]


def test_a_python_that_cannot_start_a_kernel_says_why_in_the_cell(tmp_path: Path) -> None:
    fake = fake_python(tmp_path / "venv", "3.11.0")
    with installed(tmp_path / "home") as machine:
        machine.more["VIRTUAL_ENV"] = str(tmp_path / "venv")
        machine.more["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        fake.write_text(f'#!/bin/sh\n[ "$2" = kernel ] && echo broken && exit 9\nexec {sys.executable} "$@"\n')
        with machine.control() as cells:
            ran = cells.cell("print('never')")
            assert (ran.status, ran.done["code"]) == ("died", 9)
            assert set(ran.text().splitlines()) == {"broken"}
