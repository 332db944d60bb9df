"""One SSH transport: bounded, with a deadline on every wait; each command is one exec channel of it."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING, TypeAlias

import paramiko
from paramiko.packet import Packetizer

from gpuplug.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from paramiko.buffered_pipe import BufferedPipe

    from gpuplug.streams import ByteStream

TCP_S = 10.0
STEP_S = 15.0
KEEPALIVE_S = 15
_CLOSE_S = 2.0
# AES-GCM needs least CPU; CBC and ETM are where strict key exchange matters and old servers lack it.
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
MACS = ("hmac-sha2-256", "hmac-sha2-512")
GREETING_BYTES = 4096
PACKET_BYTES = 1 << 18
_LOG = "gpuplug.ssh"
# paramiko logs what the server says, word for word: that reaches only who attaches a handler here.
logging.getLogger(_LOG).addHandler(logging.NullHandler())
logging.getLogger(_LOG).propagate = False


class HeldSocket(socket.socket):
    """A connected socket. It is shut down by `close`, and closed only by `release`, when no thread of paramiko's can be about to use it.

    paramiko closes sockets under threads that read and write. The number of the descriptor may be another connection's
    by the time such a thread gets to its system call, and that one would lose or get its bytes.
    """

    def close(self) -> None:
        """End both directions; the descriptor stays. May be repeated."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Close the descriptor. May be repeated."""
        super().close()


class HeldChannel:
    """A channel of another transport that leads on to the next machine, in place of a socket."""

    def __init__(self, channel: paramiko.Channel, abandon_link: Callable[[], None]) -> None:
        self._channel = channel
        self._abandon_link = abandon_link
        # What paramiko asks of a socket, and no more.
        self.recv = channel.recv
        self.send = channel.send
        self.settimeout = channel.settimeout
        self._closed = False

    def close(self) -> None:
        """Close the channel; a link that cannot take the closing message within 2 s is closed as a whole."""
        self._closed = True
        _close_channel(self._channel, self._abandon_link)

    def release(self) -> None:
        """Nothing is left after `close`. May be repeated."""


Held: TypeAlias = "HeldSocket | HeldChannel"


class _BoundedPackets(Packetizer):
    """Refuses what a hostile server could fill memory with: a long greeting, a huge packet."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self._greeted = 0

    def _read_timeout(self, timeout: float) -> bytes:
        piece: bytes = super()._read_timeout(timeout)  # type: ignore[misc]
        self._greeted += len(piece)
        if self._greeted > GREETING_BYTES:
            msg = "greeting too long"
            raise paramiko.SSHException(msg)
        return piece

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002 - paramiko's signature
        if n > PACKET_BYTES:
            msg = "packet too long"
            raise paramiko.SSHException(msg)
        return super().read_all(n, check_rekey)


def _bound(pipe: BufferedPipe, limit: int) -> None:  # type: ignore[type-arg]  # generic in the stubs only
    """Make `pipe` refuse more than `limit` bytes: paramiko does not check that the server keeps to its window.

    In place, because the server may be sending already.
    """
    feed = pipe.feed

    def feed_bounded(data: bytes) -> None:
        if len(pipe) + len(data) > limit:
            msg = "window overrun"
            raise paramiko.SSHException(msg)
        feed(data)

    pipe.feed = feed_bounded  # type: ignore[method-assign]


def _close_channel(channel: paramiko.Channel, abandon_link: Callable[[], None]) -> None:
    with _within(_CLOSE_S, abandon_link), contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        channel.close()


@contextlib.contextmanager
def _within(seconds: float, give_up: Callable[[], object]) -> Iterator[None]:
    """Call `give_up`, which must end the body's wait, when the body takes longer than `seconds`."""
    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


