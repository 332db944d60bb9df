"""One cell on a pod whose image has OpenSSH: the system's own sshd, with whatever keys and users it insists on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from sandbox_kit import RunningMarket, market

from gpuplug.ledger import State
from gpuplug.sandbox.machine import MachineError, isolation, openssh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OFFICIAL = "--image runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
RENT = f"-p runpod -g RTX_4090 --max-price 0.80 {OFFICIAL}"


def why_not() -> str:
    """Say why OpenSSH cannot serve a machine here; "" when it can."""
    try:
        openssh.check(isolation.choose("auto"))
    except MachineError as error:
        return str(error)
    return ""


pytestmark = [pytest.mark.openssh, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module")
def place() -> Iterator[RunningMarket]:
    with market(seed=7, sshd="openssh") as made:
        yield made
        assert made.meter()["billing_now"] == 0


@pytest.fixture
def nb(place: RunningMarket, tmp_path: Path) -> Iterator[Notebook]:
    with notebook(tmp_path, environ=place.env) as made:
        yield made


def test_a_cell_runs_behind_openssh_with_no_set_up_and_its_end_is_proven(nb: Notebook, place: RunningMarket) -> None:
    (nb.root / "train.csv").write_text("1\n2\n3\n")
    source = "print(sum(int(line) for line in open('train.csv')))\nopen('out.txt', 'w').write('x')\n7 * 6"
    nb.run(source, RENT)
    assert (nb.talk.text, nb.shown) == ("6\n", "42")
    assert (nb.root / "out.txt").read_text() == "x"
    assert place.meter()["billing_now"] == 1
    assert "gone (verified)" in nb.down()[-1]
    assert [lease.state for lease in nb.engine.ledger.leases()] == [State.GONE]


def test_what_openssh_shows_is_the_key_that_was_sent_and_then_one_made_there(nb: Notebook) -> None:
    nb.run("pass", RENT)
    (lease,) = nb.engine.billing()
    assert lease.rotated
    assert lease.host_key != lease.sent_key
    nb.engine.close()
    nb.run("print('again')")
    assert nb.talk.text == "again\n"
    nb.down()
