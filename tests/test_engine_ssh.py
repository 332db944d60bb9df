"""Cells on a machine of the user's own: from `-p ssh:...` to nothing left there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet
from machine_kit import MachineFromOutside, corners, machine, until
from ssh_kit import User, known_line, let_in, make_user, needs_ssh

from gpuplug import config
from gpuplug.errors import HostKeyError, UnreachableError, UsageError
from gpuplug.frontends import verbs
from gpuplug.ledger import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_ssh


@pytest.fixture(scope="module", params=corners())
def box(request: pytest.FixtureRequest) -> Iterator[MachineFromOutside]:
    with machine(**request.param) as running:
        yield running


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: MachineFromOutside) -> User:
    made = make_user(tmp_path / "user", monkeypatch)
    let_in(made, box)
    return made


@pytest.fixture
def nb(user: User, tmp_path: Path) -> Iterator[Notebook]:
    assert user.known_hosts.exists()
    with notebook(tmp_path) as made:
        yield made


def on(box: MachineFromOutside) -> str:
    return f"-p ssh:root@127.0.0.1:{box.port}"


def there(box: MachineFromOutside, command: str) -> str:
    """What a command says that runs on the machine without us."""
    return bytes(box.ssh(command).stdout or b"").decode()  # type: ignore[arg-type]  # bytes, by encoding=None


def traces(box: MachineFromOutside) -> list[str]:
    """What is left of us on the machine: processes that name its folder for instances, and files."""
    home = there(box, "echo $HOME").strip()
    mark = f"GPUPLUG_STATE={home}/.gpuplug"
    shown = there(box, f"grep -alF {mark} /proc/[0-9]*/environ 2>/dev/null; ls -d ~/.gpuplug ~/.ipython ~/gpuplug")
    return shown.split()


def listed(nb: Notebook) -> str:
    return verbs.ls(nb.engine, config.parse("", "ls"), lambda _: None)


def test_a_cell_runs_there_with_files_values_and_figures_and_nothing_is_left_after_down(
    nb: Notebook, box: MachineFromOutside
) -> None:
    (nb.root / "x.csv").write_text("1,2\n")
    nb.names["table"] = np.arange(4.0)
    nb.run(
        "import matplotlib.pyplot as plt, os\ntotal = table.sum() + int(open('x.csv').read()[0])\nprint(os.getpid())\n"
        "os.makedirs('out', exist_ok=True); open('out/r.txt', 'w').write('result')\nplt.plot([1, 2]); plt.show()\ntotal",
        f"{on(box)} -o total",
    )
    assert nb.names["total"] == 7
    assert nb.shown.endswith("7.0)") or nb.shown == "7.0"
    assert (nb.root / "out" / "r.txt").read_text() == "result"
    assert "image/png" in nb.talk.shown[-1].data
    assert nb.talk.costs == [f"ssh:root@127.0.0.1:{box.port} - {nb.talk.costs[0].split(' - ')[1]} - free"]
    assert nb.talk.questions == []
    nb.run("total += 1; print(total)", on(box))
    assert nb.talk.text == "8.0\n"
    nb.run("setsid sleep 3333 >/dev/null 2>&1 &", f"{on(box)} --shell")
    assert f"ssh:root@127.0.0.1:{box.port}  running" in listed(nb)
    assert traces(box)
    assert nb.down()[-1].endswith("gone (verified); it cost $0.00")
    assert traces(box) == []
    assert listed(nb) == "0 instances billing"


def test_a_cut_in_the_midst_of_a_cell_loses_no_output(nb: Notebook, box: MachineFromOutside) -> None:
    class Cutting(Quiet):
        def stream(self, name: str, text: str) -> None:
            if not self.out:
                box.link.cut()
            super().stream(name, text)

    talk = Cutting()
    nb.run("import time\nfor number in range(50): print(number, flush=True); time.sleep(0.01)", on(box), talk=talk)
    assert talk.text == "".join(f"{number}\n" for number in range(50))
    nb.run("print(number)", on(box))
    assert nb.talk.text == "49\n"


def test_another_engine_finds_the_state_of_the_first(nb: Notebook, box: MachineFromOutside, tmp_path: Path) -> None:
    nb.run("kept = 5", on(box))
    nb.engine.close()
    with notebook(tmp_path) as later:
        later.run("print(kept)", on(box))
        assert later.talk.text == "5\n"
    assert traces(box) == []


def test_an_unknown_host_is_refused_before_anything_is_written_down(
    nb: Notebook, user: User, box: MachineFromOutside
) -> None:
    user.know()
    with pytest.raises(HostKeyError, match="is not known here"):
        nb.run("print(1)", on(box))
    assert nb.engine.ledger.leases() == []


def test_a_bad_address_is_refused_before_ssh_is_asked(nb: Notebook) -> None:
    with pytest.raises(UsageError, match="ssh:"):
        nb.run("print(1)", "-p ssh:me@")
    assert nb.engine.ledger.leases() == []


def test_two_machines_are_used_side_by_side(nb: Notebook, user: User, box: MachineFromOutside) -> None:
    with machine() as second:
        second.add_key(user.key.public)
        user.know(known_line(box.port, box.host_key_line), known_line(second.port, second.host_key_line))
        nb.run("where = 'first'", on(box))
        nb.run("where = 'second'", on(second))
        nb.run("print(where)", on(box))
        assert nb.talk.text == "first\n"
        nb.run("print(where)", on(second))
        assert nb.talk.text == "second\n"
        nb.down()
        assert traces(box) == traces(second) == []


class TestAMachineThatIsSwitchedOff:
    @pytest.fixture
    def own(self, user: User) -> Iterator[MachineFromOutside]:
        """A machine that may be switched off."""
        with machine() as running:
            let_in(user, running)
            yield running

    def test_it_is_an_error_at_once_and_nothing_is_written_down(self, nb: Notebook, own: MachineFromOutside) -> None:
        own.stop()
        with pytest.raises(UnreachableError, match="nothing answers") as caught:
            nb.run("print(1)", on(own))
        assert "must work" in caught.value.hint
        assert nb.engine.ledger.leases() == []

    def test_its_instance_is_never_called_gone_and_hides_no_other(
        self, nb: Notebook, own: MachineFromOutside, box: MachineFromOutside, user: User
    ) -> None:
        user.know(known_line(box.port, box.host_key_line), known_line(own.port, own.host_key_line))
        nb.run("kept = 1", on(own))
        nb.run("kept = 2", on(box))
        nb.engine.sessions()[0].session.close()
        own.stop()
        with pytest.raises(UnreachableError):
            nb.run("print(kept)", on(own))
        shown = listed(nb)
        assert f"ssh:root@127.0.0.1:{own.port}  ready, not reached" in shown
        assert f"ssh:root@127.0.0.1:{own.port}: nothing answers" in shown
        assert f"ssh:root@127.0.0.1:{box.port}  running" in shown
        assert any("NOT PROVEN GONE" in line for line in nb.down())
        (lease,) = nb.engine.ledger.open_leases()
        assert lease.state is State.DESTROYING
        own.boot()
        until(own.answers)
        assert nb.down()[-1].endswith("gone (verified); it cost $0.00")
        assert traces(own) == []
