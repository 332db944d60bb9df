"""How the agent gets to the instance: the bundle, and the loader that trusts nothing."""

from __future__ import annotations

import ast
import hashlib
import io
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from agent_kit import Agent, Closed, installed
from interpreters_kit import find_python

from gpuplug import agent
from gpuplug.agent import wire

PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
NEEDS_THE_IMAGE = {"inline", "shell"}  # matplotlib and IPython: loaded where they are


def sources() -> dict[str, str]:
    archive = zipfile.ZipFile(io.BytesIO(agent.bundle()))
    return {name: archive.read(name).decode() for name in archive.namelist()}


def test_the_bundle_is_the_same_bytes_in_every_process() -> None:
    program = "from gpuplug import agent; print(agent.digest())"
    command = [sys.executable, "-X", "importtime", "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    assert found == agent.digest() == hashlib.sha256(agent.bundle()).hexdigest()


def test_the_bundle_holds_the_package_and_a_way_in() -> None:
    names = sources()
    assert {"__main__.py", "gpuplug_agent/__init__.py", "gpuplug_agent/wire.py"} <= set(names)
    assert all(name == "__main__.py" or name.startswith("gpuplug_agent/") for name in names)
    assert len(agent.bundle()) < 1 << 19


def test_every_file_is_python_3_8() -> None:
    for name, source in sources().items():
        ast.parse(source, name, feature_version=(3, 8))


@pytest.mark.parametrize("version", PYTHONS)
def test_every_file_can_be_imported_without_any_package(version: str, tmp_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    bundle = tmp_path / "agent.pyz"
    bundle.write_bytes(agent.bundle())
    modules = [name[:-3].replace("/", ".") for name in sources() if name.startswith("gpuplug_agent/")]
    wanted = [name for name in modules if name.rpartition(".")[2] not in NEEDS_THE_IMAGE]
    program = (
        f"import sys; sys.path.insert(0, {str(bundle)!r})\nimport importlib\n"
        f"for name in {wanted!r}: importlib.import_module(name)\nassert 'gpuplug' not in sys.modules"
    )
    subprocess.run([python, "-I", "-S", "-c", program], check=True, timeout=60)


def test_importing_the_agent_on_the_client_is_light() -> None:
    program = "import sys; from gpuplug import agent; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    ours = [name for name in loaded.stdout.split() if name.startswith("gpuplug")]
    assert ours == ["gpuplug", "gpuplug.agent"]


def test_the_first_time_the_bundle_is_needed_and_then_it_is_there(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as machine:
        assert [loaded_word(machine), loaded_word(machine)] == ["need", "have"]
        stored = machine.state / "agent" / f"{agent.digest()}.pyz"
        assert stored.read_bytes() == agent.bundle()
        assert stat.S_IMODE(machine.state.stat().st_mode) == 0o700
        assert stat.S_IMODE(stored.stat().st_mode) == 0o600


def loaded_word(machine: Agent) -> str:
    with machine.open() as link:
        word: str = link.load()
        link.send({"op": "attach", "role": "bulk", "kernel": "k"})
        assert link.receive()[0]["op"] == "welcome"
        return word


def test_a_torn_bundle_is_asked_for_again(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as machine:
        loaded_word(machine)
        (machine.state / "agent" / f"{agent.digest()}.pyz").write_bytes(agent.bundle()[:1000])
        assert loaded_word(machine) == "need"


@pytest.mark.parametrize("sent", [b"5\nwrong", b"no number\n", b"99999999999\n", b"0\n"])
def test_a_wrong_bundle_is_neither_stored_nor_run(sent: bytes, tmp_path: Path) -> None:
    with installed(tmp_path / "home") as machine, machine.open() as link:
        assert link.loader_line() == "GPUPLUG 1 need"
        link.write(sent)
        assert link.loader_line() == "GPUPLUG 1 error wrong digest"
        with pytest.raises(Closed):
            link.read(1)
        assert list((machine.state / "agent").iterdir()) == []


def test_noise_of_a_profile_and_frames_right_behind_the_bundle_do_no_harm(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as machine, machine.open(prefix="echo Welcome; echo 'GPUPLUG'; ") as link:
        attach = wire.pack({"op": "attach", "role": "bulk", "kernel": "k"})
        link.write(b"%d\n" % len(agent.bundle()) + agent.bundle() + attach)
        assert link.loader_line() == "GPUPLUG 1 need"
        assert link.receive()[0]["op"] == "welcome"


def test_a_machine_without_python_says_so(tmp_path: Path) -> None:
    with installed(tmp_path / "home", "/none/bin/python") as machine:
        machine.more["PATH"] = str(tmp_path)
        (tmp_path / "sh").symlink_to("/bin/sh")
        with machine.open() as link:
            assert link.loader_line() == "GPUPLUG 1 error no Python 3.8 or newer"


def test_a_state_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gpuplug").write_text("a file")
    with installed(tmp_path / "home") as machine, machine.open() as link:
        assert link.loader_line().startswith("GPUPLUG 1 error ")


def test_a_python_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    old = tmp_path / "venv" / "bin" / "python"
    old.parent.mkdir(parents=True)
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    with installed(tmp_path / "home", str(old)) as machine:
        machine.more["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        assert loaded_word(machine) == "need"
