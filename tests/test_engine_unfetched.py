"""Results that nobody has fetched when the lease ends: they rest on the disk, wait, or go, as was agreed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet
from sandbox_kit import RunningMarket, market, wait_until

from gpuplug import config
from gpuplug.engine import Engine, unfetched
from gpuplug.frontends import verbs
from gpuplug.ledger import State
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG_S = 90.0
WHERE = {
    "vast": "-p vast -g RTX_4090 --max-price 0.60 --for 7s,1h",
    "runpod": "-p runpod -g RTX_4090 --max-price 1 --volume 10 --for 7s,1h",
}
CELL = "print('worth keeping')\nopen('out.txt', 'w').write('forty two')"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("GP_PERIOD", "0.5")
        with market(seed=7) as made:
            yield made


@pytest.fixture
def place(running: RunningMarket) -> Iterator[RunningMarket]:
    running.reset()
    yield running
    assert running.meter()["billing_now"] == 0


@pytest.fixture
def nb(place: RunningMarket, tmp_path: Path) -> Iterator[Notebook]:
    with notebook(tmp_path, environ=place.env) as made:
        yield made


def leave(nb: Notebook, line: str, monkeypatch: pytest.MonkeyPatch, source: str = CELL) -> None:
    """Run a cell whose process dies before anything has come home; another kernel takes its place."""
    with monkeypatch.context() as dying:
        dying.setattr("gpuplug.engine.running.bring_home", lambda *_: [])
        dying.setattr("gpuplug.engine.fetching.fetched", lambda *_: None)
        nb.run(source, line)
    nb.engine.close()
    nb.engine = Engine(nb.engine.notebook, nb.root)


def states(place: RunningMarket) -> set[str]:
    return {str(instance["state"]).lower() for instance in place.meter()["instances"]}


@pytest.mark.parametrize("platform", WHERE)
def test_what_nobody_fetched_rests_on_the_disk_and_comes_home_with_start(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    leave(nb, WHERE[platform], monkeypatch)
    wait_until(lambda: states(place) == {"exited"}, LONG_S)
    assert place.meter()["billing_now"] == 1
    (row,) = nb.engine.rows()
    assert row.lease is not None
    assert row.lease.state is State.STOPPED
    bill = verbs.bill(nb.engine)
    assert f"results of {nb.engine.notebook} wait on it" in bill
    assert "else it is ended at 20" in bill, "when nothing is left of the budget of the cell"
    assert bill == verbs.bill(nb.engine)
    rest = nb.engine.rest(row.lease)
    assert rest is not None
    assert rest.allowance is not None
    assert rest.allowance.budget == Money.dollars(2)
    assert rest.allowance.before.micros > 0, "the boot"
    assert verbs.ls(nb.engine, config.parse("", "ls"), print).count("wait on it") == 1
    assert not (nb.root / "out.txt").exists()
    talk = Quiet()
    verbs.start(nb.engine, config.parse("", "start"), talk)
    assert talk.text == "worth keeping\n"
    assert (nb.root / "out.txt").read_text() == "forty two"
    assert nb.engine.ledger.waiting.allowance(row.lease.label) is None
    # Everything is here now: the next end of a lease is the end.
    nb.engine.close()
    wait_until(lambda: place.meter()["billing_now"] == 0, LONG_S)
    nb.engine = Engine(nb.engine.notebook, nb.root)


def test_who_cannot_show_results_leaves_them_where_they_are(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(nb, WHERE["vast"], monkeypatch)
    wait_until(lambda: states(place) == {"exited"}, LONG_S)
    (live,) = nb.engine.start(config.parse("", "start"), Quiet())
    assert live.session.request("unfetched").payload != b"[]"
    assert not (nb.root / "out.txt").exists()


def test_what_the_user_stops_rests_by_his_wish_whatever_waits_there(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(nb, WHERE["vast"] + " --for 15m,1h", monkeypatch)
    stop = config.parse("", "stop")
    (lease,) = nb.engine.stop(stop, print)
    assert states(place) == {"exited"}
    assert nb.engine.ledger.waiting.allowance(lease.label) is not None
    assert nb.engine.rest(lease) is None
    assert [row.lease and nb.engine.rest(row.lease) for row in nb.engine.rows()] == [None]
    nb.engine.end(lease.label, print)


def test_a_stop_of_what_rests_within_a_budget_keeps_it_by_the_users_wish(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(nb, WHERE["vast"], monkeypatch)
    wait_until(lambda: states(place) == {"exited"}, LONG_S)
    (row,) = nb.engine.rows()
    assert row.lease is not None
    assert nb.engine.rest(row.lease) is not None
    assert "rests; its disk still bills" in verbs.stop(nb.engine, config.parse("", "stop"), print)
    assert nb.engine.rest(nb.engine.ledger.lease(row.lease.label)) is None
    nb.engine.end(row.lease.label, print)


def test_what_was_fetched_is_not_waited_for(nb: Notebook, place: RunningMarket) -> None:
    nb.run(CELL, WHERE["vast"])
    nb.engine.close()
    wait_until(lambda: states(place) == {"destroyed"}, LONG_S)
    nb.engine = Engine(nb.engine.notebook, nb.root)


def test_who_wants_no_waiting_loses_the_results_with_the_instance(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(nb, WHERE["vast"] + " --unfetched destroy", monkeypatch)
    wait_until(lambda: states(place) == {"destroyed"}, LONG_S)


@pytest.mark.parametrize("line", ["--unfetched wait", "--unfetched stop"])
def test_where_rest_is_not_wanted_or_not_paid_for_results_wait_within_the_budget_and_go_then(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    # For these prices a tenth of a cent is about ten seconds, and no day of a disk.
    leave(nb, WHERE["vast"] + f" --budget 0.0012 {line}", monkeypatch)
    wait_until(lambda: states(place) == {"destroyed"}, LONG_S)
    (instance,) = place.meter()["instances"]
    assert not place.requests("stop")
    assert instance["spend_micros"] > 1200


def test_a_stopped_machine_is_taken_by_the_next_cell_as_well_and_what_waits_comes_home_before_it_begins(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(nb, WHERE["vast"], monkeypatch)
    wait_until(lambda: states(place) == {"exited"}, LONG_S)
    nb.run("print(open('out.txt').read())", "--no-files --for 15m,1h")
    assert nb.talk.text == "worth keeping\nforty two\n"
    assert (nb.root / "out.txt").read_text() == "forty two"
    assert len(place.requests("create")) == 1


def test_what_waits_on_a_machine_that_runs_comes_home_with_start_and_once(
    nb: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(nb, WHERE["vast"] + " --for 15m,1h", monkeypatch)
    (cell,) = nb.engine.ledger.cells()
    nb.engine.ledger.record_cell(replace(cell, seconds=0.0, status="left running"))
    talk, start = Quiet(), config.parse("", "start")
    (lease,) = nb.engine.billing()
    said = verbs.start(nb.engine, replace(start, words=(lease.instance_id,)), talk)
    assert said.endswith("; results of 1 cell came home, 1 file")
    assert any("runs already" in note for note in talk.notes)
    assert talk.text == "worth keeping\n"
    assert (nb.root / "out.txt").read_text() == "forty two"
    assert nb.engine.ledger.cells() == [cell], "what it was left as is put right"
    assert nb.engine.ledger.waiting.allowance(lease.label) is None
    assert verbs.start(nb.engine, start, Quiet()).endswith("; nothing waits there")


def test_the_next_cell_of_another_kernel_brings_home_what_waits_and_takes_the_variables(
    nb: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(nb, WHERE["vast"] + " --for 15m,1h -o answer", monkeypatch, CELL + "\nanswer = [42]")
    nb.run("print('next')", "--no-files --for 15m,1h")
    assert nb.talk.text == "worth keeping\nnext\n"
    assert (nb.root / "out.txt").read_text() == "forty two"
    (live,) = nb.engine.sessions()
    assert live.arrived == {"answer": [42]}


def test_variables_that_were_asked_for_come_home_late_too(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(nb, WHERE["vast"] + " -o answer", monkeypatch, "answer = [42]")
    wait_until(lambda: states(place) == {"exited"}, LONG_S)
    verbs.start(nb.engine, config.parse("", "start"), Quiet())
    (live,) = nb.engine.sessions()
    assert live.arrived == {"answer": [42]}
    assert live.session.request("unfetched").payload == b"[]"


def test_a_free_machine_keeps_nothing_and_is_asked_nothing(tmp_path: Path) -> None:
    with notebook(tmp_path) as nb:
        nb.run("pass", "-p local")
        (live,) = nb.engine.sessions()
        assert unfetched.terms(live, config.parse("", config.CELL), None) is None
