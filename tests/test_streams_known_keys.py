"""Which keys a machine of the user's own is shown: the real sshd, ssh-agent, ssh-add and ssh-keygen."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import pytest
from ssh_kit import HI, PATIENCE_S, User, at, authorize, greeting, known_line, make_user, me, needs_ssh
from streams_kit import HOST, Sshd, impostor, needs_sshd, sshd

from gpuplug.errors import AuthError, UnreachableError
from gpuplug.streams.known import connect
from gpuplug.types import SshTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [*needs_sshd, *needs_ssh]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Sshd) -> User:
    """A user whom the machine lets in, and who knows it."""
    made = make_user(tmp_path / "user", monkeypatch)
    authorize(server, made.key)
    made.know(known_line(server.port, server.host.public))
    return made


def write_key(path: Path, *options: str) -> str:
    """Have ssh-keygen make a key pair; return the public line."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path), *options], check=True, timeout=PATIENCE_S
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@pytest.fixture
def agent_folder() -> Iterator[Path]:
    """A folder whose name is short: names of sockets have a limit."""
    with tempfile.TemporaryDirectory(prefix="agent-") as folder:
        yield Path(folder)


@pytest.fixture
def agent(agent_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """A real ssh-agent; call it with a key file to add."""
    path = agent_folder / "agent.sock"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()  # it listens when it has said so
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))

        def add(key: Path) -> None:
            subprocess.run(["ssh-add", "-q", str(key)], check=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL)

        yield add
        running.terminate()


def test_a_key_that_is_not_accepted_is_named_with_what_to_type(user: User, server: Sshd) -> None:
    authorize(server)
    with pytest.raises(AuthError, match=re.escape(f"accepts no key for {me()!r}; tried {user.key_file}")) as caught:
        connect(at(server))
    assert caught.value.hint == f"ssh-copy-id -p {server.port} {me()}@{HOST}"


def test_without_any_key_that_is_said(user: User, server: Sshd) -> None:
    user.key_file.unlink()
    with pytest.raises(AuthError, match="there is no key to show") as caught:
        connect(at(server))
    assert "ssh-keygen -t ed25519" in caught.value.hint


def test_a_key_with_a_passphrase_is_used_through_the_agent_and_not_asked_for(
    user: User, server: Sshd, agent: Callable[[Path], None]
) -> None:
    user.key_file.unlink()
    public = write_key(user.key_file)
    agent(user.key_file)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "passphrase", "-f", str(user.key_file)],
        check=True,
        timeout=PATIENCE_S,
    )
    (server.folder / "authorized_keys").write_text(public + "\n")
    assert greeting(at(server)) == HI
    subprocess.run(["ssh-add", "-q", "-D"], check=True, timeout=PATIENCE_S, capture_output=True)
    with pytest.raises(AuthError, match=re.escape(f"{user.key_file} needs its passphrase")) as caught:
        connect(at(server))
    assert caught.value.hint == f"ssh-add {user.key_file}"


def test_an_agent_that_is_gone_is_none(user: User, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(user.folder / "gone.sock"))
    assert greeting(at(server)) == HI


def test_keys_are_shown_one_after_the_other_as_ssh_does(
    user: User, server: Sshd, agent: Callable[[Path], None], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        write_key(tmp_path / name)
        agent(tmp_path / name)
    before = server.log.count("Failed publickey")
    assert user.key_file.exists()
    assert greeting(at(server)) == HI
    assert server.log.count("Failed publickey") - before == 2


def test_identities_only_shows_none_of_the_agents_others(
    user: User, server: Sshd, agent: Callable[[Path], None], tmp_path: Path
) -> None:
    write_key(tmp_path / "other")
    agent(tmp_path / "other")
    user.configure("Host *\n  IdentitiesOnly yes")
    before = server.log.count("Failed publickey")
    assert greeting(at(server)) == HI
    assert server.log.count("Failed publickey") == before


def test_a_public_key_file_picks_the_agents_key(
    user: User, server: Sshd, agent: Callable[[Path], None], tmp_path: Path
) -> None:
    public = write_key(tmp_path / "hidden")
    agent(tmp_path / "hidden")
    (tmp_path / "hidden").unlink()
    (server.folder / "authorized_keys").write_text(public + "\n")
    user.configure(f"Host *\n  IdentitiesOnly yes\n  IdentityFile {tmp_path}/hidden.pub")
    assert greeting(at(server)) == HI


def test_an_agent_of_the_configuration_is_asked_in_place_of_the_usual_one(
    user: User, server: Sshd, agent: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent(user.key_file)
    path = os.environ["SSH_AUTH_SOCK"]
    user.key_file.unlink()
    monkeypatch.delenv("SSH_AUTH_SOCK")
    user.configure(f"Host *\n  IdentityAgent {path}")
    assert greeting(at(server)) == HI
    user.configure("Host *\n  IdentityAgent none")
    monkeypatch.setenv("SSH_AUTH_SOCK", path)
    with pytest.raises(AuthError, match="no key to show"):
        connect(at(server))


def test_too_many_keys_are_said_to_be_that(
    user: User, server: Sshd, agent: Callable[[Path], None], tmp_path: Path
) -> None:
    assert user.key_file.exists()
    for number in range(7):
        write_key(tmp_path / f"key{number}")
        agent(tmp_path / f"key{number}")
    with pytest.raises(AuthError, match="hung up after 6 keys") as caught:
        connect(at(server))
    assert "IdentitiesOnly yes" in caught.value.hint


@pytest.mark.parametrize("asks", [True, False])
def test_a_server_that_lets_in_without_a_key_is_shown_none(user: User, *, asks: bool) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    with impostor(key, asks=asks) as server:
        user.know(known_line(server.port, key.export_public_key("openssh").decode().strip()))
        connect(SshTarget(HOST, "any", server.port)).close()
        assert (f"key any {user.key.public}" in server.seen) == asks


def test_a_server_that_wants_more_than_a_key_is_named(user: User, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = "KbdInteractiveAuthentication yes\nAuthenticationMethods publickey,keyboard-interactive\n"
    with sshd(tmp_path_factory.mktemp("two"), config) as strict:
        authorize(strict, user.key)
        user.know(known_line(strict.port, strict.host.public))
        with pytest.raises(AuthError, match="wants more than a key"):
            connect(at(strict))


def test_a_certificate_beside_the_key_is_shown(
    user: User, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority = write_key(tmp_path / "authority")
    user.key_file.unlink()
    write_key(user.key_file)
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(tmp_path / "authority"), "-I", "me", "-n", me(), f"{user.key_file}.pub"],
        check=True,
        timeout=PATIENCE_S,
    )
    (tmp_path / "authorities").write_text(authority + "\n")
    with sshd(tmp_path_factory.mktemp("ca"), f"TrustedUserCAKeys {tmp_path}/authorities\n") as trusting:
        authorize(trusting)
        user.know(known_line(trusting.port, trusting.host.public))
        assert greeting(at(trusting)) == HI


def test_a_server_that_hangs_up_during_authentication_may_be_asked_again(
    user: User, agent: Callable[[Path], None], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write_key(tmp_path / "other")
    agent(tmp_path / "other")
    with sshd(tmp_path_factory.mktemp("short"), "MaxAuthTries 1\n") as short:
        authorize(short, user.key)
        user.know(known_line(short.port, short.host.public))
        with pytest.raises(UnreachableError, match="hung up during authentication") as caught:
            connect(at(short))
        assert caught.value.retryable
