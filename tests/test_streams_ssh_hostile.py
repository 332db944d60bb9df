from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import asyncssh
import paramiko
import pytest
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED, cMSG_CHANNEL_DATA
from streams_kit import HOST, LIMIT_S, RawServer, Relay, Sshd, impostor, needs_sshd, sshd

from gpuplug.errors import HostKeyError, LinkError, NotReadyError
from gpuplug.streams.ssh import connect, make_key
from gpuplug.testing.streams import read_all
from gpuplug.types import Endpoint, Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FLOOD = 2000
HOSTILE_GREETING = b"\x1b]0;owned\x07" * 50 + b"\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def identity() -> Identity:
    """What an honest client of an instance pins; no impostor below has this key."""
    return Identity(make_key().private, make_key().public)


def _key(kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind)


def _line(key: asyncssh.SSHKey) -> str:
    return b" ".join(key.export_public_key("openssh").split()[:2]).decode()


def _try(port: int, identity: Identity) -> None:
    connect(Endpoint(HOST, port), identity, timeout=LIMIT_S).close()


def _certified() -> tuple[asyncssh.SSHKey, dict[str, Any]]:
    key, authority = _key(), _key()
    certificate = authority.generate_host_certificate(key, "host", principals=[HOST])
    return key, {"server_host_certs": [certificate]}


@pytest.mark.parametrize(
    "options",
    [{}, {"server_version": "OpenSSH_9.2p1"}, {"kex_algs": ["ecdh-sha2-nistp256"]}],
    ids=["own-key", "named-as-openssh", "one-key-exchange"],
)
def test_a_host_with_another_key_is_named_and_sees_no_authentication(
    identity: Identity, options: dict[str, Any]
) -> None:
    key = _key()
    with impostor(key, **options) as server:
        with pytest.raises(HostKeyError, match="nothing was sent") as caught:
            _try(server.port, identity)
        assert caught.value.seen == _line(key)
        assert server.seen == []


@pytest.mark.parametrize("kind", ["ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed448"])
def test_a_host_without_a_key_of_the_pinned_kind_sees_no_authentication(identity: Identity, kind: str) -> None:
    with impostor(_key(kind)) as server:
        with pytest.raises(NotReadyError):
            _try(server.port, identity)
        assert server.seen == []


def test_keys_of_several_kinds_and_a_certificate_do_not_help(identity: Identity) -> None:
    key, options = _certified()
    with impostor(key, _key("ssh-rsa"), **options) as server:
        with pytest.raises(HostKeyError):
            _try(server.port, identity)
        assert server.seen == []


@needs_sshd[0]
@needs_sshd[1]
def test_another_tenant_on_the_same_port_sees_no_authentication(server: Sshd, identity: Identity) -> None:
    before = server.log.count("user root")
    with pytest.raises(HostKeyError):
        _try(server.port, Identity(server.user.private, identity.host_key))
    assert server.log.count("user root") == before


def test_the_injected_key_is_refused_once_it_was_replaced(identity: Identity) -> None:
    injected = _key()
    with impostor(injected) as server:
        _try(server.port, Identity(identity.user_key, _line(injected)))
        del server.seen[:]
        with pytest.raises(HostKeyError):
            _try(server.port, identity)
        assert server.seen == []


def test_the_wrong_key_first_and_the_right_one_later_is_accepted_then_only(
    identity: Identity,
) -> None:
    baked, injected = _key(), _key()
    pinned = Identity(identity.user_key, _line(injected))
    with impostor(baked) as early:
        with pytest.raises(HostKeyError):
            _try(early.port, pinned)
        assert early.seen == []
    with impostor(injected) as late:
        _try(late.port, pinned)
        assert late.seen


def test_a_pin_that_differs_in_one_bit_is_another_key(identity: Identity) -> None:
    key = _key()
    line = _line(key)
    other = line[:-1] + ("A" if line[-1] != "A" else "B")
    with impostor(key) as server:
        with pytest.raises(HostKeyError):
            _try(server.port, Identity(identity.user_key, other))
        assert server.seen == []


