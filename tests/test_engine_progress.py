"""How far a cell is, noted for other processes: what is noted, how seldom, and that a short cell costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from test_ledger import lease

from gpuplug.engine.progress import FIRST_S, PAUSE_S, Notes
from gpuplug.engine.recording import follow, is_followed, left_behind
from gpuplug.errors import DetachedError, LinkError
from gpuplug.ledger import Caller, CellRow, Ledger, Progress
from gpuplug.testing import FakeClock
from gpuplug.types import ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BY = Caller("5b1d", "/home/ann/train.ipynb")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FakeClock) -> Iterator[Ledger]:
    opened = Ledger(tmp_path, clock)
    opened.intend(lease())
    yield opened
    opened.close()


def noted(ledger: Ledger) -> Progress | None:
    return next(iter(ledger.progress.all().values()), None)


def test_a_cell_that_is_over_soon_is_not_noted(ledger: Ledger, clock: FakeClock) -> None:
    notes = Notes(ledger, clock, "gp-1", "c1")
    notes.begin("run")
    for _ in range(100):
        notes.text("a line\n")
        notes.keep()
        clock.advance(FIRST_S / 101)
    assert noted(ledger) is None


def test_a_long_cell_is_noted_every_few_seconds_while_it_changes_and_not_otherwise(
    ledger: Ledger, clock: FakeClock
) -> None:
    notes = Notes(ledger, clock, "gp-1", "c1")
    notes.begin("run")
    seen = set()
    for step in range(100):
        notes.text(f"step {step}\n")
        clock.advance(0.1)
        notes.keep()
        seen.add(noted(ledger))
    assert len(seen - {None}) <= 10 / PAUSE_S + 1
    clock.advance(PAUSE_S)
    notes.keep()
    last = noted(ledger)
    assert last is not None
    assert last.line == "step 99"
    clock.advance(PAUSE_S)
    notes.keep()
    assert noted(ledger) == last, "nothing has changed, nothing is written"


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        ("one\ntwo\n", "two"),
        ("\r 10%|#         | 1/10\r 20%|##        | 2/10", "20%|##        | 2/10"),
        ("\x1b[31mred\x1b[0m\n\n  \n", "red"),
        ("", ""),
        ("x" * 5000, "x" * 200),
    ],
)
def test_the_last_line_is_the_one_that_stands_on_the_page(
    shown: str, line: str, ledger: Ledger, clock: FakeClock
) -> None:
    notes = Notes(ledger, clock, "gp-1", "c1")
    notes.begin("run")
    for piece in (shown[:3], shown[3:]):
        notes.text(piece)
    clock.advance(FIRST_S)
    notes.keep()
    found = noted(ledger)
    assert found is not None
    assert (found.phase, found.line) == ("run", line)


def test_the_bytes_of_a_phase_are_noted_and_end_with_it(ledger: Ledger, clock: FakeClock) -> None:
    notes = Notes(ledger, clock, "gp-1", "c1")
    notes.begin("ship")
    clock.advance(FIRST_S)
    notes.moved(3, 9)
    found = noted(ledger)
    assert found is not None
    assert (found.phase, found.done, found.total) == ("ship", 3, 9)
    notes.begin("run")
    clock.advance(PAUSE_S)
    notes.keep()
    found = noted(ledger)
    assert found is not None
    assert (found.phase, found.done, found.total) == ("run", 0, 0)


def test_who_runs_a_cell_is_known_from_its_begin_on(ledger: Ledger, clock: FakeClock) -> None:
    with follow(ledger, clock, lease(), "nb", BY) as notes:
        assert is_followed(notes.cell)
        assert ledger.progress.callers(0.0) == {notes.cell: BY}
    assert not is_followed(notes.cell)


def test_what_an_earlier_process_of_a_kernel_ran_is_followed_by_nobody_and_what_others_run_is_left_alone(
    ledger: Ledger,
) -> None:
    def cell(name: str, status: str, caller: Caller | None) -> None:
        ledger.record_cell(CellRow(name, "gp-1", "nb", 1.0, 0.0, ZERO, status), caller=caller)

    cell("own", "running", BY)
    cell("done", "ok", BY)
    cell("others", "running", Caller("k2", "/home/ann/train.ipynb"))
    cell("unknown", "running", Caller())
    left_behind(ledger, BY.kernel)
    left_behind(ledger, "")
    assert {row.id: row.status for row in ledger.cells()} == {
        "own": "left running",
        "done": "ok",
        "others": "running",
        "unknown": "running",
    }


@pytest.mark.parametrize(
    ("phases", "error", "status"),
    [
        ((), KeyboardInterrupt(), "not sent"),
        (("ship",), LinkError("cut"), "not sent"),
        (("ship", "wait"), DetachedError("left"), "left running"),
        (("wait", "run"), LinkError("cut"), "lost"),
    ],
)
def test_a_cell_that_failed_on_its_way_there_is_not_said_to_have_run(
    phases: tuple[str, ...], error: BaseException, status: str, ledger: Ledger, clock: FakeClock
) -> None:
    def fail() -> None:
        with follow(ledger, clock, lease(), "nb", BY) as notes:
            for phase in phases:
                notes.begin(phase)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [row.status for row in ledger.cells()] == [status]


def test_a_ledger_that_cannot_be_written_stops_no_cell(ledger: Ledger, clock: FakeClock) -> None:
    ledger.close()
    ledger.path.write_bytes(b"no ledger" * 1000)
    notes = Notes(ledger, clock, "gp-1", "c1")
    notes.begin("run")
    clock.advance(FIRST_S)
    notes.keep()
