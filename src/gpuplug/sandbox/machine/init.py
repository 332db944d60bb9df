"""The first process of a machine: starts sshd, runs the start command, and ends everything.

It runs as a script with nothing but the standard library (`python -I -S init.py CONFIG`). Descriptor 0 is a socket
to the process that booted the machine: "up" or "failed <why>" goes out, "stop" and "term" (SIGTERM to the start
command, whose end then ends the machine) come in, and its end means that nobody is left who could stop the machine,
so that it ends by itself.

The functions that find and end processes serve the other side too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ON_LINUX = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.01
_LOOK_S = 0.5
_KILL_PAUSE_S = 0.005
_STOP_LIMIT_S = 1.0


class InitConfig(TypedDict):
    """What the booting side wants; paths are as the machine sees them."""

    start_command: str
    start_delay: float
    auth_lag: float
    sshd: list[str]
    sshd_env: dict[str, str]
    sshd_log: str
    sshd_pid: str
    accounts: str
    account_files: dict[str, str]
    uptime_file: str


def process_parents() -> dict[int, int]:
    """Return the parent of every process of this computer (of this pid namespace)."""
    if not ON_LINUX:
        rows = _ps("pid=,ppid=").splitlines()
        return {int(pid): int(parent) for pid, parent in (row.split() for row in rows if row)}
    parents = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - thousands of names, none needs a Path
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            stat = Path("/proc", entry, "stat").read_bytes()
            state, parent = stat.rpartition(b")")[2].split()[:2]
            if state not in (b"Z", b"X"):
                parents[int(entry)] = int(parent)
    return parents


def descendants(ancestor: int) -> set[int]:
    """Return the living processes that descend from `ancestor`, without itself."""
    children: dict[int, list[int]] = {}
    for pid, parent in process_parents().items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def marked(mark: str) -> set[int]:
    """Return the living processes of ours that were started with `mark` ("NAME=value") in their environment."""
    if not ON_LINUX:
        rows = _ps("pid=,command=", "-E").splitlines()
        return {int(row.split(None, 1)[0]) for row in rows if mark in row}
    needle = mark.encode()
    found = set()
    for pid in process_parents():
        with contextlib.suppress(OSError):
            if needle in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def kill_until_none(find: Callable[[], Iterable[int]], limit_s: float) -> set[int]:
    """SIGKILL what `find` returns until it returns nothing or `limit_s` passed; return what is left. Blocks."""
    deadline = time.monotonic() + limit_s
    while True:
        left = set(find()) - {os.getpid()}
        if not left or time.monotonic() > deadline:
            return left
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_KILL_PAUSE_S)


def _ps(columns: str, *flags: str) -> str:
    command = ["/bin/ps", "-axww", *flags, "-o", columns]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout


def _reap() -> dict[int, int]:
    """Collect every ended child; return the wait status of each."""
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended[pid] = status
    return ended


class Init:
    """State of the first process; one thread, woken by the socket, by ended children and by its own timers."""

    def __init__(self, config: InitConfig, channel: socket.socket) -> None:
        self._config = config
        self._channel = channel
        self._parent = os.getppid()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._sshd = 0
        self._command = 0
        self._stopping = False
        self._terminating = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def run(self) -> None:
        """Serve until told to stop or orphaned, then end every process of the machine."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._clear_leftovers()
        self._after(0, self._look)
        self._start_sshd()
        while not self._stopping:
            self._wait()
            self._note_ended(_reap())
            self._run_timers()
        self._end()

    def _on_terminate(self, *_: object) -> None:
        self._stopping = True

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append((time.monotonic() + seconds, action))

    def _run_timers(self) -> None:
        now = time.monotonic()
        due = [action for at, action in self._timers if at <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for action in due:
            action()

    def _wait(self) -> None:
        next_at = min(at for at, _ in self._timers)
        timeout = max(0.0, next_at - time.monotonic())
        watched: list[socket.socket | int] = [self._channel, self._wake_read]
        ready, _, _ = select.select(watched, [], [], timeout)
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        if self._channel in ready:
            word = self._channel.recv(64)
            if not word or b"stop\n" in word:
                self._stopping = True
            elif b"term\n" in word:
                self._terminate()

    def _look(self) -> None:
        """Do what must be done again and again, because no event tells of it."""
        # The socket's other end may have leaked into a forked child of a parent that is gone.
        if os.getppid() != self._parent:
            self._stopping = True
        if self._config["uptime_file"]:
            Path(self._config["uptime_file"]).write_text(f"{time.monotonic():.2f} 0.00\n")
        self._after(_LOOK_S, self._look)

    def _clear_leftovers(self) -> None:
        """Remove what the previous boot left and this one would mistake for its own."""
        Path(self._config["sshd_pid"]).unlink(missing_ok=True)
        accounts = Path(self._config["accounts"])
        accounts.mkdir(parents=True, exist_ok=True)
        for name in self._config["account_files"]:
            (accounts / name).unlink(missing_ok=True)

    def _start_sshd(self) -> None:
        if not self._config["sshd"]:
            self._after(self._config["start_delay"], self._start_command)
            self._after(0, self._await_sshd)
            self._say("up")
            return
        with Path(self._config["sshd_log"]).open("ab") as log:
            self._sshd = subprocess.Popen(
                self._config["sshd"],
                env=self._config["sshd_env"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ).pid
        self._after(_POLL_S, self._await_sshd)

    def _await_sshd(self) -> None:
        """Both servers write their pid once they listen."""
        if not Path(self._config["sshd_pid"]).exists():
            self._after(_POLL_S, self._await_sshd)
            return
        if self._config["auth_lag"] > 0:
            self._after(self._config["auth_lag"], self._open_accounts)
        else:
            # Before anybody is told that the machine is up: who hears it may log in at once.
            self._open_accounts()
        if self._sshd:
            self._after(self._config["start_delay"], self._start_command)
            self._say("up")
            self._sshd = 0

    def _open_accounts(self) -> None:
        """Let keys be accepted: the servers look for them behind links that did not exist until now."""
        for name, target in self._config["account_files"].items():
            (Path(self._config["accounts"]) / name).symlink_to(target)

    def _start_command(self) -> None:
        self._command = subprocess.Popen(
            ["/bin/sh", "-c", self._config["start_command"]],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        ).pid

    def _terminate(self) -> None:
        """Do as a container does whose first process is the start command: it gets the signal, and ends everything."""
        self._terminating = True
        if not self._command:
            self._stopping = True
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._command, signal.SIGTERM)

    def _note_ended(self, ended: dict[int, int]) -> None:
        if self._command in ended:
            self._command = 0
            self._stopping = self._stopping or self._terminating
        if self._sshd in ended:
            code = os.waitstatus_to_exitcode(ended[self._sshd])
            self._say(f"failed sshd ended with status {code}, see {self._config['sshd_log']}")
            self._stopping = True

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._channel.sendall(line.encode() + b"\n")

    def _end(self) -> None:
        """As process 1 of a namespace the kernel ends the others; else every descendant is looked for."""

        def left() -> set[int]:
            _reap()
            return descendants(os.getpid())

        if os.getpid() != 1:
            kill_until_none(left, _STOP_LIMIT_S)
        os._exit(0)


def adopt_orphans() -> None:
    """Make processes whose parent ended children of this one, so that none can leave the tree (Linux only)."""
    if not ON_LINUX:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def main() -> None:
    """Run as a machine's first process with the configuration file named in argv."""
    config: InitConfig = json.loads(Path(sys.argv[1]).read_text())
    channel = socket.socket(fileno=0)
    os.set_inheritable(0, False)  # noqa: FBT003 - the name says it
    adopt_orphans()
    Init(config, channel).run()


if __name__ == "__main__":
    main()
