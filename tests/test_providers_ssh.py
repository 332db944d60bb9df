"""A machine of the user's own as a provider: real SSH servers, real folders, real processes."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from machine_kit import MachineFromOutside, corners, machine, until
from ssh_kit import User, let_in, make_user, needs_ssh

from gpuplug.errors import LinkError, OfferGoneError, ProviderError, UsageError
from gpuplug.providers import Access, load
from gpuplug.providers.ssh import SshProvider, remote
from gpuplug.testing.streams import read_all
from gpuplug.types import (
    ZERO,
    GpuWish,
    Identity,
    InstanceState,
    Offer,
    Query,
    Secret,
    Spec,
    StartParams,
    SystemClock,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_ssh
SPEC = Spec("", 20, ZERO, StartParams(Secret(""), "", "", 900, 3600, 0))
NOBODY = Identity(Secret(""), "")
SOURCE = Path(remote.__file__)


@pytest.fixture(scope="module", params=corners())
def box(request: pytest.FixtureRequest) -> Iterator[MachineFromOutside]:
    """A machine with two GPUs."""
    with machine(gpu_count=2, **request.param) as running:
        yield running


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: MachineFromOutside) -> User:
    made = make_user(tmp_path / "user", monkeypatch)
    let_in(made, box)
    return made


def adapter(name: str, home: Path) -> SshProvider:
    provider = load(name, Access(Secret(""), "", "", str(home), SystemClock()))
    assert isinstance(provider, SshProvider)
    return provider


@pytest.fixture
def mine(user: User, box: MachineFromOutside, tmp_path: Path) -> Iterator[SshProvider]:
    """The adapter of this user for that machine; all its instances are ended afterwards."""
    assert user.known_hosts.exists()
    provider = adapter(f"ssh:root@127.0.0.1:{box.port}", tmp_path / "home")
    yield provider
    for instance in provider.instances():
        provider.terminate(instance.id)
    provider.close()


def launched(provider: SshProvider, label: str = "gp-one") -> str:
    return provider.launch(provider.offers(Query()).offers[0], SPEC, label)


def said(provider: SshProvider, command: str, label: str = "gp-one") -> str:
    instance = provider.show(label)
    assert instance is not None
    connection = provider.connect(instance, NOBODY)
    try:
        return read_all(connection.run(command)).decode()
    finally:
        connection.close()


def there(box: MachineFromOutside, command: str) -> str:
    """What a command says that runs on the machine without us."""
    return bytes(box.ssh(command).stdout or b"").decode()  # type: ignore[arg-type]  # bytes, by encoding=None


@pytest.mark.parametrize(
    ("wishes", "found"),
    [((), [2]), ((GpuWish("rtx4090"),), [1]), ((GpuWish("RTX_4090", 2),), [2]), ((GpuWish("A100"),), [])],
)
def test_the_gpus_of_the_machine_are_offered_for_nothing(
    mine: SshProvider, wishes: tuple[GpuWish, ...], found: list[int]
) -> None:
    offers = mine.offers(Query(gpus=wishes)).offers
    assert [(one.gpu_count, one.price, one.provider) for one in offers] == [(n, ZERO, mine.name) for n in found]
    assert mine.traits.free
    assert not mine.traits.identity
    assert not mine.traits.boots


def test_an_instance_is_a_private_folder_with_a_state_of_its_own(mine: SshProvider, box: MachineFromOutside) -> None:
    assert launched(mine) == "gp-one"
    home = there(box, "echo $HOME").strip()
    folder = f"{home}/.gpuplug/instances/gp-one"
    assert there(box, f"stat -c %a {folder} {home}/.gpuplug").split() == ["700", "700"]
    shown = said(mine, 'pwd; echo "$GPUPLUG_STATE $GPUPLUG_WORK $GPUPLUG_ENDS_ITSELF"; cat state/switch/lease')
    assert shown == f"{folder}\n{folder}/state {folder}/work 1\n900"


def test_commands_of_a_connection_end_with_it_and_each_instance_has_its_own(mine: SshProvider) -> None:
    launched(mine)
    launched(mine, "gp-two")
    assert said(mine, "basename $(pwd)", "gp-two") == "gp-two\n"
    instance = mine.show("gp-one")
    assert instance is not None
    connection = mine.connect(instance, NOBODY)
    stream = connection.run("cat")
    connection.close()
    with pytest.raises(LinkError):
        stream.read(1)
    assert said(mine, "echo still there") == "still there\n"


def test_what_is_listed_is_this_users_from_this_computer(
    mine: SshProvider, box: MachineFromOutside, tmp_path: Path
) -> None:
    assert mine.instances() == []
    launched(mine)
    other = adapter(mine.name, tmp_path / "another computer")
    launched(other, "gp-other")
    box.ssh("mkdir -p ~/.gpuplug/instances/mine; touch ~/.gpuplug/instances/gp-file")
    box.ssh("ln -s / ~/.gpuplug/instances/gp-link; mkdir ~/.gpuplug/instances/gp-broken")
    (one,) = mine.instances()
    assert (one.id, one.label, one.gpu_count, one.state, one.price) == (
        "gp-one",
        "gp-one",
        2,
        InstanceState.RUNNING,
        ZERO,
    )
    assert one.gpu.endswith("RTX 4090")
    assert one.started is not None
    assert [instance.id for instance in other.instances()] == ["gp-other"]
    assert mine.show("gp-other") is not None
    assert mine.show("gp-broken") is not None
    assert mine.show("gp-link") is mine.show("gp-file") is mine.show("gp-absent") is None
    other.terminate("gp-other")
    other.close()
    box.ssh("rm -r ~/.gpuplug/instances/mine ~/.gpuplug/instances/gp-file ~/.gpuplug/instances/gp-link")
    box.ssh("rm -r ~/.gpuplug/instances/gp-broken")


_STUBBORN = """sh -c 'trap "" TERM HUP INT; while :; do sleep {mark}; done' &"""


@pytest.mark.parametrize(
    "start",
    [
        "sleep {mark} &",
        "nohup sleep {mark} &",
        "setsid sleep {mark} &",
        "env -i sleep {mark} &",
        _STUBBORN,
        "setsid sh -c 'sleep {mark} & sleep {mark} & wait' &",
    ],
    ids=["plain", "nohup", "daemon", "without-variables", "stubborn", "tree"],
)
def test_nothing_is_left_running_and_nothing_is_left_on_disk(
    mine: SshProvider, box: MachineFromOutside, start: str
) -> None:
    launched(mine)
    # The ports of machines differ, so that nobody else sleeps for so long.
    mark = f"7777.{box.port}"
    script = start.format(mark=mark) + f"\necho up >up\nsleep {mark}"
    # As the agent's daemon is: the leader of a session of its own, who knows the state.
    said(mine, f"setsid sh -c {shlex.quote(script)} >/dev/null 2>&1 </dev/null &")
    until(lambda: "up" in there(box, "cat ~/.gpuplug/instances/gp-one/up 2>/dev/null"))
    assert sleepers(box, mark)
    mine.terminate("gp-one")
    assert mine.show("gp-one") is None
    assert not sleepers(box, mark)
    assert there(box, "ls -a ~ | grep -c gpuplug").strip() == "0"
    mine.terminate("gp-one")


def sleepers(box: MachineFromOutside, mark: str) -> list[str]:
    return [line for line in there(box, "ps -ww -e -o args").splitlines() if f"sleep {mark}" in line]


def test_processes_of_others_are_left_alone(mine: SshProvider, box: MachineFromOutside) -> None:
    launched(mine)
    launched(mine, "gp-one2")
    mark = f"7778.{box.port}"
    box.ssh(f"GPUPLUG_STATE=$HOME/elsewhere setsid sleep {mark} >/dev/null 2>&1 </dev/null & echo $! >~/stranger")
    said(mine, f"setsid sleep {mark} >/dev/null 2>&1 </dev/null &", "gp-one2")
    until(lambda: len(sleepers(box, mark)) == 2)
    mine.terminate("gp-one")
    assert len(sleepers(box, mark)) == 2
    mine.terminate("gp-one2")
    assert len(sleepers(box, mark)) == 1
    box.ssh("kill $(cat ~/stranger); rm ~/stranger")


def test_who_attaches_while_it_ends_is_refused(mine: SshProvider, box: MachineFromOutside) -> None:
    launched(mine)
    box.ssh("touch ~/.gpuplug/instances/gp-one/ending")
    assert said(mine, "echo started") == ""


def test_a_link_is_no_instance_and_is_not_followed(mine: SshProvider, box: MachineFromOutside) -> None:
    launched(mine)
    box.ssh("mkdir ~/precious; ln -s ~/precious ~/.gpuplug/instances/gp-link")
    mine.terminate("gp-link")
    assert there(box, "ls -d ~/precious").strip().endswith("precious")
    assert [one.id for one in mine.instances()] == ["gp-one"]
    box.ssh("rmdir ~/precious; rm ~/.gpuplug/instances/gp-link")


def test_a_launch_that_was_cut_off_is_no_instance_and_its_rest_is_removed(
    mine: SshProvider, box: MachineFromOutside
) -> None:
    box.ssh("mkdir -p ~/.gpuplug/instances/.gp-one.new/state")
    assert mine.instances() == []
    assert mine.show("gp-one") is None
    mine.terminate("gp-one")
    assert there(box, "ls -a ~ | grep -c gpuplug").strip() == "0"


def test_the_same_label_twice_is_refused(mine: SshProvider) -> None:
    launched(mine)
    with pytest.raises(ProviderError, match="gp-one is there already"):
        launched(mine)
    assert [one.id for one in mine.instances()] == ["gp-one"]


@pytest.mark.parametrize("label", ["", "mine", "gp-", "gp-../../x", "gp-a/b", "../gp-x", "gp-a\n", "/etc", "gp-$(id)"])
def test_a_label_cannot_leave_the_folder(mine: SshProvider, label: str) -> None:
    with pytest.raises(UsageError):
        launched(mine, label)
    mine.terminate(label)
    assert mine.show(label) is None


def test_hardware_that_is_not_there_is_refused(mine: SshProvider) -> None:
    with pytest.raises(OfferGoneError):
        mine.launch(Offer(mine.name, "H200", "", "H200", 1, ZERO), SPEC, "gp-one")


def test_a_connection_that_was_lost_since_is_made_anew(mine: SshProvider, box: MachineFromOutside) -> None:
    launched(mine)
    box.link.cut()
    assert [one.id for one in mine.instances()] == ["gp-one"]


def test_one_connection_serves_all_questions(mine: SshProvider) -> None:
    mine.offers(Query())
    first = mine._asking  # noqa: SLF001 - nowhere else to be seen
    assert launched(mine) == "gp-one"
    assert len(mine.instances()) == 1
    assert mine._asking is first  # noqa: SLF001 - likewise


def test_what_runs_over_there_is_python_3_8_alone_and_survives_every_login_shell() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    imported = {
        alias.name
        for node in ast.walk(ast.parse(source, feature_version=(3, 8)))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= set(sys.stdlib_module_names)
    # fish, for one, reads these two within single quotes.
    assert chr(92) * 2 not in source
    assert chr(92) + "'" not in source
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", source, json.dumps({"verb": "instances", "prefix": "gp-nothing"})],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == b'GPUPLUG-SSH {"instances": []}\n'
