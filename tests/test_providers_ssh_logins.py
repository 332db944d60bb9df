"""Logins of all kinds on a machine of the user's own: the real sshd, with a command that it forces."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ssh_kit import User, known_line, make_user, needs_ssh
from streams_kit import needs_sshd, sshd

from gpuplug.errors import (
    AuthError,
    HostKeyError,
    ProviderError,
    ReplyError,
    UnknownNameError,
    UnreachableError,
    UsageError,
)
from gpuplug.providers import Access, load
from gpuplug.types import ZERO, Query, Secret, Spec, StartParams, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.providers import Provider

pytestmark = [*needs_sshd, *needs_ssh]
SPEC = Spec("", 20, ZERO, StartParams(Secret(""), "", "", 900, 3600, 0))


def _python_in_a_usual_place() -> bool:
    return any(Path(folder, "bin/python").exists() for folder in ("/venv/main", "/opt/conda", "/opt/miniforge3"))


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    return make_user(tmp_path / "user", monkeypatch)


def adapter(name: str, home: Path) -> Provider:
    return load(name, Access(Secret(""), "", "", str(home), SystemClock()))


@pytest.fixture
def forced(user: User, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Provider]]:
    """Give the adapter for a machine whose every login runs a line of shell in place of the command."""
    with contextlib.ExitStack() as stack:

        def make(line: str) -> Provider:
            server = stack.enter_context(sshd(tmp_path_factory.mktemp("forced"), f"ForceCommand {line}\n"))
            (server.folder / "authorized_keys").write_text(user.key.public + "\n")
            user.know(known_line(server.port, server.host.public))
            provider = adapter(f"ssh:127.0.0.1:{server.port}", tmp_path / "forced home")
            stack.callback(provider.close)
            return provider

        yield make


@pytest.mark.parametrize("noise", ["echo Welcome", "printf no-end-of-line", "echo GPUPLUG-SSH nonsense"])
def test_a_login_that_prints_first_is_understood(forced: Callable[[str], Provider], noise: str) -> None:
    provider = forced(f'{noise}; echo; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    provider.launch(provider.offers(Query()).offers[0], SPEC, "gp-one")
    assert [one.id for one in provider.instances()] == ["gp-one"]
    provider.terminate("gp-one")
    assert provider.instances() == []


@pytest.mark.skipif(_python_in_a_usual_place(), reason="this computer has a Python where the agent looks for one")
def test_a_machine_without_python_is_named_with_what_to_do(forced: Callable[[str], Provider], tmp_path: Path) -> None:
    (tmp_path / "sh").symlink_to("/bin/sh")
    provider = forced(f'PATH={tmp_path} VIRTUAL_ENV= CONDA_PREFIX= exec sh -c "$SSH_ORIGINAL_COMMAND"')
    with pytest.raises(ProviderError, match=r"has no Python 3\.8 or newer") as caught:
        provider.offers(Query())
    assert caught.value.hint == "install python3 on that machine"


@pytest.mark.parametrize("line", ["/bin/false", "echo This account is not available", 'echo "GPUPLUG-SSH {cut}"'])
def test_a_login_that_runs_no_commands_is_named(forced: Callable[[str], Provider], line: str) -> None:
    with pytest.raises(ReplyError, match=r"did not run the command|cut or damaged"):
        forced(line).offers(Query())


def test_a_machine_whose_nvidia_smi_fails_offers_its_cpu(forced: Callable[[str], Provider], tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA H200'\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    provider = forced(f'PATH={tmp_path}:$PATH exec sh -c "$SSH_ORIGINAL_COMMAND"')
    assert [(one.gpu, one.gpu_count) for one in provider.offers(Query()).offers] == [("CPU", 1)]


def test_an_unknown_host_is_refused_by_every_question(forced: Callable[[str], Provider], user: User) -> None:
    provider = forced('sh -c "$SSH_ORIGINAL_COMMAND"')
    user.know()
    for ask in (provider.instances, lambda: provider.offers(Query()), lambda: provider.show("gp-one")):
        with pytest.raises(HostKeyError, match="is not known here"):
            ask()
    with pytest.raises(HostKeyError, match="is not known here"):
        provider.terminate("gp-one")


def test_a_user_without_a_key_is_told(forced: Callable[[str], Provider], user: User) -> None:
    provider = forced('sh -c "$SSH_ORIGINAL_COMMAND"')
    user.key_file.unlink()
    with pytest.raises(AuthError, match="no key to show"):
        provider.offers(Query())


def test_a_machine_that_is_off_is_told_at_once(user: User) -> None:
    assert user.known_hosts.exists() is False
    with pytest.raises(UnreachableError, match="nothing answers"):
        adapter("ssh:127.0.0.1:1", user.folder).instances()


@pytest.mark.parametrize("name", ["ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "ssh:me@", "ssh:host:99999", "ssh:::1"])
def test_what_is_no_machine_is_refused(user: User, name: str) -> None:
    with pytest.raises(UsageError, match=re.escape("is not [user@]host[:port]")):
        adapter(name, user.folder).instances()


def test_only_an_adapter_with_an_address_takes_one(tmp_path: Path) -> None:
    for name in ("ssh", "local:here", "vast:x"):
        with pytest.raises(UnknownNameError, match="no platform"):
            adapter(name, tmp_path)
