"""The timer that runs `gpuplug reap`: of systemd, launchd or cron. It carries where things are, never a key."""

from __future__ import annotations

import os
import plistlib
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gpuplug import config
from gpuplug.errors import GpuplugError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EVERY_MIN = 5
_NAME = "gpuplug-reap"
_RUN_S = 60.0
# Where things are, as far as the environment says so. A key is in none of them.
_CARRIED = ("GPUPLUG_HOME", "XDG_DATA_HOME", "VAST_URL", "RUNPOD_API_BASE_URL")
_KEEP_KEY = {
    "VAST_API_KEY": 'mkdir -p ~/.config/vastai && (umask 077; printf %s "$VAST_API_KEY" >~/.config/vastai/vast_api_key)',
    "RUNPOD_API_KEY": 'mkdir -p ~/.runpod && (umask 077; printf \'apikey = "%s"\\n\' "$RUNPOD_API_KEY" >>~/.runpod/config.toml)',
}


class Runner(Protocol):
    """Runs a command and returns its exit status and what it said; tests pass one that runs nothing."""

    def __call__(self, command: list[str], text: str = "") -> tuple[int, str]:
        """Run `command` with `text` as its input."""
        ...


def run(command: list[str], text: str = "") -> tuple[int, str]:
    """Run a command of this computer.

    Raises:
        GpuplugError: it is not there, or does not end.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_RUN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GpuplugError(f"`{shlex.join(command)}` cannot be run: {error}") from error
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


@dataclass(frozen=True, slots=True)
class Place:
    """The computer that a timer is put on: its environment, and the way to run its commands."""

    environ: Mapping[str, str]
    runner: Runner = run
    program: tuple[str, ...] = (sys.executable, "-m", "gpuplug.frontends.cli", "reap")

    @property
    def home(self) -> Path:
        """The user's home folder."""
        return Path(self.environ.get("HOME", "~")).expanduser()

    @property
    def carried(self) -> dict[str, str]:
        """What of the environment the timer needs; one line each.

        Raises:
            UsageError: a value has a line break, which no timer's file can hold.
        """
        found = {name: self.environ[name].strip() for name in _CARRIED if self.environ.get(name, "").strip()}
        for name, value in {**found, "the program": " ".join(self.program)}.items():
            if not value.isprintable():
                raise UsageError(f"{name} is {value!r}, and a timer's file has no room for that")
        return found

    @property
    def log(self) -> Path:
        """Where the last run's words lie, where no journal keeps them."""
        return config.home(self.environ) / "reap.log"

    def need(self, command: list[str], text: str = "") -> str:
        """Run a command that must succeed.

        Raises:
            GpuplugError: it failed; says how.
        """
        status, said = self.runner(command, text)
        if status:
            raise GpuplugError(f"`{shlex.join(command)}` failed with {status}: {said.strip()[:300]}")
        return said

    def write(self, path: Path, text: str) -> None:
        """Write a private file.

        Raises:
            GpuplugError: it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o600)
        except OSError as error:
            raise GpuplugError(f"{path} cannot be written: {error.strerror}") from error


class Systemd:
    """A timer of the user's own systemd."""

    def __init__(self, place: Place) -> None:
        self._place = place
        folder = place.environ.get("XDG_CONFIG_HOME", "").strip() or str(place.home / ".config")
        self.files = [Path(folder) / "systemd/user" / f"{_NAME}.{kind}" for kind in ("service", "timer")]

    def install(self) -> list[str]:
        """Write both units and enable the timer; return what was done and how to look at it."""
        environment = "".join(f"Environment={_unit_word(f'{k}={v}')}\n" for k, v in self._place.carried.items())
        program = " ".join(_unit_word(word).replace("$", "$$") for word in self._place.program)
        service = (
            "[Unit]\nDescription=gpuplug: end rented machines that nobody uses any more\n\n"
            f"[Service]\nType=oneshot\n{environment}ExecStart={program}\nTimeoutStartSec=15min\n"
        )
        timer = (
            "[Unit]\nDescription=gpuplug: look for rented machines that nobody uses any more\n\n"
            f"[Timer]\nOnBootSec=2min\nOnCalendar=*:0/{EVERY_MIN}\nPersistent=true\nAccuracySec=30s\n\n"
            "[Install]\nWantedBy=timers.target\n"
        )
        for path, text in zip(self.files, (service, timer), strict=True):
            self._place.write(path, text)
        self._place.need(["systemctl", "--user", "daemon-reload"])
        self._place.need(["systemctl", "--user", "enable", "--now", f"{_NAME}.timer"])
        return [
            *(f"wrote {path}" for path in self.files),
            f"enabled {_NAME}.timer: every {EVERY_MIN} minutes while you are logged in (`loginctl enable-linger`: always)",
            f"look at it: systemctl --user list-timers {_NAME}.timer, journalctl --user -u {_NAME}",
        ]

    def uninstall(self) -> list[str]:
        """Disable the timer and remove both units; return what was done."""
        there = [path for path in self.files if path.exists()]
        if not there:
            return []
        status, said = self._place.runner(["systemctl", "--user", "disable", "--now", f"{_NAME}.timer"])
        lines = [f"disabled {_NAME}.timer" if status == 0 else f"{_NAME}.timer was not running: {said.strip()[:200]}"]
        lines += _removed(there)
        self._place.runner(["systemctl", "--user", "daemon-reload"])
        return lines


