"""What the ledger says of cells while they run and when nobody could see them end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet

from gpuplug.engine.recording import follow
from gpuplug.engine.running import Ran, Show
from gpuplug.errors import DetachedError, PreemptedError, RemoteError
from gpuplug.session import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.ledger import CellRow


class Watching(Quiet):
    """A front end that looks into the ledger at each print of the cell."""

    def __init__(self, nb: Notebook) -> None:
        super().__init__()
        self._nb = nb
        self.seen: list[CellRow] = []

    def stream(self, name: str, text: str) -> None:
        super().stream(name, text)
        self.seen += self._nb.engine.ledger.cells()


@pytest.fixture(scope="module")
def nb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    with notebook(tmp_path_factory.mktemp("nb")) as made:
        yield made


def test_a_cell_is_in_the_ledger_while_it_runs_and_once_when_it_has_ended(nb: Notebook) -> None:
    talk = Watching(nb)
    nb.run("print('there')", talk=talk)
    assert talk.seen[-1].status == "running"
    assert [row.status for row in nb.engine.ledger.cells() if row.id == talk.seen[-1].id] == ["ok"]


def test_a_cell_that_was_interrupted_before_it_began_has_failed(nb: Notebook) -> None:
    nb.run("1")
    (live,) = nb.engine.sessions()
    ran = Ran("c1")
    Show(live, ran, Quiet()).event(Event("c1", "done", {"status": "interrupted"}, b""))
    assert isinstance(ran.failure, RemoteError)
    assert ran.failure.ename == "KeyboardInterrupt"


@pytest.mark.parametrize(
    ("failure", "status"),
    [(DetachedError("left"), "left running"), (PreemptedError("taken"), "preempted"), (KeyboardInterrupt(), "unknown")],
)
def test_a_cell_that_nobody_saw_end_is_not_said_to_run_on(nb: Notebook, failure: BaseException, status: str) -> None:
    nb.run("1")
    (lease,) = nb.engine.ledger.open_leases()
    cells: list[str] = []

    def fail() -> None:
        with follow(nb.engine.ledger, nb.engine.clock, lease, nb.engine.notebook, nb.engine.caller) as notes:
            notes.begin("run")
            cells.append(notes.cell)
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert [row.status for row in nb.engine.ledger.cells() if row.id == cells[0]] == [status]
