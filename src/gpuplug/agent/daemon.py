"""The daemon: one for each bundle on the machine; it outlives every connection and holds all kernels."""

import fcntl
import os
import signal
import socket
import sys
import time
import traceback
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from . import wire
from .bulk import Answer, Bulk
from .clients import Client
from .environment import Python, choose, variables
from .gauges import Gauges
from .journal import Journal
from .loop import Loop
from .process import KernelProcess, OnEvent, OnOutput
from .runner import Runner
from .snapshot import Snapshot
from .switch import Switch
from .tasks import Worker

_CONTACT_S = 15.0
_SETTLE_S = 1.0
_REST_S = 5.0
_SHORT = 16
_SAVE_S = 3.0
_END_S = 4.0
_SAVED_LOOK_S = 0.1


class Place(NamedTuple):
    """Where a daemon lives: the state folder, and the bundle that it was started from."""

    state: str
    bundle: str

    @property
    def digest(self) -> str:
        """The bundle's sha256."""
        return os.path.splitext(os.path.basename(self.bundle))[0]

    @property
    def socket(self) -> str:
        """Name of the socket in the state folder: relative, because paths of sockets may have 104 bytes at most."""
        return f"daemon-{self.digest[:_SHORT]}.sock"

    def file(self, suffix: str) -> str:
        """Return the path of one of the daemon's own files."""
        return os.path.join(self.state, f"daemon-{self.digest}.{suffix}")


