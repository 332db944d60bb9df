"""Servers for the tests of SSH: Debian's sshd, hostile ones, and a relay that can break, stall or damage a link."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh
import pytest

from gpuplug.streams.ssh import KeyPair, make_key
from gpuplug.types import Endpoint, Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")
SSHD = "/usr/sbin/sshd"
HOST = "127.0.0.1"
LIMIT_S = 10.0
needs_sshd = [
    pytest.mark.openssh,
    pytest.mark.skipif(not Path(SSHD).exists(), reason=f"{SSHD} is absent"),
]


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Sshd:
    """A running sshd with one host key and one user key; `folder` holds its files."""

    folder: Path
    port: int
    host: KeyPair
    user: KeyPair
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(HOST, self.port, user=getpass.getuser())

    @property
    def identity(self) -> Identity:
        return Identity(self.user.private, self.host.public)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


_CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/ssh_host_ed25519_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
LogLevel VERBOSE
SetEnv HOME={folder} GP_HOME={folder} GP_ETC_SSH={folder} GP_SSHD_PID={folder}/sshd.pid
"""


@contextlib.contextmanager
def sshd(folder: Path, config: str = "") -> Iterator[Sshd]:
    """Start Debian's sshd on loopback; `config` goes before the rest of its configuration."""
    host, user = make_key(), make_key()
    port = _free_port()
    key = folder / "ssh_host_ed25519_key"
    key.write_text(host.private.reveal())
    key.chmod(0o600)
    (folder / "authorized_keys").write_text(user.public + "\n")
    (folder / "cfg").write_text(config + _CONFIG.format(port=port, folder=folder))
    with contextlib.suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "cfg")], stderr=log)
    try:
        _wait_for_port(port, process)
        yield Sshd(folder, port, host, user, process)
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + LIMIT_S
    pause = threading.Event()
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        pause.wait(0.01)
    msg = "sshd did not start"
    raise AssertionError(msg)


class Relay:
    """A TCP relay to `port`: `cut` ends all connections, `stall_after` passes no more than so many bytes to the client,
    `stalled` none from when it is set. `cut_after` so many bytes to the client it cuts by itself.

    `damage_at` flips a bit of that byte on the way to the client.
    """

    def __init__(
        self, port: int, stall_after: int | None = None, damage_at: int | None = None, cut_after: int | None = None
    ) -> None:
        self._target = port
        self._stall_after = stall_after
        self.stalled = threading.Event()
        self._damage_at = damage_at
        self._cut_after = cut_after
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((HOST, self._target), LIMIT_S)
                far.settimeout(None)
                self._sockets += [near, far]
                for args in ((near, far, False), (far, near, True)):
                    thread = threading.Thread(target=self._pump, args=args, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, to_client: bool) -> None:  # noqa: FBT001 - a direction
        passed = 0
        with contextlib.suppress(OSError):
            # Small pieces: a cut comes close to the byte that it was asked for.
            while data := bytearray(source.recv(1 << 12)):
                if to_client and self._stall_after is not None:
                    data = data[: self._stall_after - passed]
                if to_client and self._damage_at is not None:
                    at = self._damage_at - passed
                    if 0 <= at < len(data):
                        data[at] ^= 1
                passed += len(data)
                if not (to_client and self.stalled.is_set()):
                    sink.sendall(data)
                if to_client and self._cut_after is not None and passed >= self._cut_after:
                    self.cut()
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End all connections at once."""
        # No descriptor is closed before its threads are done: its number could be another socket's by then.
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(LIMIT_S)
        self.cut()
        for thread in self._threads:
            thread.join(LIMIT_S)
        for one in (self._listener, *self._sockets):
            one.close()


@dataclass
class RawServer:
    """Speaks to each client with `talk(socket)` in a thread; for servers that break the protocol."""

    talk: Callable[[socket.socket], None]
    port: int = 0
    _sockets: list[socket.socket] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[RawServer]:
        with socket.create_server((HOST, 0)) as listener:
            self.port = listener.getsockname()[1]
            thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                for one in self._sockets:
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)
                thread.join(LIMIT_S)

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._sockets.append(client)
                with client, contextlib.suppress(OSError):
                    self.talk(client)


class _Watch(asyncssh.SSHServer):
    def __init__(self, seen: list[str], *, asks: bool) -> None:
        self._seen = seen
        self._asks = asks

    def begin_auth(self, username: str) -> bool:
        self._seen.append(f"auth {username}")
        return self._asks

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._seen.append(f"key {username} {key.export_public_key('openssh').decode().strip()}")
        return True


@dataclass
class Impostor:
    """An asyncssh server with host keys of its own that takes every user key; `seen` lists all that reached its authentication."""

    port: int
    seen: list[str]


@contextlib.contextmanager
def impostor(*keys: asyncssh.SSHKey, asks: bool = True, **options: Any) -> Iterator[Impostor]:  # noqa: ANN401 - of asyncssh
    """Run an asyncssh server with the host keys `keys`; one that does not ask lets in everybody at once."""
    seen: list[str] = []
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(LIMIT_S)

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            HOST, 0, server_host_keys=list(keys), server_factory=lambda: _Watch(seen, asks=asks), **options
        )

    async def close(server: asyncssh.SSHAcceptor) -> None:
        server.close()
        await server.wait_closed()

    server = call(listen())
    try:
        yield Impostor(server.get_port(), seen)
    finally:
        call(close(server))
        call(loop.shutdown_asyncgens())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT_S)
        loop.close()
