"""What a client of a sandbox machine's SSH server may rely on; every test runs on every server that works here."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
from machine_kit import MachineFromOutside, corners, kinds, machine, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ETC_SSH = '"${GP_ETC_SSH:-/etc/ssh}"'
SSHD_PID = '"$(cat "${GP_SSHD_PID:-/run/sshd.pid}")"'


@pytest.fixture(scope="module", params=kinds())
def rented(request: pytest.FixtureRequest) -> Iterator[MachineFromOutside]:
    with machine("echo started", **request.param) as one:
        yield one


def text(rented: MachineFromOutside, command: str) -> str:
    done = rented.ssh(command)
    assert isinstance(done.stdout, bytes)
    return done.stdout.decode().strip()


def new_key() -> tuple[asyncssh.SSHKey, str]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key, key.export_public_key("openssh").decode().strip()


def test_a_command_gets_its_input_and_gives_both_outputs_and_its_status(
    rented: MachineFromOutside,
) -> None:
    data = bytes(range(256)) * 10
    done = rented.ssh("cat; echo complaint >&2; exit 3", input=data)
    assert (done.stdout, done.stderr, done.exit_status) == (data, b"complaint\n", 3)


def test_megabytes_pass_unchanged_both_ways(rented: MachineFromOutside) -> None:
    data = os.urandom(8_000_000)
    done = rented.ssh("cat", input=data)
    assert done.stdout == data


def test_what_is_said_after_one_output_closed_is_not_lost(rented: MachineFromOutside) -> None:
    done = rented.ssh("exec >&-; echo late >&2; exit 4")
    assert (done.stderr, done.exit_status) == (b"late\n", 4)


def test_death_by_a_signal_is_told_as_such(rented: MachineFromOutside) -> None:
    done = rented.ssh("kill -KILL $$")
    assert done.exit_signal is not None
    assert done.exit_signal[0] == "KILL"


def test_one_connection_carries_many_commands_at_once(rented: MachineFromOutside) -> None:
    async def talk_to(connection: asyncssh.SSHClientConnection, number: int) -> str:
        process = await connection.create_process("read x; echo got $x; read y; echo and $y")
        process.stdin.write(f"{number}\n")
        first = await process.stdout.readline()
        process.stdin.write("more\n")
        return str(first + await process.stdout.read())

    async def talk() -> list[str]:
        async with rented.connect() as connection:
            return await asyncio.gather(*(talk_to(connection, number) for number in range(8)))

    assert rented.run(talk()) == [f"got {number}\nand more\n" for number in range(8)]


def test_a_client_that_leaves_takes_no_background_process_along(rented: MachineFromOutside) -> None:
    text(rented, "setsid sh -c 'echo $$ >left.pid; exec sleep 60' >/dev/null 2>&1 </dev/null &")
    until(lambda: rented.ssh("kill -0 $(cat left.pid)").exit_status == 0)


def test_a_terminal_is_given_when_asked_for() -> None:
    with machine(isolation="variables") as one:
        done = one.ssh("test -t 0 && stty size", term_type="xterm", term_size=(91, 31))
    assert done.stdout == b"31 91\r\n"


def test_a_session_knows_nothing_of_the_first_process_environment(
    rented: MachineFromOutside,
) -> None:
    assert "CONTAINER" not in text(rented, "env")
    first = text(rented, 'tr "\\0" "\\n" <"${GP_INIT_ENVIRON:-/proc/1/environ}"').splitlines()
    assert {"CONTAINER_API_KEY=instance-key", "CONTAINER_ID=4711"} <= set(first)


def test_a_session_runs_the_python_of_the_sandbox_at_a_home_of_its_own(
    rented: MachineFromOutside,
) -> None:
    code = "import sys, importlib.util as u; print(sys.prefix, bool(u.find_spec('asyncssh')))"
    assert text(rented, f'python -c "{code}"') == f"{sys.prefix} True"
    home, here = text(rented, "echo $HOME; pwd").splitlines()
    assert home == here
    assert "temporary" in text(rented, 'cd "$(mktemp -d)" && echo temporary >file && cat file')


def test_the_host_key_is_read_again_on_hangup_and_open_sessions_survive(
    rented: MachineFromOutside,
) -> None:
    change = (
        f"cd {ETC_SSH} && rm -f new new.pub && ssh-keygen -q -t ed25519 -N '' -f new && "
        f"mv new ssh_host_ed25519_key && mv new.pub ssh_host_ed25519_key.pub && kill -HUP {SSHD_PID}"
    )

    async def change_while_open() -> str:
        async with rented.connect() as connection:
            process = await connection.create_process("echo open; read x; echo $x")
            await process.stdout.readline()
            await connection.run(change, check=True)
            process.stdin.write("still open\n")
            return str(await process.stdout.read())

    before = rented.host_key_line
    assert rented.run(change_while_open()) == "still open\n"
    # After the hangup sshd starts itself anew, and what knocks in between is reset.
    until(rented.answers)
    new = " ".join(text(rented, f"cat {ETC_SSH}/ssh_host_ed25519_key.pub").split()[:2])
    assert new != before
    assert rented.host_key_line == new


def test_keys_are_read_at_each_login(rented: MachineFromOutside) -> None:
    key, line = new_key()

    async def try_key() -> bool:
        try:
            async with rented.connect(client_keys=[key]):
                return True
        except asyncssh.PermissionDenied:
            return False

    assert not rented.run(try_key())
    text(rented, f"echo '{line}' >>~/.ssh/authorized_keys")
    assert rented.run(try_key())
    text(rented, "rm ~/.ssh/authorized_keys")
    assert not rented.run(try_key())
    rented.add_key(line)
    assert rented.run(try_key())


def test_nobody_but_root_and_nothing_but_a_key_lets_in(rented: MachineFromOutside) -> None:
    async def enter(**more: Any) -> None:  # noqa: ANN401 - options of asyncssh
        async with rented.connect(**more):
            pass

    with pytest.raises(asyncssh.PermissionDenied):
        rented.run(enter(username="nobody"))
    with pytest.raises(asyncssh.PermissionDenied):
        rented.run(enter(client_keys=[], password="guess"))


def test_the_cipher_that_the_client_prefers_is_spoken(rented: MachineFromOutside) -> None:
    async def cipher() -> object:
        async with rented.connect(encryption_algs=["aes128-gcm@openssh.com"]) as connection:
            return connection.get_extra_info("send_cipher")

    assert rented.run(cipher()) == "aes128-gcm@openssh.com"


@pytest.mark.parametrize("kind", corners())
def test_a_baked_host_key_stays_whatever_the_start_command_does(kind: dict[str, Any]) -> None:
    start = (
        f"cd {ETC_SSH} && rm ssh_host_ed25519_key* && "
        "ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && "
        f"kill -HUP {SSHD_PID} && echo changed"
    )
    with machine(start, start_delay=0.2, fixed_host_key=True, **kind) as one:
        before = one.host_key_line
        until(lambda: "changed" in one.log())
        until(one.answers)
        assert one.host_key_line == before


@pytest.mark.parametrize("kind", corners())
def test_an_image_without_sshd_gets_one_from_the_start_command(kind: dict[str, Any]) -> None:
    start = 'until [ -e ~/go ]; do sleep 0.02; done; "$GP_SSHD" && echo serving'
    with machine(start, sshd_enabled=False, **kind) as one:
        with pytest.raises(OSError, match=r"reset|lost|closed"):
            one.ssh("true")
        (one.spec.folder / "disk/root/go").touch()
        until(lambda: "serving" in one.log())
        until((one.spec.folder / "disk/run/accounts/market").is_symlink)
        assert "CONTAINER_API_KEY" not in text(one, "env")


@pytest.mark.parametrize("kind", corners())
def test_during_the_lag_the_right_key_is_refused(kind: dict[str, Any]) -> None:
    with machine(auth_lag=0.6, **kind) as one:
        with pytest.raises(asyncssh.PermissionDenied):
            one.ssh("true")
        until(one.answers)