def test_a_comment_in_the_pin_does_not_matter(identity: Identity) -> None:
    key = _key()
    with impostor(key) as server:
        _try(server.port, Identity(identity.user_key, _line(key) + " some comment"))


def test_one_key_is_offered_and_nothing_of_the_users_is_read(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "id_ed25519").write_text(make_key().private.reveal())
    (folder / "config").write_text(f"Host *\n  ProxyCommand touch {tmp_path}/ran\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    key = _key()
    with socket.socket(socket.AF_UNIX) as ssh_agent:
        ssh_agent.bind(str(tmp_path / "agent"))
        ssh_agent.listen()
        ssh_agent.settimeout(0)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        with impostor(key) as server:
            _try(server.port, Identity(identity.user_key, _line(key)))
            keys = {line for line in server.seen if line.startswith("key")}
        with pytest.raises(BlockingIOError):
            ssh_agent.accept()
    assert len(keys) == 1
    assert not (tmp_path / "ran").exists()


def _failure(act: Callable[[], object]) -> BaseException | None:
    """Return what `act` raises, run in a thread of its own: an `act` that never ends is a failure of the test."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            act()
            raised.append(None)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    assert not thread.is_alive(), "it has not ended"
    return raised[0]


def _left(port: int, identity: Identity, timeout: float) -> BaseException:
    error = _failure(lambda: connect(Endpoint(HOST, port), identity, timeout=timeout))
    assert isinstance(error, NotReadyError)
    return error


@pytest.mark.parametrize("after", [0, 10, 60, 700, 1300])
def test_a_server_that_stalls_at_any_step_is_left_in_time(identity: Identity, after: int) -> None:
    key = _key()
    with impostor(key) as server:
        relay = Relay(server.port, stall_after=after)
        _left(relay.port, Identity(identity.user_key, _line(key)), 0.3)
        relay.close()


def test_a_server_that_drips_its_greeting_is_left_in_time(identity: Identity) -> None:
    def drip(client: socket.socket) -> None:
        pause = threading.Event()
        while not pause.wait(0.05):
            client.sendall(b"x\r\n")

    with RawServer(drip).running() as server:
        _left(server.port, identity, 0.3)


@pytest.mark.parametrize(
    "said",
    [
        b"x" * (1 << 20),
        b"x" * 5000 + b"\r\nSSH-2.0-a\r\n",
        HOSTILE_GREETING,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-a\r\n" + struct.pack(">I", 0x7FFFFFFF) + bytes(1 << 20),
        b"SSH-2.0-a\r\n" + struct.pack(">I", 0) + bytes(1 << 16),
        b"SSH-2.0-a\r\n" + os.urandom(1 << 16),
        b"",
    ],
    ids=["1MB", "long-line", "escapes", "http", "ssh1", "huge", "zero", "random", "silent-end"],
)
def test_a_greeting_that_is_none_is_refused_at_once_and_shown_to_nobody(identity: Identity, said: bytes) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)

    with RawServer(talk).running() as server:
        error = _left(server.port, identity, 10 * LIMIT_S)
    assert "\x1b" not in str(error)
    assert error.__cause__ is error.__context__ is None


@pytest.mark.parametrize("begin", [b"", b"SSH-2.0-a\r\n" + struct.pack(">I", 0x7FFFFFFC)], ids=["greeting", "packet"])
def test_bytes_without_end_are_not_gathered(identity: Identity, begin: bytes) -> None:
    def talk(client: socket.socket) -> None:
        client.sendall(begin)
        while True:
            client.sendall(bytes(1 << 12))

    with RawServer(talk).running() as server:
        _left(server.port, identity, 10 * LIMIT_S)


class _Accepting(paramiko.ServerInterface):
    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.asked = threading.Event()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        del username, key
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del kind, chanid
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        del channel
        self.commands.append(command)
        self.asked.set()
        return True


@contextlib.contextmanager
def _turncoat() -> Iterator[tuple[int, str, Callable[[], paramiko.Transport], _Accepting]]:
    """Run a server that proves itself, and whose transport the test can then abuse."""
    host = make_key()
    key = paramiko.Ed25519Key.from_private_key(_file(host.private.reveal()))
    listener = socket.create_server((HOST, 0))
    transports: list[paramiko.Transport] = []
    ready = threading.Event()
    rules = _Accepting()

    def serve() -> None:
        client, _ = listener.accept()
        transport = paramiko.Transport(client)
        transport.add_server_key(key)
        transport.start_server(server=rules)
        transports.append(transport)
        ready.set()

    thread = threading.Thread(target=serve)
    thread.start()

    def transport() -> paramiko.Transport:
        assert ready.wait(LIMIT_S)
        return transports[0]

    try:
        yield listener.getsockname()[1], host.public, transport, rules
    finally:
        thread.join(LIMIT_S)
        for one in transports:
            one.close()
            one.join(LIMIT_S)
        listener.close()


def _file(text: str) -> Any:  # noqa: ANN401 - paramiko's stubs want a text file
    import io  # noqa: PLC0415 - only here

    return io.StringIO(text)


@pytest.mark.parametrize(
    "open_channel",
    [
        lambda transport: transport.open_x11_channel(("127.0.0.1", 6000)),
        lambda transport: transport.open_forward_agent_channel(),
        lambda transport: transport.open_forwarded_tcpip_channel(("127.0.0.1", 22), ("127.0.0.1", 1)),
        lambda transport: transport.open_channel("session"),
        lambda transport: transport.open_channel("direct-tcpip", ("127.0.0.1", 1), ("127.0.0.1", 2)),
    ],
    ids=["x11", "auth-agent", "forwarded-tcpip", "session", "direct-tcpip"],
)
def test_no_channel_that_the_server_opens_is_accepted(
    identity: Identity, open_channel: Callable[[paramiko.Transport], object]
) -> None:
    with _turncoat() as (port, line, transport, _):
        made = connect(Endpoint(HOST, port), Identity(identity.user_key, line))
        with pytest.raises(paramiko.ChannelException):
            open_channel(transport())
        made.close()


def _flood(transport: paramiko.Transport, message: paramiko.Message) -> int:
    """Send without end; return how often that was possible."""
    for number in range(FLOOD):
        # A transport whose own thread has seen the end first drops what it is given, and says nothing.
        if not transport.is_active():
            return number
        try:
            transport._send_user_message(message)  # type: ignore[attr-defined]  # noqa: SLF001 - what a hostile one does
        except EOFError:
            return number
    return FLOOD


def test_a_server_that_ignores_the_window_cannot_fill_memory(identity: Identity) -> None:
    with _turncoat() as (port, line, transport, rules):
        made = connect(Endpoint(HOST, port), Identity(identity.user_key, line))
        stream = made.run("anything")
        assert rules.asked.wait(LIMIT_S)
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_DATA)
        message.add_int(0)
        message.add_string(bytes(32000))
        assert _flood(transport(), message) < FLOOD  # the client hangs up long before the end of this
        with pytest.raises(LinkError):
            read_all(stream)
        made.close()


def test_a_server_that_opens_no_channel_is_left_in_time(identity: Identity) -> None:
    key = _key()
    with impostor(key) as server:
        relay = Relay(server.port)
        made = connect(Endpoint(HOST, relay.port), Identity(identity.user_key, _line(key)), timeout=0.5)
        relay.stalled.set()
        error = _failure(lambda: made.run("true"))
        assert isinstance(error, LinkError)
        assert "opened no channel" in error.message
        made.close()
        relay.close()
