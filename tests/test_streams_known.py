"""Machines of the user's own: the real sshd and the real ssh on both sides of what is proven, shown and jumped through."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, ClassVar

import asyncssh
import pytest
from machine_kit import until
from ssh_kit import HI, PATIENCE_S, User, at, attempts, authorize, greeting, known_line, make_user, me, needs_ssh
from streams_kit import HOST, RawServer, Relay, Sshd, impostor, needs_sshd, sshd

from gpuplug.errors import HostKeyError, UnreachableError, UsageError
from gpuplug.streams.known import connect
from gpuplug.streams.ssh import make_key
from gpuplug.testing import StreamSuite
from gpuplug.types import SshTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from gpuplug.streams import Connection
    from gpuplug.streams.transport import SshConnection

pytestmark = [*needs_sshd, *needs_ssh]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def inner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A second machine, which tests reach through the first."""
    with sshd(tmp_path_factory.mktemp("inner")) as running:
        yield running


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Sshd, inner: Sshd) -> User:
    """A user whom both machines let in, and who knows both."""
    made = make_user(tmp_path / "user", monkeypatch)
    authorize(server, made.key)
    authorize(inner, made.key)
    made.know(known_line(server.port, server.host.public), known_line(inner.port, inner.host.public))
    return made


class TestThroughAJumpHost(StreamSuite):
    cut_points: ClassVar[Iterable[int]] = (0, 1, 32767, 70001)

    @pytest.fixture
    def relays(self) -> Iterator[dict[int, Relay]]:
        made: dict[int, Relay] = {}
        yield made
        for relay in made.values():
            relay.close()

    @pytest.fixture
    def another(
        self, user: User, server: Sshd, inner: Sshd, relays: dict[int, Relay]
    ) -> Iterator[Callable[[], Connection]]:
        made: list[SshConnection] = []

        def make() -> Connection:
            relay = Relay(server.port)
            user.configure(f"Host inner\n  HostName {HOST}\n  Port {inner.port}\n  ProxyJump {HOST}:{relay.port}")
            user.know(known_line(relay.port, server.host.public), known_line(inner.port, inner.host.public))
            made.append(connect(SshTarget("inner")))
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


class TestHostsThatAreKnown:
    def test_a_known_host_is_reached(self, user: User, server: Sshd) -> None:
        assert user.known_hosts.exists()
        assert greeting(at(server)) == HI

    @pytest.mark.parametrize("hashed", ["yes", "no"])
    def test_what_the_real_client_wrote_is_believed(self, user: User, server: Sshd, hashed: str) -> None:
        user.know()
        options = ("-o", "StrictHostKeyChecking=accept-new", "-o", f"HashKnownHosts={hashed}")
        assert user.ssh(*options, "-p", str(server.port), HOST, "echo hi").stdout == "hi\n"
        assert user.known_hosts.read_text().startswith("|1|" if hashed == "yes" else "[")
        assert greeting(at(server)) == HI

    def test_lines_that_ssh_keygen_hashed_are_believed(self, user: User, server: Sshd) -> None:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(user.known_hosts)], check=True, timeout=PATIENCE_S)
        assert "127.0.0.1" not in user.known_hosts.read_text()
        assert greeting(at(server)) == HI

    @pytest.mark.parametrize("line", [f"{HOST} {{key}}", "*.example,127.0.0.? {key}", "[127.0.0.1]:* {key}"])
    def test_lines_without_the_port_and_patterns_are_believed(self, user: User, server: Sshd, line: str) -> None:
        user.know(line.format(key=server.host.public))
        assert user.ssh("-p", str(server.port), HOST, "echo hi").stdout == "hi\n"
        assert greeting(at(server)) == HI

    def test_a_host_key_alias_is_looked_for_in_place_of_the_address(self, user: User, server: Sshd) -> None:
        user.know(f"lab-one {server.host.public}")
        user.configure(f"Host lab\n  HostName {HOST}\n  Port {server.port}\n  HostKeyAlias lab-one")
        assert greeting(SshTarget("lab")) == HI

    @pytest.mark.parametrize("kind", ["ssh-rsa", "ecdsa-sha2-nistp256"])
    def test_the_kind_of_key_that_is_known_is_asked_for(self, user: User, kind: str) -> None:
        key = asyncssh.generate_private_key(kind)
        with impostor(asyncssh.generate_private_key("ssh-ed25519"), key) as server:
            user.know(known_line(server.port, key.export_public_key("openssh").decode().strip()))
            connect(SshTarget(HOST, "any", server.port)).close()
            assert f"key any {user.key.public}" in server.seen