class Launchd:
    """An agent of macOS."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.file = place.home / "Library/LaunchAgents/gpuplug.reap.plist"
        self._target = f"gui/{os.getuid()}"

    def install(self) -> list[str]:
        """Write the agent and load it; return what was done and how to look at it."""
        agent = {
            "Label": "gpuplug.reap",
            "ProgramArguments": list(self._place.program),
            "EnvironmentVariables": self._place.carried,
            "StartInterval": EVERY_MIN * 60,
            "RunAtLoad": True,
            "StandardOutPath": str(self._place.log),
            "StandardErrorPath": str(self._place.log),
        }
        self._place.write(self.file, plistlib.dumps(agent).decode())
        self._place.runner(["launchctl", "bootout", f"{self._target}/gpuplug.reap"])  # one of before, if there is any
        self._place.need(["launchctl", "bootstrap", self._target, str(self.file)])
        return [
            f"wrote {self.file}",
            f"loaded gpuplug.reap: every {EVERY_MIN} minutes while you are logged in",
            f"look at it: launchctl print {self._target}/gpuplug.reap, {self._place.log}",
        ]

    def uninstall(self) -> list[str]:
        """Unload the agent and remove it; return what was done."""
        if not self.file.exists():
            return []
        status, said = self._place.runner(["launchctl", "bootout", f"{self._target}/gpuplug.reap"])
        line = "unloaded gpuplug.reap" if status == 0 else f"gpuplug.reap was not loaded: {said.strip()[:200]}"
        return [line, *_removed([self.file])]


class Cron:
    """A line of the user's crontab; all others stay as they are."""

    _MARK = "# gpuplug reap"

    def __init__(self, place: Place) -> None:
        self._place = place

    def install(self) -> list[str]:
        """Put the line in; return what was done and how to look at it."""
        words = [*(f"{k}={shlex.quote(v)}" for k, v in self._place.carried.items())]
        words += [shlex.quote(word) for word in self._place.program]
        words += [f">{shlex.quote(str(self._place.log))}", "2>&1"]
        # A bare % ends the command in a crontab.
        entry = f"*/{EVERY_MIN} * * * * {' '.join(words)} {self._MARK}".replace("%", "\\%")
        self._write([*self._others(), entry])
        return [
            f"added to your crontab: {entry}",
            f"look at it: crontab -l; what the last run said lies in {self._place.log}",
        ]

    def uninstall(self) -> list[str]:
        """Take the line out; return what was done."""
        if not shutil.which("crontab", path=self._place.environ.get("PATH")):
            return []
        others = self._others()
        if others == self._lines():
            return []
        self._write(others)
        return ["took the line of gpuplug out of your crontab"]

    def _lines(self) -> list[str]:
        status, said = self._place.runner(["crontab", "-l"])
        return said.splitlines() if status == 0 else []  # there is none yet

    def _others(self) -> list[str]:
        return [line for line in self._lines() if not line.rstrip().endswith(self._MARK)]

    def _write(self, lines: list[str]) -> None:
        self._place.need(["crontab", "-"], "".join(f"{line}\n" for line in lines))


def install(
    place: Place, *, darwin: bool = sys.platform == "darwin", booted: Path = Path("/run/systemd/system")
) -> str:
    """Install the timer that this computer has; say what was written, how to look at it, and which key it will not see.

    Raises:
        UsageError: there is neither systemd, launchd nor cron.
        GpuplugError: it could not be installed; says what failed.
    """
    lines = _kind(place, darwin=darwin, booted=booted)(place).install()
    carried = ", ".join(f"{name}={value}" for name, value in place.carried.items())
    lines.append(f"it is told {carried}" if carried else "it is told nothing of your environment")
    return "\n".join([*lines, *_unseen_keys(place)])


def uninstall(place: Place) -> str:
    """Remove whatever timer was installed, and say what was done. May be repeated."""
    lines = [line for kind in (Systemd, Launchd, Cron) for line in kind(place).uninstall()]
    return "\n".join(lines) or "no timer of gpuplug is installed"


def _kind(place: Place, *, darwin: bool, booted: Path) -> Callable[[Place], Systemd | Launchd | Cron]:
    path = place.environ.get("PATH")
    if darwin:
        return Launchd
    if booted.is_dir() and shutil.which("systemctl", path=path):
        status, _ = place.runner(["systemctl", "--user", "show-environment"])
        if status == 0:
            return Systemd
    if shutil.which("crontab", path=path):
        return Cron
    raise UsageError(
        "there is neither a systemd of yours, launchd nor cron here to run it by",
        hint=f"let anything that you have run `{shlex.join(place.program)}` every {EVERY_MIN} minutes",
    )


def _unseen_keys(place: Place) -> list[str]:
    """Say which keys are only in the shell's environment, and what to type so that a timer finds them."""
    lines = []
    for name in config.enabled(place.environ):
        variable, files = config.KEY_PLACES[name]
        without = {key: value for key, value in place.environ.items() if key != variable}
        if name not in config.enabled(without):
            lines += [
                f"BUT the key of {name} is only in {variable} of this shell, and a timer does not see that: it will end nothing there.",
                f"    keep it in {files[0]}: {_KEEP_KEY[variable]}",
            ]
    return lines


def _unit_word(word: str) -> str:
    """Quote a word for a unit file: systemd has its own rules."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _removed(files: list[Path]) -> list[str]:
    try:
        for path in files:
            path.unlink()
    except OSError as error:
        raise GpuplugError(f"{error.filename} cannot be removed: {error.strerror}") from error
    return [f"removed {path}" for path in files]
