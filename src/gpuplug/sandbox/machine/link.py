"""The network in front of a machine: two public ports that forward to its sshd, and the faults of that way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys

LOOPBACK = "127.0.0.1"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_BACKLOG = 128
_BUFFER_BYTES = 256 * 1024


class ReservedPort:
    """A port of 127.0.0.1 that stays ours while nobody listens on it, so that connecting is refused.

    A socket that is bound but does not listen keeps other programs away; whoever listens there sets SO_REUSEADDR,
    as sshd does. Elsewhere than on Linux only `listener()` can share the port.
    """

    def __init__(self) -> None:
        self._holder = _bound_socket(0)
        self.number: int = self._holder.getsockname()[1]

    def listener(self) -> socket.socket:
        """Return a socket that listens here; the caller closes it."""
        listening = _bound_socket(self.number)
        listening.listen(_BACKLOG)
        return listening

    def give_way(self) -> None:
        """Let another program listen here where the system would not share the port with it."""
        if sys.platform != "linux":
            self._holder.close()

    def close(self) -> None:
        """Give the port back."""
        self._holder.close()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform != "linux":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.settimeout(0)
    bound.bind((LOOPBACK, port))
    return bound


class Link:
    """Forwards the machine's public ports to its sshd, and breaks as told.

    Every method runs on the event loop that opened the link and returns at once.
    """

    def __init__(self) -> None:
        self._target = 0
        self._direct: ReservedPort | None = None
        self._proxy: ReservedPort | None = None
        self._listening: list[socket.socket] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._is_open = False
        self._refused_until = 0.0
        self._silent_until = 0.0
        self._audible = asyncio.Event()
        self._audible.set()
        self._bytes_to_cut: int | None = None
        self.bytes_in = self.bytes_out = 0  # to the machine and from it, since the beginning

    @property
    def direct_port(self) -> int:
        """The port of the machine's own address; 0 before the first boot."""
        return self._direct.number if self._direct else 0

    @property
    def proxy_port(self) -> int:
        """The port of the market's proxy; 0 before the first boot."""
        return self._proxy.number if self._proxy else 0

    def cut(self, after_bytes: int | None = None) -> None:
        """Reset all present connections: now, or once `after_bytes` more passed (both ways together)."""
        if after_bytes:
            self._bytes_to_cut = after_bytes
            return
        self._bytes_to_cut = None
        for connection in self._connections:
            connection.cancel()

    def black_hole(self, seconds: float) -> None:
        """Pass nothing for `seconds`, without a sign of it; afterwards everything comes through, as TCP does."""
        loop = asyncio.get_running_loop()
        self._silent_until = max(self._silent_until, loop.time() + seconds)
        self._audible.clear()
        loop.call_later(seconds, self._end_silence)

    def refuse(self, seconds: float) -> None:
        """Refuse new connections for `seconds`; present ones go on."""
        loop = asyncio.get_running_loop()
        self._refused_until = max(self._refused_until, loop.time() + seconds)
        self._stop_listening()
        loop.call_later(seconds, self._listen_again)

    def reserve(self) -> int:
        """Return the direct port, reserved before anything listens there."""
        self._direct = self._direct or ReservedPort()
        return self._direct.number

    def open(self, target: int) -> None:
        """Begin to forward to port `target` of 127.0.0.1."""
        self.reserve()
        self._proxy = self._proxy or ReservedPort()
        self._target = target
        self._is_open = True
        self._listen_again()

    async def shut(self) -> None:
        """Refuse everything until `open()`; the ports stay the machine's."""
        self._is_open = False
        self._stop_listening()
        self.cut()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def close(self) -> None:
        """Shut the link and give its ports back."""
        await self.shut()
        for port in (self._direct, self._proxy):
            if port:
                port.close()

    def _end_silence(self) -> None:
        # A later call may have asked for more.
        if asyncio.get_running_loop().time() >= self._silent_until:
            self._audible.set()

    def _listen_again(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._is_open or self._listening or loop.time() < self._refused_until:
            return
        for port in (self._direct, self._proxy):
            if port:
                listening = port.listener()
                self._listening.append(listening)
                loop.add_reader(listening, self._accept, listening)

    def _stop_listening(self) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening)
            listening.close()
        self._listening.clear()

    def _accept(self, listening: socket.socket) -> None:
        # The caller may have gone between the event and this call.
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            connection, _ = listening.accept()
            connection.settimeout(0)
            task = asyncio.get_running_loop().create_task(self._forward(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            # A task that is cancelled before it began closes nothing itself.
            task.add_done_callback(lambda _: connection.close())

    async def _forward(self, client: socket.socket) -> None:
        """Carry one connection until both ends closed it; any other end of it is a reset to both."""
        loop = asyncio.get_running_loop()
        ways: list[asyncio.Task[None]] = []
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            server.settimeout(0)
            try:
                await self._audible.wait()
                await loop.sock_connect(server, (LOOPBACK, self._target))
                for end in (client, server):
                    # A router sends on what it gets; Nagle's algorithm would hold small answers back for 40 ms.
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ways.append(loop.create_task(self._carry(client, server, inward=True)))
                ways.append(loop.create_task(self._carry(server, client, inward=False)))
                await asyncio.gather(*ways)
            except OSError:
                _reset_on_close(client, server)
            except asyncio.CancelledError:
                _reset_on_close(client, server)
                raise
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(self, source: socket.socket, sink: socket.socket, *, inward: bool) -> None:
        loop = asyncio.get_running_loop()
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        while count := await loop.sock_recv_into(source, buffer):
            await self._audible.wait()
            passing = count if self._bytes_to_cut is None else min(count, self._bytes_to_cut)
            await loop.sock_sendall(sink, buffer[:passing])
            self._count(passing, inward=inward)
        await self._audible.wait()
        sink.shutdown(socket.SHUT_WR)

    def _count(self, passed: int, *, inward: bool) -> None:
        if inward:
            self.bytes_in += passed
        else:
            self.bytes_out += passed
        if self._bytes_to_cut is not None:
            self._bytes_to_cut -= passed
            if self._bytes_to_cut <= 0:
                self.cut()


def _reset_on_close(*connections: socket.socket) -> None:
    """Make closing send RST, so that the far end sees an error and no clean end."""
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
