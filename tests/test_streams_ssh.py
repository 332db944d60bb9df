from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from streams_kit import HOST, Relay, Sshd, needs_sshd, sshd

from gpuplug.errors import HostError, HostKeyError, LinkError, NotReadyError
from gpuplug.streams import ByteStream, Connection
from gpuplug.streams.ssh import SshConnection, connect, make_key, public_line, rotate_host_key
from gpuplug.testing import StreamSuite
from gpuplug.testing.streams import read_all
from gpuplug.types import Endpoint, Identity, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

pytestmark = needs_sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


class TestSsh(StreamSuite):
    cut_points: ClassVar[Iterable[int]] = (0, 1, 255, 32767, 70001)

    @pytest.fixture
    def relays(self) -> Iterator[dict[int, Relay]]:
        made: dict[int, Relay] = {}
        yield made
        for relay in made.values():
            relay.close()

    @pytest.fixture
    def another(self, server: Sshd, relays: dict[int, Relay]) -> Iterator[Callable[[], Connection]]:
        made: list[SshConnection] = []

        def make() -> Connection:
            relay = Relay(server.port)
            endpoint = Endpoint(HOST, relay.port, user=server.endpoint.user)
            made.append(connect(endpoint, server.identity))
            relays[id(made[-1])] = relay
            return made[-1]

        yield make
        for connection in made:
            connection.close()

    @pytest.fixture
    def connection(self, another: Callable[[], Connection]) -> Connection:
        return another()

    @pytest.fixture
    def cut(self, relays: dict[int, Relay]) -> Callable[[Connection], None]:
        return lambda connection: relays[id(connection)].cut()


@pytest.fixture
def connection(server: Sshd) -> Iterator[SshConnection]:
    made = connect(server.endpoint, server.identity)
    yield made
    made.close()


def test_a_command_runs_and_its_output_comes_back(connection: SshConnection) -> None:
    assert read_all(connection.run("echo hello; echo $((6 * 7))")) == b"hello\n42\n"


def test_the_cheapest_good_cipher_is_used(connection: SshConnection) -> None:
    transport: Any = connection._transport  # noqa: SLF001 - the cipher is nowhere else to be seen
    assert transport.local_cipher == transport.remote_cipher == "aes128-gcm@openssh.com"


def test_the_contract_is_kept(connection: SshConnection) -> None:
    assert isinstance(connection, Connection)
    assert isinstance(connection.run("true"), ByteStream)


def test_close_leaves_no_thread_behind(server: Sshd) -> None:
    before = set(threading.enumerate())
    made = connect(server.endpoint, server.identity)
    made.run("cat")
    made.close()
    assert not set(threading.enumerate()) - before


def test_a_user_key_that_is_not_accepted_yet_is_not_an_end(server: Sshd) -> None:
    other = Identity(make_key().private, server.host.public)
    with pytest.raises(NotReadyError, match="has not accepted the key") as caught:
        connect(server.endpoint, other)
    assert caught.value.retry_after == 2


def test_nobody_listening_is_not_an_end(server: Sshd) -> None:
    with pytest.raises(NotReadyError, match=r"nothing answers at 127\.0\.0\.1:1 ") as caught:
        connect(Endpoint(HOST, 1), server.identity)
    assert caught.value.retry_after == 1


def _gather(stream: ByteStream, pieces: list[bytes]) -> None:
    while piece := stream.read(1 << 14):
        pieces.append(piece)


def test_a_bit_that_flips_on_the_way_ends_the_link_and_is_never_read(server: Sshd) -> None:
    relay = Relay(server.port, damage_at=60_000)
    made = connect(Endpoint(HOST, relay.port, server.endpoint.user), server.identity)
    stream = made.run("head -c 200000 /dev/zero")
    seen: list[bytes] = []
    with pytest.raises(LinkError):
        _gather(stream, seen)
    assert set(b"".join(seen)) == {0}
    made.close()
    relay.close()


