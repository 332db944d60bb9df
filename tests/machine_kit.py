"""A sandbox machine for tests that need a real SSH server: `with machine() as m: ssh -p m.port root@m.host`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import select
import shutil
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh
import pytest

from gpuplug.sandbox.machine import Machine, MachineError, MachineSpec, isolation, openssh

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")
LIMIT_S = 30.0
_POLL_S = 0.02


def until(condition: Callable[[], T], limit_s: float = 10.0) -> T:
    """Return the first true result of `condition`; fail the test after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {limit_s} s")
        select.select([], [], [], _POLL_S)
    return result


def kinds() -> list[Any]:
    """Return every pair of server and isolation as pytest parameters; what cannot run here is skipped with its reason."""
    found = []
    for sshd in ("asyncssh", "openssh"):
        for mode in (isolation.VARIABLES, isolation.BUBBLEWRAP):
            why_not = isolation.why_no_bubblewrap() if mode == isolation.BUBBLEWRAP else ""
            marks = [pytest.mark.bubblewrap] if mode == isolation.BUBBLEWRAP else []
            if sshd == "openssh":
                marks.append(pytest.mark.openssh)
                try:
                    openssh.check(mode)
                except MachineError as error:
                    why_not = why_not or str(error)
            skip = pytest.mark.skipif(bool(why_not), reason=why_not)
            options = {"sshd": sshd, "isolation": mode}
            found.append(pytest.param(options, marks=[*marks, skip], id=f"{sshd}-{mode}"))
    return found


def corners() -> list[Any]:
    """Return the two kinds that differ most, for what need not be tried on all four."""
    return [kind for kind in kinds() if kind.id in ("asyncssh-variables", "openssh-bubblewrap")]


class LoopThread:
    """An event loop in a thread of its own; every call waits for its result."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="machine-kit")
        self._thread.start()

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[LoopThread]:
        one = cls()
        try:
            yield one
        finally:
            one.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)

    def call(self, function: Callable[[], T]) -> T:
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it is raised where result() is asked for
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(LIMIT_S)

    def close(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()


class LinkFromOutside:
    """The faults of `Machine.link`, callable from any thread."""

    def __init__(self, thread: LoopThread, under_test: Machine) -> None:
        self._thread = thread
        self._link = under_test.link

    def cut(self, after_bytes: int | None = None) -> None:
        """Reset all connections: now, or after so many more bytes."""
        self._thread.call(lambda: self._link.cut(after_bytes))

    def black_hole(self, seconds: float) -> None:
        """Pass nothing for so long."""
        self._thread.call(lambda: self._link.black_hole(seconds))

    def refuse(self, seconds: float) -> None:
        """Refuse new connections for so long."""
        self._thread.call(lambda: self._link.refuse(seconds))


class MachineFromOutside:
    """A booted machine, callable from any thread; every call blocks until it is done."""

    host = "127.0.0.1"
    user = "root"

    def __init__(self, thread: LoopThread, spec: MachineSpec, user_key: str) -> None:
        self._thread = thread
        self.spec = spec
        self.user_key = user_key
        self.machine = Machine(spec)
        self.link = LinkFromOutside(thread, self.machine)

    @property
    def port(self) -> int:
        return self.machine.direct_port

    @property
    def proxy_port(self) -> int:
        return self.machine.proxy_port

    @property
    def running(self) -> bool:
        return self.machine.running

    @property
    def host_key_line(self) -> str:
        """The host key that sshd shows right now: "ssh-ed25519 AAAA..."."""
        return self._thread.run(self._ask_host_key())

    @property
    def user_public_key(self) -> str:
        key = asyncssh.import_private_key(self.user_key)
        return key.export_public_key("openssh").decode().strip()

    @property
    def mark(self) -> str:
        """The "NAME=value" in the environment of every process of the machine."""
        environ = (self.spec.folder / "control/environ").read_text().split("\0")
        return next(line for line in environ if line.startswith("SANDBOX_MACHINE="))

    def boot(self, limit_s: float = 20.0) -> None:
        self._thread.run(self.machine.boot(limit_s))

    def stop(self) -> None:
        self._thread.run(self.machine.stop())

    def terminate(self, grace_s: float) -> None:
        self._thread.run(self.machine.terminate(grace_s))

    def destroy(self) -> None:
        self._thread.run(self.machine.destroy())

    def add_key(self, public_key: str) -> None:
        self._thread.run(self.machine.add_key(public_key))

    def log(self) -> str:
        return self.machine.log()

    def ssh(self, command: str, **more: Any) -> asyncssh.SSHCompletedProcess:  # noqa: ANN401 - options of asyncssh
        """Run one command over a new connection; bytes in, bytes out."""
        return self._thread.run(self._ssh(command, **more))

    def answers(self) -> bool:
        """Tell whether a login and a command succeed right now."""
        try:
            return self.ssh("true").exit_status == 0
        except (asyncssh.Error, OSError):
            return False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the machine's loop."""
        return self._thread.run(work)

    def connect(
        self,
        **more: Any,  # noqa: ANN401 - options of asyncssh
    ) -> contextlib.AbstractAsyncContextManager[asyncssh.SSHClientConnection]:
        """Return an asyncssh client connection."""
        options = {"username": self.user, "client_keys": [asyncssh.import_private_key(self.user_key)]}
        return asyncssh.connect(
            self.host,
            self.port,
            known_hosts=None,
            config=None,
            agent_path=None,
            gss_host=None,
            **{**options, **more},
        )

    async def _ssh(self, command: str, **more: Any) -> asyncssh.SSHCompletedProcess:  # noqa: ANN401
        async with self.connect() as connection:
            done: asyncssh.SSHCompletedProcess = await connection.run(command, encoding=None, **more)
            return done

    async def _ask_host_key(self) -> str:
        key = await asyncssh.get_server_host_key(
            self.host, self.port, config=None, server_host_key_algs=["ssh-ed25519"]
        )
        if key is None:
            msg = f"port {self.port} shows no ed25519 host key"
            raise AssertionError(msg)
        return b" ".join(key.export_public_key("openssh").split()[:2]).decode()


def example_spec(folder: Path) -> MachineSpec:
    """Return a machine with one RTX 4090 that runs nothing and lets in nobody."""
    return MachineSpec(
        folder=folder,
        id="4711",
        image="pytorch",
        start_command="",
        env={"CONTAINER_API_KEY": "instance-key", "CONTAINER_ID": "4711"},
        authorized_keys=[],
        gpu_name="RTX 4090",
        gpu_count=1,
        vram_mb=24564,
        driver="550.54.15",
        cuda="12.4",
        start_delay=0.0,
    )


@contextlib.contextmanager
def machine(start_command: str = "", *, boot_s: float = 20.0, **options: Any) -> Iterator[MachineFromOutside]:  # noqa: ANN401 - of MachineSpec
    """Boot a machine and destroy it at the end; `options` are those of MachineSpec.

    Without options it runs the start command at once and lets in `user_key` only.
    """
    key = asyncssh.generate_private_key("ssh-ed25519")
    public_key = key.export_public_key("openssh").decode().strip()
    folder = Path(tempfile.mkdtemp(prefix="machine-"))
    plain = {"start_command": start_command, "authorized_keys": [public_key]}
    spec = dataclasses.replace(example_spec(folder / "m"), **{**plain, **options})
    try:
        with LoopThread.running() as thread:
            rented = MachineFromOutside(thread, spec, key.export_private_key("openssh").decode())
            try:
                rented.boot(boot_s)
                yield rented
            finally:
                rented.destroy()
    finally:
        shutil.rmtree(folder)
