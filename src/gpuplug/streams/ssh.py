"""SSH: the host is proven before a byte of authentication, then each command is one exec channel."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import io
import logging
import socket
import threading
from typing import TYPE_CHECKING

import paramiko
from paramiko.buffered_pipe import BufferedPipe
from paramiko.packet import Packetizer

from gpuplug.errors import HostError, HostKeyError, LinkError, NotReadyError
from gpuplug.streams.keys import KeyPair, make_key, public_line
from gpuplug.streams.rotation import rotate_host_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.streams import ByteStream
    from gpuplug.types import Endpoint, Identity, Secret

__all__ = ["KeyPair", "SshConnection", "connect", "make_key", "public_line", "rotate_host_key"]

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
KEY_TYPE = "ssh-ed25519"
GREETING_BYTES = 4096
PACKET_BYTES = 1 << 18
_LOG = "gpuplug.ssh"
# paramiko logs what the server says, word for word: that reaches only who attaches a handler here.
logging.getLogger(_LOG).addHandler(logging.NullHandler())
logging.getLogger(_LOG).propagate = False


class _HeldSocket(socket.socket):
    """Shut down by `close`, and closed only by `release`, when no thread of paramiko's can be about to use it.

    paramiko closes sockets under threads that read and write. The number of the descriptor may be another connection's
    by the time such a thread gets to its system call, and that one would lose or get its bytes.
    """

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        super().close()


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


class _BoundedPipe(BufferedPipe):  # type: ignore[type-arg]  # generic in the stubs only
    """paramiko does not check that the server keeps to the window that it was given."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def feed(self, data: bytes) -> None:
        if len(self) + len(data) > self._limit:
            msg = "window overrun"
            raise paramiko.SSHException(msg)
        super().feed(data)


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
        with (
            _within(_CLOSE_S, self._abandon_link),
            contextlib.suppress(paramiko.SSHException, OSError, EOFError),
        ):
            self._channel.close()
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
    """A `Connection` over one authenticated SSH transport; made by `connect`.

    `seen` is the host key that was proven, as one line.
    """

    def __init__(self, transport: paramiko.Transport, held: _HeldSocket, *, timeout: float) -> None:
        self._transport = transport
        self._socket = held
        self._timeout = timeout
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

    def close(self) -> None:
        """Close the connection and every stream on it. May be repeated."""
        self._hang_up()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        self._socket.release()

    def _hang_up(self) -> None:
        _hang_up(self._transport, self._socket)


def _bound_buffers(channel: paramiko.Channel) -> None:
    # Two windows: what paramiko acknowledged early, and what was on the way by then.
    limit = 2 * channel.in_window_size
    with channel.lock:
        channel.in_buffer = _BoundedPipe(limit)
        channel.in_stderr_buffer = _BoundedPipe(limit)
        if channel.closed or channel.eof_received:
            channel.in_buffer.close()
            channel.in_stderr_buffer.close()


def _hang_up(transport: paramiko.Transport, held: _HeldSocket) -> None:
    # The shutdown wakes paramiko's thread out of its read at once; the handshake timer would keep a thread.
    held.close()
    transport.packetizer.complete_handshake()
    transport.close()
    if transport.is_alive() and transport is not threading.current_thread():
        transport.join(_CLOSE_S)


def connect(endpoint: Endpoint, identity: Identity, *, timeout: float = STEP_S) -> SshConnection:
    """Prove the host against `identity.host_key`, then authenticate with `identity.user_key`.

    Nothing else is read or offered: no agent, no key files, no password, no configuration of the user's.
    Blocks for at most 10 s (TCP), then `timeout` for the key exchange and again for authentication.
    May be repeated.

    Args:
        endpoint: where SSH should answer.
        identity: our key and the pinned host key.
        timeout: seconds that one step may take; TCP never gets more than 10.

    Raises:
        NotReadyError: nothing that speaks SSH answers yet, or the key is not accepted yet.
        HostKeyError: the host has another key; no authentication was sent.
    """
    pinned = _blob(identity.host_key)
    place = f"{endpoint.host}:{endpoint.port}"
    held = _dial(endpoint, min(TCP_S, timeout))
    transport = _transport(held, timeout)
    try:
        _exchange_keys(transport, place, timeout)
        _prove(transport.get_remote_server_key(), pinned, place)
        _authenticate(transport, endpoint.user, identity.user_key, place)
    except BaseException:  # KeyboardInterrupt too must not leave a socket and a thread behind
        _hang_up(transport, held)
        held.release()
        raise
    transport.set_keepalive(KEEPALIVE_S)
    return SshConnection(transport, held, timeout=timeout)


def _blob(line: str) -> bytes:
    words = line.split()
    with contextlib.suppress(binascii.Error, ValueError):
        if len(words) > 1 and words[0] == KEY_TYPE:
            return base64.b64decode(words[1], validate=True)
    msg = f"the pinned host key {line[:40]!r} is no line {KEY_TYPE!r} + base64"
    raise HostError(msg)


def _dial(endpoint: Endpoint, seconds: float) -> _HeldSocket:
    try:
        connected = socket.create_connection((endpoint.host, endpoint.port), seconds)
    except OSError as error:
        msg = f"nothing answers at {endpoint.host}:{endpoint.port} yet ({error})"
        raise NotReadyError(msg, retry_after=1.0) from error
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _HeldSocket(fileno=connected.detach())


def _transport(held: _HeldSocket, timeout: float) -> paramiko.Transport:
    transport = paramiko.Transport(held, packetizer_class=_BoundedPackets)
    transport.set_log_channel(_LOG)
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout
    options = transport.get_security_options()
    options.ciphers = CIPHERS
    options.digests = MACS
    options.key_types = (KEY_TYPE,)
    return transport


def _exchange_keys(transport: paramiko.Transport, place: str, seconds: float) -> None:
    # paramiko returns silently when the time is up; its errors carry the server's words, which go nowhere.
    with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        transport.start_client(timeout=seconds)
        if transport.initial_kex_done and transport.is_active():
            return
    msg = f"no SSH key exchange with {place} yet"
    raise NotReadyError(msg, retry_after=1.0)


def _prove(shown: paramiko.PKey, pinned: bytes, place: str) -> None:
    if hmac.compare_digest(shown.asbytes(), pinned):
        return
    msg = f"{place} shows another host key than the pinned one; nothing was sent to it"
    raise HostKeyError(msg, seen=f"{shown.get_name()} {shown.get_base64()}")


def _authenticate(transport: paramiko.Transport, user: str, key: Secret, place: str) -> None:
    ours = paramiko.Ed25519Key.from_private_key(io.StringIO(key.reveal()))
    with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        transport.auth_publickey(user, ours)
        if transport.is_authenticated():
            return
    msg = f"{place} has not accepted the key for {user!r} yet"
    raise NotReadyError(msg, retry_after=2.0)
