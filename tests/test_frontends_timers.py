"""The timer of `gpuplug reap`: what is written is what the systems themselves read, and no key is in it."""

from __future__ import annotations

import plistlib
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from gpuplug import config
from gpuplug.errors import GpuplugError, UsageError
from gpuplug.frontends import timers
from gpuplug.frontends.timers import Cron, Launchd, Place, Systemd, install, uninstall

if TYPE_CHECKING:
    from pathlib import Path

KEY = "canary-0123456789"
# What a path may hold, and what each of the systems reads in its own way.
AWKWARD = "a b%20 'q' \"d\" $HOME \\n"
OTHERS = "MAILTO=me\n0 5 * * * backup  # mine\n"


@dataclass
class Computer:
    """The commands of a computer, none of which is run; its crontab is real text."""

    crontab: str | None = None
    failing: str = ""
    ran: list[list[str]] = field(default_factory=list)

    def __call__(self, command: list[str], text: str = "") -> tuple[int, str]:
        self.ran.append(command)
        if self.failing and self.failing in command:
            return 1, "it is broken"
        if command == ["crontab", "-l"]:
            return (0, self.crontab) if self.crontab is not None else (1, "no crontab for root")
        if command == ["crontab", "-"]:
            self.crontab = text
        return 0, ""


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """Return a PATH on which the three systems seem to be."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("systemctl", "crontab", "launchctl"):
        (folder / name).write_text("#!/bin/sh\nexit 99\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.fixture
def computer() -> Computer:
    return Computer()


@pytest.fixture
def place(tmp_path: Path, tools: str, computer: Computer) -> Place:
    home = tmp_path / AWKWARD.replace("/", "")
    home.mkdir()
    environ = {
        "HOME": str(home),
        "PATH": tools,
        "GPUPLUG_HOME": str(home / "gp"),
        "VAST_URL": "http://127.0.0.1:9/x?y=%20",
        "VAST_API_KEY": KEY,
    }
    return Place(environ, computer)


def written(place: Place) -> dict[Path, str]:
    return {path: path.read_text() for path in place.home.rglob("*") if path.is_file()}


def test_systemd_gets_two_units_and_its_own_checker_finds_no_fault(place: Place, computer: Computer) -> None:
    said = "\n".join(Systemd(place).install())
    files = written(place)
    assert sorted(path.name for path in files) == ["gpuplug-reap.service", "gpuplug-reap.timer"]
    assert all(str(path) in said for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert computer.ran == [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", "--now", "gpuplug-reap.timer"],
    ]
    assert "systemctl --user list-timers" in said
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", *map(str, files)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"HOME": str(place.home), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "XDG_RUNTIME_DIR": str(place.home)},
    )
    complaints = [line for line in done.stderr.splitlines() if "gpuplug-reap" in line]
    assert complaints == []


def unquoted(text: str) -> str:
    """Read a quoted word of a unit file as systemd does."""
    assert text[0] == text[-1] == '"'
    return text[1:-1].replace("%%", "%").replace('\\"', '"').replace("\\\\", "\\")


def test_a_unit_holds_paths_as_they_are_whatever_is_in_them(place: Place) -> None:
    Systemd(place).install()
    (service,) = (text for path, text in written(place).items() if path.suffix == ".service")
    told = [unquoted(line.partition("=")[2]) for line in service.splitlines() if line.startswith("Environment=")]
    assert dict(word.split("=", 1) for word in told) == place.carried
    (command,) = (line for line in service.splitlines() if line.startswith("ExecStart="))
    assert f'"{sys.executable}" "-m" "gpuplug.frontends.cli" "reap"' in command


def test_launchd_gets_an_agent_that_it_can_read(place: Place, computer: Computer) -> None:
    said = "\n".join(install(place, darwin=True).splitlines())
    (path,) = place.home.rglob("*.plist")
    agent = plistlib.loads(path.read_bytes())
    assert agent["ProgramArguments"] == [sys.executable, "-m", "gpuplug.frontends.cli", "reap"]
    assert agent["EnvironmentVariables"] == place.carried
    assert agent["StartInterval"] == 300
    assert str(path) in said
    assert computer.ran[-1][:2] == ["launchctl", "bootstrap"]


def test_cron_gets_one_line_and_keeps_all_others(place: Place, computer: Computer) -> None:
    computer.crontab = OTHERS
    for _ in range(2):
        said = "\n".join(Cron(place).install())
    assert computer.crontab is not None
    assert computer.crontab.startswith(OTHERS)
    (line,) = computer.crontab.removeprefix(OTHERS).splitlines()
    assert line in said
    assert line.startswith("*/5 * * * * ")
    assert Cron(place).uninstall() == ["took the line of gpuplug out of your crontab"]
    assert computer.crontab == OTHERS


def test_the_line_of_the_crontab_runs_the_command_with_the_environment_as_it_was(
    place: Place, computer: Computer, tmp_path: Path
) -> None:
    shows = "import os, sys; print(sys.argv[1:], os.environ['GPUPLUG_HOME'], os.environ['VAST_URL'])"
    strange = Place(place.environ, computer, (sys.executable, "-c", shows, "100%", "$HOME"))
    Cron(strange).install()
    assert computer.crontab is not None
    line = computer.crontab.strip().removeprefix("*/5 * * * * ")
    assert "%" not in line.replace("\\%", "")
    command = line.replace("\\%", "%")  # as cron does before it hands the line to the shell
    subprocess.run(["/bin/sh", "-c", command], env={"PATH": "/usr/bin:/bin"}, timeout=60, check=True, cwd=tmp_path)
    carried = strange.carried
    assert strange.log.read_text() == f"['100%', '$HOME'] {carried['GPUPLUG_HOME']} {carried['VAST_URL']}\n"


def test_the_one_that_the_computer_has_is_taken(place: Place, computer: Computer, tmp_path: Path) -> None:
    assert "gpuplug-reap.timer" in install(place, darwin=False, booted=tmp_path)
    computer.failing = "--user"  # in a container, or over ssh without a session
    assert "crontab" in install(place, darwin=False, booted=tmp_path)
    computer.failing = ""
    assert "crontab" in install(place, darwin=False, booted=tmp_path / "no")


def test_where_there_is_no_timer_it_is_said_what_to_run(place: Place, tmp_path: Path) -> None:
    bare = Place({**place.environ, "PATH": str(tmp_path / "no")}, place.runner)
    with pytest.raises(UsageError, match="neither a systemd of yours") as caught:
        install(bare, darwin=False, booted=tmp_path / "no")
    assert "gpuplug.frontends.cli reap" in caught.value.hint


@pytest.mark.parametrize("kind", [Systemd, Launchd, Cron])
def test_no_key_is_written_or_said_and_a_key_that_no_timer_sees_is_named_with_what_to_type(
    place: Place, computer: Computer, tmp_path: Path, kind: type
) -> None:
    booted = tmp_path if kind is Systemd else tmp_path / "no"
    said = install(place, darwin=kind is Launchd, booted=booted)
    for text in (said, computer.crontab or "", str(computer.ran), *written(place).values()):
        assert KEY not in text
    assert "BUT the key of vast is only in VAST_API_KEY of this shell" in said
    (typed,) = (line.partition(": ")[2] for line in said.splitlines() if line.strip().startswith("keep it in"))
    done = subprocess.run(
        ["/bin/sh", "-c", typed], env={**place.environ, "PATH": "/usr/bin:/bin"}, check=True, timeout=60
    )
    assert done.returncode == 0
    kept = place.home / ".config/vastai/vast_api_key"
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == (KEY, 0o600)
    assert "BUT" not in install(place, darwin=kind is Launchd, booted=booted)


def test_the_key_of_runpod_is_kept_where_it_is_read_from(place: Place) -> None:
    environ = {**place.environ, "RUNPOD_API_KEY": KEY}
    subprocess.run(
        ["/bin/sh", "-c", timers._KEEP_KEY["RUNPOD_API_KEY"]],  # noqa: SLF001 - what a user types
        env={**environ, "PATH": "/usr/bin:/bin"},
        check=True,
        timeout=60,
    )
    assert config.find_key("runpod", {"HOME": environ["HOME"]}) is not None


def test_uninstalling_removes_whatever_there_is_and_may_be_repeated(
    place: Place, computer: Computer, tmp_path: Path
) -> None:
    computer.crontab = OTHERS
    for darwin, booted in ((False, tmp_path), (True, tmp_path), (False, tmp_path / "no")):
        install(place, darwin=darwin, booted=booted)
    said = uninstall(place)
    assert written(place) == {}
    assert computer.crontab == OTHERS
    for word in ("gpuplug-reap.service", "gpuplug-reap.timer", "gpuplug.reap.plist", "crontab"):
        assert word in said
    assert uninstall(place) == "no timer of gpuplug is installed"


def test_a_path_with_a_line_break_is_refused_before_anything_is_written(place: Place, computer: Computer) -> None:
    broken = Place({**place.environ, "GPUPLUG_HOME": str(place.home / "a\nb")}, computer)
    for kind in (Systemd, Launchd, Cron):
        with pytest.raises(UsageError, match="GPUPLUG_HOME"):
            kind(broken).install()
    assert written(place) == {}


def test_a_system_that_fails_is_an_error_with_its_own_words(place: Place, computer: Computer) -> None:
    computer.failing = "enable"
    with pytest.raises(GpuplugError, match=r"enable --now gpuplug-reap\.timer` failed with 1: it is broken"):
        Systemd(place).install()
    with pytest.raises(GpuplugError, match="no-such-program"):
        timers.run(["no-such-program"])


def test_a_file_that_cannot_be_written_is_an_error_with_its_name(place: Place) -> None:
    (place.home / ".config").write_text("a file")
    with pytest.raises(GpuplugError, match="cannot be written"):
        Systemd(place).install()
