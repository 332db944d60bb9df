"""The cells that run and ran, as the panel shows them: what is known of each, and no more."""

from __future__ import annotations

from typing import Any

from test_panel_state import HOSTILE, NOW, instance, known, lease, pod

from gpuplug.frontends.panel import fields, state
from gpuplug.frontends.panel.jobs import without_lines
from gpuplug.ledger import Caller, CellRow, Lease, Progress, State
from gpuplug.types import Money


def test_a_job_that_runs_has_no_cost_yet_and_can_be_cancelled() -> None:
    cells = (
        CellRow("c1", "gp-1", "train-1", NOW - 90, 60.0, Money(4600), "ok"),
        CellRow("c2", "gp-1", "train-1", NOW - 9, 0.0, Money(0), "running"),
    )
    what = known(lease(contact=NOW, busy=1), listed=(instance(),), cells=cells)
    runs, done = state.parts(what)["jobs"]["items"]
    assert (runs["id"], runs["cost_usd"], runs["ended"], runs["may"]["cancel"]) == ("c2", None, None, {})
    assert (done["cost_usd"], done["seconds"], done["may"]["cancel"]) == ("0.004600", 60.0, None)
    assert pod(what)["runs"] == "c2"


def test_a_job_that_no_kernel_is_in_touch_with_is_not_said_to_run() -> None:
    cells = (CellRow("c2", "gp-1", "train-1", NOW - 900, 0.0, Money(0), "running"),)
    for where in (lease(contact=NOW - 400, busy=1), lease(state=State.GONE, ended=NOW - 10, contact=NOW)):
        (job,) = state.parts(known(where, listed=(), cells=cells))["jobs"]["items"]
        assert (job["state"], job["may"]["cancel"], job["cost_usd"]) == ("unknown", None, None)


def test_a_job_whose_process_its_server_knows_to_be_gone_is_not_said_to_run() -> None:
    cells = (CellRow("c2", "gp-1", "train-1", NOW - 9, 0.0, Money(0), "running"),)
    what = known(lease(contact=NOW, busy=1), listed=(instance(),), cells=cells, left=frozenset({"c2"}))
    (job,) = state.parts(what)["jobs"]["items"]
    assert (job["state"], job["may"]["cancel"]) == ("unknown", None)
    assert job["may"]["attach"] == {"command": "%gpu start 1234"}


def test_a_cell_that_nobody_follows_tells_how_to_get_back_to_it_as_long_as_its_machine_is_there() -> None:
    def attach(where: Lease, status: str) -> object:
        cells = (CellRow("c", "gp-1", "train-1", NOW - 900, 0.0, Money(0), status),)
        (job,) = state.parts(known(where, cells=cells))["jobs"]["items"]
        return job["may"]["attach"]

    way = {"command": "%gpu start 1234"}
    assert attach(lease(contact=NOW - 400, busy=1), "running") == way
    assert attach(lease(contact=NOW), "left running") == way
    assert attach(lease(contact=NOW, busy=1), "running") is None, "its kernel follows it"
    assert attach(lease(contact=NOW - 400), "ok") is None
    for state_of_lease in (State.GONE, State.DESTROYING, State.ADOPTED):
        assert attach(lease(state=state_of_lease, contact=NOW - 400), "left running") is None


def test_a_cell_that_nobody_saw_end_has_no_length_and_no_cost_and_has_ended_with_its_machine_at_the_latest() -> None:
    cells = (CellRow("c", "gp-1", "train-1", NOW - 900, 30.0, Money(7), "left running"),)

    def shown(where: Lease) -> list[object]:
        (job,) = state.parts(known(where, cells=cells))["jobs"]["items"]
        return [job[name] for name in ("state", "ended", "seconds", "cost_usd")]

    assert shown(lease(contact=NOW)) == ["left running", None, None, None]
    gone = shown(lease(state=State.GONE, ended=NOW - 60))
    assert gone == ["left running", fields.moment(NOW - 60), None, None]


def test_a_running_cell_tells_its_bytes_its_own_bar_and_its_last_line_and_nothing_that_it_did_not_say() -> None:
    cells = (CellRow("c2", "gp-1", "train-1", NOW - 9, 0.0, Money(0), "running"),)

    def parts(**seen: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of Progress
        noted = {"c2": Progress("c2", NOW - 2, **seen)}
        return state.parts(known(lease(contact=NOW), cells=cells, progress=noted))

    def progress(**seen: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of Progress
        found: dict[str, Any] = parts(**seen)["jobs"]["items"][0]["progress"]
        return found

    sent = progress(phase="ship", done=1_000_000, total=4_000_000)
    assert (sent["phase"], sent["done_bytes"], sent["total_bytes"], sent["line"]) == (
        "ship",
        1_000_000,
        4_000_000,
        None,
    )
    bar = " 45%|████▌     | 45/100 [00:45<00:55]"
    shown = progress(phase="run", line=bar)
    assert (shown["percent"], shown["line"]) == (45, " ".join(bar.split()))
    for line in ("accuracy 93%", "loss 0.5", "145%|", ""):
        shown = progress(phase="run", line=line)
        assert (shown["percent"], shown["total_bytes"], shown["line"]) == (None, None, line or None)
    assert len(progress(phase="run", line=HOSTILE)["line"]) <= fields.TEXT_LIMIT
    (kept,) = without_lines(parts(phase="run", line=bar))["jobs"]["items"]
    assert (kept["progress"]["percent"], kept["progress"]["line"]) == (45, None), (
        "a notebook keeps another one's output"
    )
    (job,) = state.parts(known(lease(contact=NOW), cells=cells))["jobs"]["items"]
    assert job["progress"] is None


def test_a_job_names_its_kernel_and_its_notebook_where_they_are_known() -> None:
    cells = (CellRow("c2", "gp-1", "train-1", NOW - 9, 0.0, Money(0), "running"),)
    by = {"c2": Caller("5b1d", "work/train.ipynb")}
    (job,) = state.parts(known(lease(contact=NOW), cells=cells, callers=by))["jobs"]["items"]
    assert (job["kernel"], job["path"]) == ("5b1d", "work/train.ipynb")
    (job,) = state.parts(known(lease(contact=NOW), cells=cells))["jobs"]["items"]
    assert (job["kernel"], job["path"]) == (None, None)
