"""A rented instance as a real SSH machine on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from gpuplug.sandbox.machine import init, isolation
from gpuplug.sandbox.machine.layout import Layout
from gpuplug.sandbox.machine.link import Link, ReservedPort
from gpuplug.sandbox.machine.spec import MachineError

if TYPE_CHECKING:
    from gpuplug.sandbox.machine.spec import MachineSpec

_ASK_S = 1.2
_KILL_S = 0.4
_SWEEP_S = 0.4
_LOG_TAIL = 2000


class Machine:
    """One machine: disk, processes, sshd and the network in front of it. All calls belong to one event loop.

    The machine ends with the process that booted it, even when that is killed. Nothing outside `spec.folder` is
    written, and no process outside the machine is signalled.

    Attributes:
        link: the network in front of the machine, to be broken at will.
    """

    def __init__(self, spec: MachineSpec) -> None:
        self._spec = spec
        self._layout: Layout | None = None
        self._sshd_port: ReservedPort | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._channel: asyncio.StreamWriter | None = None
        self._ended: asyncio.Task[None] | None = None
        self._booting: asyncio.Task[None] | None = None
        self._is_up = False
        self._is_destroyed = False
        self._added_keys: list[str] = []
        self._changing = asyncio.Lock()
        self.isolation = ""
        self.link = Link()

    @property
    def direct_port(self) -> int:
        """Port of 127.0.0.1 that stands for the machine's own address; 0 before the first boot, then lasting."""
        return self.link.direct_port

    @property
    def proxy_port(self) -> int:
        """Port of 127.0.0.1 that stands for the market's SSH proxy; 0 before the first boot, then lasting."""
        return self.link.proxy_port

    @property
    def running(self) -> bool:
        """Whether the machine is up: booted, and its first process alive."""
        return self._is_up and self._ended is not None and not self._ended.done()

    def log(self) -> str:
        """Return the container log: what the start command and init wrote, over all boots."""
        if self._layout is None or not self._layout.disk.log.exists():
            return ""
        return self._layout.disk.log.read_text(errors="replace")

    def log_from(self, offset: int) -> bytes:
        """Return the container log from byte `offset` on."""
        if self._layout is None or not self._layout.disk.log.exists():
            return b""
        with self._layout.disk.log.open("rb") as file:
            file.seek(offset)
            return file.read()

    async def boot(self, timeout: float) -> None:
        """Start the machine; returns when sshd answers (at once without one), before the start command has run.

        Does nothing while it runs. After `stop()` the same disk boots again and the start command runs again.

        Raises:
            MachineError: it cannot run here, is not up within `timeout` seconds, or was stopped meanwhile.
        """
        async with self._changing:
            if self._is_destroyed:
                msg = f"machine {self._spec.id} is destroyed; make a new one"
                raise MachineError(msg)
            if self.running:
                return
            # What a first process that ended by itself has left.
            await self._end()
            self._booting = asyncio.create_task(self._boot())
            try:
                await self._await_boot(self._booting, timeout)
            except BaseException:
                await self._end()
                raise
            finally:
                self._booting = None

    async def _await_boot(self, booting: asyncio.Task[None], limit_s: float) -> None:
        try:
            done, _ = await asyncio.wait({booting}, timeout=limit_s)
        finally:
            booting.cancel()
            await asyncio.wait({booting})
        if not done:
            msg = f"machine {self._spec.id} was not up within {limit_s:g} s: {self._last_words()}"
            raise MachineError(msg)
        if booting.cancelled():
            msg = f"machine {self._spec.id} was stopped while it booted"
            raise MachineError(msg)
        booting.result()

    async def add_key(self, public_key: str) -> None:
        """Let one more public key in, at once and at later boots; a repetition changes nothing."""
        if public_key.strip() not in self._added_keys:
            self._added_keys.append(public_key.strip())
        if self._layout:
            self._layout.write_keys(self._added_keys)

    async def stop(self) -> None:
        """End every process within 2 seconds; disk and ports stay. May be repeated; gives up a boot that goes on."""
        self._give_up_boot()
        async with self._changing:
            await self._end()

    async def terminate(self, grace_s: float) -> None:
        """Send SIGTERM to the start command, and stop when that has ended or `grace_s` seconds later."""
        async with self._changing:
            if self.running and self._channel and self._ended:
                with contextlib.suppress(OSError):
                    self._channel.write(b"term\n")
                    await self._channel.drain()
                await asyncio.wait({self._ended}, timeout=grace_s)
            await self._end()

    async def destroy(self) -> None:
        """Stop, delete the disk and give the ports back. May be repeated; gives up a boot that goes on."""
        self._give_up_boot()
        async with self._changing:
            self._is_destroyed = True
            await self._end()
            await self.link.close()
            if self._sshd_port:
                self._sshd_port.close()
                self._sshd_port = None
            if self._layout:
                await asyncio.to_thread(self._layout.disk.remove)
                self._layout = None

    def _give_up_boot(self) -> None:
        if self._booting:
            self._booting.cancel()

    async def _boot(self) -> None:
        self.isolation = self.isolation or await asyncio.to_thread(isolation.choose, self._spec.isolation)
        layout = self._layout = self._layout or Layout(self._spec, self.isolation)
        port = self._sshd_port = self._sshd_port or ReservedPort()
        port.give_way()
        await asyncio.to_thread(layout.prepare, port.number, self._added_keys)
        answer = await self._start(layout)
        if answer != "up":
            msg = f"machine {self._spec.id} did not boot: {answer or self._last_words()}"
            raise MachineError(msg)
        self.link.open(port.number)
        self._is_up = True

    async def _start(self, layout: Layout) -> str:
        """Start the first process; return its first line."""
        ours, theirs = socket.socketpair()
        try:
            reader, self._channel = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        with theirs, layout.disk.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *layout.command(),
                env=layout.first_env(),
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                cwd=layout.disk.root / "root",
                start_new_session=True,
            )
        self._ended = asyncio.create_task(self._watch(self._process, layout.mark))
        line = await reader.readline()
        return line.decode().strip()

    async def _watch(self, process: asyncio.subprocess.Process, mark: str) -> None:
        """Wait for the end of the first process and end whatever outlived it."""
        await process.wait()
        await self._sweep(mark)

    async def _sweep(self, mark: str) -> None:
        left = await asyncio.to_thread(init.kill_until_none, lambda: init.marked(mark), _SWEEP_S)
        await self.link.shut()
        if left:
            msg = f"machine {self._spec.id} is stopped, but processes {sorted(left)} cannot be ended"
            raise MachineError(msg)

    async def _end(self) -> None:
        self._is_up = False
        channel, ended, process = self._channel, self._ended, self._process
        if channel:
            with contextlib.suppress(OSError):
                channel.write(b"stop\n")
                await channel.drain()
        if ended and process:
            await asyncio.wait({ended}, timeout=_ASK_S)
            if not ended.done():
                await asyncio.to_thread(_kill_tree, process.pid)
        if channel:
            channel.close()
            with contextlib.suppress(OSError):
                await channel.wait_closed()
        self._channel = self._ended = self._process = None
        if ended:
            await ended
        elif channel and self._layout:
            # Given up while the first process was being started: it is killed, but not what it had started.
            await self._sweep(self._layout.mark)

    def _last_words(self) -> str:
        return self.log().strip()[-_LOG_TAIL:] or "it said nothing"


def _kill_tree(pid: int) -> None:
    """End a first process that no longer listens, and its descendants."""

    def alive() -> set[int]:
        return tree & set(init.process_parents())

    tree = {pid, *init.descendants(pid)}
    init.kill_until_none(alive, _KILL_S)