def refused(target: SshTarget) -> HostKeyError:
    with pytest.raises(HostKeyError, match="nothing was sent to it") as caught:
        connect(target)
    return caught.value


def ssh_keygen_fingerprint(folder: Path, public: str) -> str:
    file = folder / "shown.pub"
    file.write_text(public + "\n")
    done = subprocess.run(
        ["ssh-keygen", "-lf", str(file)], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    return done.stdout.split()[1]


class TestHostsThatAreNot:
    def test_an_unknown_host_is_named_with_its_fingerprint_and_what_to_type(
        self, user: User, server: Sshd, tmp_path: Path
    ) -> None:
        user.know()
        before = attempts(server)
        error = refused(at(server))
        assert f"ssh-ed25519 {ssh_keygen_fingerprint(tmp_path, server.host.public)}, is not known here" in error.message
        assert str(user.known_hosts) in error.message
        assert f"`ssh -p {server.port} {me()}@{HOST}`" in error.hint
        assert error.seen == server.host.public
        assert attempts(server) == before

    @pytest.mark.parametrize("word", ["no", "accept-new", "off"])
    def test_no_setting_of_ssh_weakens_that(self, user: User, server: Sshd, word: str) -> None:
        user.know()
        user.configure(f"Host *\n  StrictHostKeyChecking {word}")
        assert user.ssh("-p", str(server.port), HOST, "echo hi").stdout == "hi\n"
        user.know()
        before = attempts(server)
        assert "is not known here" in refused(at(server)).message
        assert attempts(server) == before
        assert user.known_hosts.read_text() == ""

    def test_a_changed_key_is_refused_loudly_with_file_line_and_both_fingerprints(
        self, user: User, tmp_path: Path
    ) -> None:
        old, new = make_key().public, asyncssh.generate_private_key("ssh-ed25519")
        shown = b" ".join(new.export_public_key("openssh").split()[:2]).decode()
        with impostor(new) as server:
            user.know("# mine", known_line(server.port, old))
            error = refused(SshTarget(HOST, "any", server.port))
            assert server.seen == []
        assert f"is ANOTHER than the one in {user.known_hosts} line 2" in error.message
        for line in (old, shown):
            assert ssh_keygen_fingerprint(tmp_path, line) in error.message
        assert f"ssh-keygen -R '[{HOST}]:{server.port}' -f {user.known_hosts}" in error.hint

    def test_a_key_of_another_kind_than_the_known_one_is_a_changed_key(self, user: User) -> None:
        with impostor(asyncssh.generate_private_key("ssh-rsa")) as server:
            user.know(known_line(server.port, make_key().public))
            assert "ANOTHER" in refused(SshTarget(HOST, "any", server.port)).message
            assert server.seen == []

    @pytest.mark.parametrize("hosts", ["*", "[127.0.0.1]:{port}", "127.0.0.1"])
    def test_a_revoked_key_is_refused_even_where_it_is_known(self, user: User, server: Sshd, hosts: str) -> None:
        line = known_line(server.port, server.host.public)
        user.know(line, f"@revoked {hosts.format(port=server.port)} {server.host.public}")
        before = attempts(server)
        assert f"is revoked in {user.known_hosts} line 2" in refused(at(server)).message
        assert attempts(server) == before

    def test_a_host_that_only_an_authority_vouches_for_is_refused_with_the_reason(
        self, user: User, server: Sshd
    ) -> None:
        user.know(f"@cert-authority [127.0.0.1]:* {make_key().public}")
        error = refused(at(server))
        assert f"by a certificate only ({user.known_hosts} line 1)" in error.message
        assert f"ssh-keyscan -p {server.port} {HOST}" in error.hint

    def test_a_key_that_is_known_without_the_port_only_is_unknown_when_it_differs(
        self, user: User, server: Sshd
    ) -> None:
        user.know(f"{HOST} {make_key().public}")
        assert "is not known here" in refused(at(server)).message

    def test_a_known_hosts_file_that_cannot_be_read_is_named(self, user: User, server: Sshd) -> None:
        user.known_hosts.unlink()
        user.known_hosts.mkdir()
        with pytest.raises(UsageError, match=re.escape(f"{user.known_hosts} cannot be read")):
            connect(at(server))


class TestTheWay:
    def test_an_alias_gives_host_port_user_and_key(self, user: User, server: Sshd) -> None:
        other = user.folder / "elsewhere key"
        shutil.move(user.key_file, other)
        user.configure(f'Host lab\n  HostName {HOST}\n  Port {server.port}\n  User {me()}\n  IdentityFile "{other}"')
        assert greeting(SshTarget("lab")) == HI

    def test_files_that_the_configuration_includes_are_read(self, user: User, server: Sshd) -> None:
        (user.folder / "more").write_text(f"Host lab\n  HostName {HOST}\n  Port {server.port}\n")
        user.configure(f"Include {user.folder}/more")
        assert greeting(SshTarget("lab")) == HI

    def test_what_is_typed_comes_before_the_configuration(self, user: User, server: Sshd) -> None:
        user.configure(f"Host {HOST}\n  Port 1\n  User nobody")
        assert greeting(at(server)) == HI

    def test_two_jumps_are_made_and_the_last_host_answers(self, user: User, server: Sshd, inner: Sshd) -> None:
        user.configure(
            f"Host first\n  HostName {HOST}\n  Port {server.port}\n"
            f"Host last\n  HostName {HOST}\n  Port {server.port}\n  ProxyJump first,{me()}@{HOST}:{inner.port}"
        )
        before = inner.log.count("Accepted publickey")
        done = user.ssh("last", "echo hi")
        assert done.stdout == "hi\n", done.stderr
        assert greeting(SshTarget("last")) == HI
        assert inner.log.count("Accepted publickey") - before == 2

    def test_a_jump_host_has_a_jump_host_of_its_own(self, user: User, server: Sshd, inner: Sshd) -> None:
        user.configure(
            f"Host first\n  HostName {HOST}\n  Port {server.port}\n"
            f"Host second\n  HostName {HOST}\n  Port {inner.port}\n  ProxyJump first\n"
            f"Host last\n  HostName {HOST}\n  Port {server.port}\n  ProxyJump second"
        )
        assert greeting(SshTarget("last")) == HI

    def test_an_unknown_host_behind_a_jump_sees_no_authentication(self, user: User, server: Sshd, inner: Sshd) -> None:
        user.configure(f"Host last\n  HostName {HOST}\n  Port {inner.port}\n  ProxyJump {HOST}:{server.port}")
        user.know(known_line(server.port, server.host.public))
        before = attempts(inner)
        error = refused(SshTarget("last"))
        assert "`ssh last`" in error.hint
        assert attempts(inner) == before

    def test_an_unknown_jump_host_sees_no_authentication_and_is_the_one_to_get_to_know(
        self, user: User, server: Sshd, inner: Sshd
    ) -> None:
        user.configure(f"Host last\n  HostName {HOST}\n  Port {inner.port}\n  ProxyJump {HOST}:{server.port}")
        user.know(known_line(inner.port, inner.host.public))
        before = attempts(server)
        assert f"`ssh -p {server.port} {HOST}`" in refused(SshTarget("last")).hint
        assert attempts(server) == before

    def test_a_jump_host_that_forwards_nothing_is_named(
        self, user: User, inner: Sshd, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        with sshd(tmp_path_factory.mktemp("closed"), "AllowTcpForwarding no\n") as closed:
            authorize(closed, user.key)
            user.know(known_line(closed.port, closed.host.public))
            user.configure(f"Host last\n  HostName {HOST}\n  Port {inner.port}\n  ProxyJump {HOST}:{closed.port}")
            with pytest.raises(UnreachableError, match=f"opened no way on to {HOST}:{inner.port}"):
                connect(SshTarget("last"))

    def test_closing_leaves_no_thread_behind_on_any_hop(self, user: User, server: Sshd, inner: Sshd) -> None:
        user.configure(f"Host last\n  HostName {HOST}\n  Port {inner.port}\n  ProxyJump {HOST}:{server.port}")
        before = set(threading.enumerate())
        made = connect(SshTarget("last"))
        made.run("cat")
        made.close()
        user.know(known_line(server.port, server.host.public))
        refused(SshTarget("last"))
        until(lambda: not set(threading.enumerate()) - before)  # a timer that was cancelled takes a moment to end

    def test_jump_hosts_that_name_each_other_are_an_error(self, user: User) -> None:
        user.configure("Host a\n  ProxyJump b\nHost b\n  ProxyJump a")
        with pytest.raises(UsageError, match="do they name each other"):
            connect(SshTarget("a"))

    def test_a_proxy_command_is_refused_with_the_alternative_and_not_run(self, user: User) -> None:
        ran = user.folder / "ran"
        user.configure(f"Host *\n  ProxyCommand touch {ran}")
        with pytest.raises(UsageError, match="proxycommand") as caught:
            connect(SshTarget("anywhere"))
        assert "ProxyJump" in caught.value.hint
        assert not ran.exists()

    def test_a_list_of_revoked_keys_is_not_passed_over(self, user: User, server: Sshd) -> None:
        user.configure(f"Host *\n  RevokedHostKeys {user.folder}/revoked")
        with pytest.raises(UsageError, match="revokedhostkeys"):
            connect(at(server))

    def test_a_fault_in_the_configuration_is_told_in_the_words_of_ssh(self, user: User) -> None:
        user.configure("Hots lab")
        with pytest.raises(UsageError, match=r"config: line 1: Bad configuration option: hots"):
            connect(SshTarget("lab"))

    def test_without_an_ssh_that_is_said(self, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(user.folder))
        with pytest.raises(UsageError, match="there is no `ssh` on this computer") as caught:
            connect(SshTarget("lab"))
        assert "openssh-client" in caught.value.hint

    def test_no_key_of_a_platform_reaches_ssh(self, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
        (user.folder / "bin" / "ssh").write_text(f"#!/bin/sh\nenv >{user.folder}/seen\nexit 1\n")
        monkeypatch.setenv("VAST_API_KEY", "canary-value")
        with pytest.raises(UsageError):
            connect(SshTarget("lab"))
        assert "canary-value" not in (user.folder / "seen").read_text()


class TestNobodyThere:
    def test_a_name_that_nobody_knows_is_an_error_at_once(self, user: User) -> None:
        assert user.known_hosts.exists()
        with pytest.raises(UnreachableError, match=r"no host 'no-such-alias\.invalid'") as caught:
            connect(SshTarget("no-such-alias.invalid"))
        assert "`ssh no-such-alias.invalid` must work" in caught.value.hint

    def test_a_refused_port_is_an_error_at_once(self, user: User) -> None:
        assert user.known_hosts.exists()
        with pytest.raises(UnreachableError, match=rf"nothing answers at {HOST}:1: "):
            connect(SshTarget(HOST, port=1))

    @pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x1b]0;owned\x07\r\n" * 50])
    def test_what_is_no_ssh_is_refused_and_its_words_shown_to_nobody(self, user: User, said: bytes) -> None:
        assert user.known_hosts.exists()

        def talk(client: socket.socket) -> None:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)

        with RawServer(talk).running() as server:
            with pytest.raises(UnreachableError, match="no SSH key exchange") as caught:
                connect(SshTarget(HOST, port=server.port))
            assert "owned" not in str(caught.value)

    @pytest.mark.parametrize("after", [0, 60, 1300])
    def test_a_server_that_stalls_is_left_in_time(self, user: User, server: Sshd, after: int) -> None:
        relay = Relay(server.port, stall_after=after)
        user.know(known_line(relay.port, server.host.public))
        with pytest.raises(UnreachableError):
            connect(SshTarget(HOST, me(), relay.port), timeout=0.5)
        relay.close()

    def test_an_interrupt_ends_the_wait_and_leaves_nothing_behind(self, user: User) -> None:
        assert user.known_hosts.exists()
        before = set(threading.enumerate())

        def interrupt(client: socket.socket) -> None:
            client.recv(1 << 16)  # its greeting: it waits for ours from now on
            os.kill(os.getpid(), signal.SIGINT)
            client.recv(1 << 16)

        with RawServer(interrupt).running() as server, pytest.raises(KeyboardInterrupt):
            connect(SshTarget(HOST, port=server.port))
        until(lambda: not set(threading.enumerate()) - before)  # a timer that was cancelled takes a moment to end