def test_a_key_pair_is_made_and_its_public_half_is_known_again() -> None:
    pair = make_key()
    assert pair.public.startswith("ssh-ed25519 AAAA")
    assert public_line(pair.private) == pair.public
    assert "PRIVATE" not in repr(pair)
    assert make_key().public != pair.public


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(HostError, match=r"no ed25519 key in OpenSSH form$"):
        public_line(Secret(text))


@pytest.mark.parametrize("pin", ["", "ssh-ed25519", "ssh-rsa AAAA", "ssh-ed25519 !!!"])
def test_a_pin_that_is_no_host_key_is_refused_before_dialling(server: Sshd, pin: str) -> None:
    with pytest.raises(HostError, match="pinned host key"):
        connect(server.endpoint, Identity(server.user.private, pin))


class TestRotation:
    @pytest.fixture
    def own(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
        with sshd(tmp_path_factory.mktemp("rotated")) as running:
            yield running

    def test_the_host_proves_itself_with_the_new_key_only(self, own: Sshd) -> None:
        first = connect(own.endpoint, own.identity)
        named: list[str] = []
        new = rotate_host_key(first, before_switch=named.append)
        assert named == [new]
        assert new != own.host.public
        assert read_all(first.run("echo still here")) == b"still here\n"
        first.close()
        second = _connect_soon(own.endpoint, Identity(own.user.private, new))
        assert read_all(second.run("echo again")) == b"again\n"
        second.close()
        with pytest.raises(HostKeyError) as caught:
            connect(own.endpoint, own.identity)
        assert caught.value.seen == new

    def test_the_mark_is_left_and_nothing_else_lies_about(self, own: Sshd) -> None:
        first = connect(own.endpoint, own.identity)
        new = rotate_host_key(first)
        first.close()
        assert (own.folder / ".gpuplug" / "rotated").exists()
        key = own.folder / "ssh_host_ed25519_key"
        assert key.stat().st_mode & 0o777 == 0o600
        assert public_line(Secret(key.read_text())) == new
        assert (own.folder / "ssh_host_ed25519_key.pub").read_text().split() == new.split()
        assert not list(own.folder.glob("gpuplug_next*"))

    def test_without_ssh_keygen_the_old_key_stays_and_that_is_said(self, own: Sshd) -> None:
        first = connect(own.endpoint, own.identity)
        (own.folder / ".gpuplug").mkdir()
        (own.folder / ".gpuplug" / "env").write_text("PATH=/nonexistent\n")
        with pytest.raises(HostError, match="no ssh-keygen"):
            rotate_host_key(first)
        first.close()
        connect(own.endpoint, own.identity).close()

    def test_without_an_sshd_to_tell_the_old_key_stays(self, own: Sshd) -> None:
        first = connect(own.endpoint, own.identity)
        (own.folder / "sshd.pid").write_text("999999999\n")
        (own.folder / ".gpuplug").mkdir()
        (own.folder / ".gpuplug" / "env").write_text('cat() { case $1 in /proc/*) ;; *) command cat "$1" ;; esac; }\n')
        with pytest.raises(HostError, match="sshd was not found"):
            rotate_host_key(first)
        assert not (own.folder / ".gpuplug" / "rotated").exists()
        first.close()
        connect(own.endpoint, own.identity).close()

    def test_a_folder_that_cannot_be_written_keeps_the_old_key(self, own: Sshd) -> None:
        first = connect(own.endpoint, own.identity)
        (own.folder / ".gpuplug").mkdir()
        (own.folder / ".gpuplug" / "env").write_text("GP_ETC_SSH=/proc/nonexistent\n")
        with pytest.raises(HostError, match="ssh-keygen failed"):
            rotate_host_key(first)
        assert not (own.folder / ".gpuplug" / "rotated").exists()
        first.close()


def _connect_soon(endpoint: Endpoint, identity: Identity) -> SshConnection:
    # sshd reads the new key within a moment of its HUP.
    pause = threading.Event()
    for _ in range(200):
        try:
            return connect(endpoint, identity)
        except (HostKeyError, NotReadyError):
            pause.wait(0.02)
    return connect(endpoint, identity)