def lock(place: Place) -> Optional[int]:
    """Return a descriptor that holds the right to be the daemon as long as any process has it; None if one lives."""
    fd = os.open(place.file("lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def listen(place: Place) -> socket.socket:
    """Return the listening socket; the current folder is the state folder."""
    if os.path.lexists(place.socket):
        os.unlink(place.socket)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place.socket)
    os.chmod(place.socket, 0o600)
    listening.listen(64)
    return listening


class Daemon:
    """Serves clients from `listening` until SIGTERM, and then until what runs has saved. The current folder is the state folder."""

    def __init__(self, place: Place, listening: socket.socket) -> None:
        self._place = place
        self._listening = listening
        self.loop = Loop()
        self._environ = dict(os.environ)
        self.python: Python = choose(self._environ)
        self._switch = Switch(place.state)
        self._looker = Worker(self.loop, "changed files")
        self._worker = Worker(self.loop, "requests")
        self._gauges = Gauges()
        self._runners: Dict[str, Runner] = {}
        self._bulks: Dict[Runner, Bulk] = {}
        self._clients: List[Client] = []
        self._winding_up = False

    def run(self) -> None:
        """Serve."""
        with open(self._place.file("pid"), "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        # A kernel inherits this and so survives an interrupt that comes before it can handle one.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.loop.on_signal(signal.SIGTERM, self._wind_up)
        self.loop.on_signal(signal.SIGCHLD, self._check)
        self._listening.settimeout(0)
        self.loop.watch(self._listening.fileno(), read=self._accept)
        self.loop.every(_CONTACT_S, self._renew)
        self.loop.every(_SETTLE_S, self._settle)
        self.loop.every(_REST_S, self._rest)
        self._switch.unfetched.resume()
        self.loop.after_each = self._pump
        try:
            self.loop.run()
        finally:
            self._close()

    def _wind_up(self) -> None:
        """Let what the cells have started save, and interrupt the cells; the switch ends the machine 5 s after its SIGTERM."""
        if not self._winding_up:
            self._winding_up = True
            for runner in self._runners.values():
                runner.wind_up(_SAVE_S)
            self._stop_when_saved(time.monotonic() + _END_S)

    def _stop_when_saved(self, until: float) -> None:
        if time.monotonic() < until and any(runner.saves for runner in self._runners.values()):
            self.loop.later(_SAVED_LOOK_S, lambda: self._stop_when_saved(until))
        else:
            self.loop.stop()

    def _close(self) -> None:
        for runner in self._runners.values():
            runner.close()
        for name in (self._place.socket, self._place.file("pid")):
            if os.path.lexists(name):
                os.unlink(name)

    def _accept(self) -> None:
        connection, _ = self._listening.accept()
        self._clients.append(Client(connection, self))

    def gone(self, client: Client) -> None:
        """Forget a client that was closed."""
        self._clients.remove(client)

    def _pump(self) -> None:
        for client in list(self._clients):
            client.nudge()

    def _check(self) -> None:
        for runner in self._runners.values():
            runner.check()

    def _settle(self) -> None:
        if not os.path.lexists(self._place.socket):
            self.loop.stop()  # its folder was removed: nobody can reach it again
        if self._is_over():
            self.loop.stop()
        for runner in self._runners.values():
            runner.settle()

    def _is_over(self) -> bool:
        """Tell whether the lease is over on a computer that must not be switched off: ending the agent is all there is."""
        return "GPUPLUG_ENDS_ITSELF" in self._environ and not self._busy() and self._switch.lease_left() == 0

    def _busy(self) -> int:
        return sum(runner.busy for runner in self._runners.values())

    def _renew(self) -> None:
        if self._busy():
            self._switch.contact()

    def _rest(self) -> None:
        if not self._busy():
            self._switch.unfetched.rest_if_due()

    def runner(self, kernel: str) -> Runner:
        """Return the kernel of that id, made when there is none; somebody is in touch."""
        self._switch.contact()
        if kernel not in self._runners:
            self._runners[kernel] = self._make(kernel)
        return self._runners[kernel]

    def _make(self, kernel: str) -> Runner:
        folder = os.path.join(self._place.state, "kernels", kernel)
        base = self._environ.get("GPUPLUG_WORK") or os.path.join(os.path.expanduser("~"), "gpuplug")
        work = os.path.join(base, kernel)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.makedirs(work, mode=0o755, exist_ok=True)
        # A newer agent may run beside an older one: each has its own journal.
        journal = Journal(os.path.join(folder, "journal-" + self._place.digest[:_SHORT]))

        def start(on_output: OnOutput, on_event: OnEvent) -> KernelProcess:
            command = [self.python.path, self._place.bundle, "kernel", folder, work]
            environment = variables(self.python, self._environ)
            environment["GPUPLUG_STATE"] = self._place.state
            return KernelProcess(command, environment, work, self.loop, on_output, on_event)

        return Runner(folder, work, journal, self._looker, start, self._switch)

    def bulk(self, runner: Runner) -> Bulk:
        """Return what answers requests for `runner`."""
        if runner not in self._bulks:
            self._bulks[runner] = Bulk(runner, self._switch, self.python, self._busy, self._gauges)
        return self._bulks[runner]

    def work(self, bulk: Bulk, header: wire.Header, payload: bytes, done: Callable[[Answer], None]) -> None:
        """Have the worker answer a request that takes long."""

        def answer() -> Tuple[Answer, Optional[Snapshot]]:
            found = bulk.handle(header, payload)
            return found, bulk.shipped(header, found[0])

        def finish(result: Optional[Tuple[Answer, Optional[Snapshot]]], failure: Optional[Exception]) -> None:
            if result is None:
                done(({"id": header.get("id"), "ok": False, "error": "internal", "message": repr(failure)}, b""))
                return
            bulk.note_shipped(result[1])
            done(result[0])

        self._worker.submit(answer, finish)

    def forget(self, runner: Runner, offset: int) -> None:
        """Let go of the journal before `offset`, unless another client has not been sent it or a cell runs."""
        if not runner.busy:
            sent = [client.journal_offset or 0 for client in self._clients if client.follows(runner)]
            runner.journal.forget(min([offset, *sent]))


def become(place: Place, listening: socket.socket) -> None:
    """Be the daemon in a process that nothing waits for; returns in the parent only."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(place.file("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, to in ((null, 0), (null, 1), (log, 2)):
        os.dup2(fd, to)
    try:
        Daemon(place, listening).run()
    except BaseException:  # noqa: BLE001 - it goes to the log; the parent's code must not run on in this process
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(0)