class SshStream:
    """One exec channel as a `ByteStream`."""

    def __init__(self, channel: paramiko.Channel, abandon_link: Callable[[], None]) -> None:
        self._channel = channel
        self._abandon_link = abandon_link
        self._closed = False
        self._input_ended = False
        self._draining = threading.Thread(target=self._drop_stderr, daemon=True)
        self._draining.start()

    def _drop_stderr(self) -> None:
        # Unread stderr would fill the channel's window and stop stdout with it.
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            while self._channel.recv_stderr(1 << 16):
                pass

    def read(self, limit: int) -> bytes:
        """Block until bytes are there; return 1 to `limit` of them, or b"" at the end of the command.

        Raises:
            LinkError: the connection is lost, or this side closed the stream.
        """
        self._check()
        try:
            data: bytes = self._channel.recv(limit)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise _lost() from error
        if not data:
            self._check()
            if not self._channel.eof_received and not self._link_alive():
                raise _lost()
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Block until the server's window and the socket have taken all of `data`.

        Raises:
            LinkError: the connection is lost, the command ended, or this side closed the stream.
        """
        rest = memoryview(data)
        while rest:
            if self._input_ended:
                msg = "the stream is closed"
                raise LinkError(msg)
            rest = rest[self._send_some(rest) :]
        self._check()

    def _send_some(self, data: memoryview) -> int:
        self._check()
        try:
            sent = self._channel.send(data[: 1 << 16])  # type: ignore[arg-type]  # stubs omit memoryview
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._check()
            raise _lost() from error
        if not sent or not self._link_alive():
            raise _lost()
        return sent

    def close_write(self) -> None:
        """Send the end of the command's input. May be repeated.

        Raises:
            LinkError: the connection is lost, or this side closed the stream.
        """
        self._check()
        self._input_ended = True
        try:
            self._channel.shutdown_write()
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise _lost() from error

    def close(self) -> None:
        """Close the channel; wakes blocked readers and writers. May be repeated.

        A link that cannot take the closing message within 2 s is closed as a whole.
        """
        if self._closed:
            return
        self._closed = True
        _close_channel(self._channel, self._abandon_link)
        self._draining.join(_CLOSE_S)

    def _check(self) -> None:
        if self._closed:
            msg = "the stream is closed"
            raise LinkError(msg)

    def _link_alive(self) -> bool:
        return self._channel.get_transport().is_active()


def _lost() -> LinkError:
    return LinkError("the SSH connection is lost")


class SshConnection:
    """A `Connection` over one authenticated SSH transport.

    `beneath` is the connection that it goes through, closed with it; None when it has a socket of its own.
    """

    def __init__(
        self, transport: paramiko.Transport, held: Held, *, timeout: float, beneath: SshConnection | None = None
    ) -> None:
        transport.set_keepalive(KEEPALIVE_S)
        self._transport = transport
        self._held = held
        self._timeout = timeout
        self._beneath = beneath
        self._lock = threading.Lock()
        self._streams: list[SshStream] = []

    def run(self, command: str) -> ByteStream:
        """Open an exec channel for `command`; blocks for at most 15 s.

        Raises:
            LinkError: the connection is lost, or the server opens no channel in time.
        """
        try:
            channel = self._transport.open_session(timeout=self._timeout)
            _bound_buffers(channel)
            with _within(self._timeout, channel.close):
                channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            msg = f"the SSH server opened no channel ({type(error).__name__})"
            raise LinkError(msg) from None
        stream = SshStream(channel, self._hang_up)
        with self._lock:
            self._streams.append(stream)
        return stream

    def tunnel(self, host: str, port: int) -> HeldChannel:
        """Open a channel that the server connects to `host`; blocks for at most 15 s.

        Raises:
            LinkError: the connection is lost, or the server opens no such channel.
        """
        try:
            channel = self._transport.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=self._timeout
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            msg = f"the SSH server opened no way on to {host}:{port} ({type(error).__name__})"
            raise LinkError(msg) from None
        _bound_buffers(channel)
        return HeldChannel(channel, self._hang_up)

    def close(self) -> None:
        """Close the connection and every stream on it. May be repeated."""
        self._hang_up()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        self._held.release()
        if self._beneath is not None:
            self._beneath.close()

    def _hang_up(self) -> None:
        hang_up(self._transport, self._held)


def _bound_buffers(channel: paramiko.Channel) -> None:
    # Two windows: what paramiko acknowledged early, and what was on the way by then.
    limit = 2 * channel.in_window_size
    _bound(channel.in_buffer, limit)
    _bound(channel.in_stderr_buffer, limit)


def hang_up(transport: paramiko.Transport, held: Held) -> None:
    """Close the transport at once; blocks for at most 2 s. `held.release()` is for the caller. May be repeated."""
    # The shutdown wakes paramiko's thread out of its read at once; the handshake timer would keep a thread.
    held.close()
    transport.packetizer.complete_handshake()
    transport.close()
    if transport.is_alive() and transport is not threading.current_thread():
        transport.join(_CLOSE_S)


def dial(host: str, port: int, seconds: float) -> HeldSocket:
    """Connect by TCP within `seconds` for each address that `host` has.

    Raises:
        OSError: nothing answers.
    """
    connected = socket.create_connection((host, port), seconds)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return HeldSocket(fileno=connected.detach())


def new_transport(
    held: Held, key_types: Sequence[str], timeout: float, kind: type[paramiko.Transport] = paramiko.Transport
) -> paramiko.Transport:
    """Return a transport that has sent nothing yet and takes host keys of `key_types`, preferred ones first."""
    transport = kind(held, packetizer_class=_BoundedPackets)  # type: ignore[arg-type]  # sockets only, in the stubs
    transport.set_log_channel(_LOG)
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout
    options = transport.get_security_options()
    options.ciphers = CIPHERS
    options.digests = MACS
    options.key_types = tuple(key_types)
    return transport


def exchange_keys(transport: paramiko.Transport, seconds: float) -> bool:
    """Agree on session keys, before anything is proven; tell whether it worked within `seconds`."""
    # paramiko returns silently when the time is up; its errors carry the server's words, which go nowhere.
    with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        transport.start_client(timeout=seconds)
        return transport.initial_kex_done and transport.is_active()
    return False
