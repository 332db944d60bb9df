"""Instances that would not end themselves: another machine is taken, or the notebook is a stricter guard."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet
from sandbox_kit import RunningMarket, market, wait_until

from gpuplug import config
from gpuplug.engine import guarding
from gpuplug.errors import BudgetError
from gpuplug.frontends import verbs
from gpuplug.session import messages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RENT = "-p vast -g RTX_4090 --max-price 0.60"
RUNPOD = "-p runpod -g RTX_4090,RTX_3090 --max-price 1"
LONG_S = 60.0
# What a host does who wants the instance to bill on, and what the agent sees 45 s later.
KILL = """
import os, pathlib, subprocess
switch = pathlib.Path(os.path.expanduser("~/.gpuplug/switch"))
pid = (switch / "pid").read_text().strip()
def kill(number, after):
    command = f"sleep {after}; kill -{number} {pid}; echo 1 >{switch}/beat"
    subprocess.Popen(["sh", "-c", command], start_new_session=True)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMarket]:
    with market(seed=7) as made:
        yield made


@pytest.fixture
def place(running: RunningMarket) -> Iterator[RunningMarket]:
    running.reset()
    yield running
    assert running.meter()["billing_now"] == 0


@pytest.fixture
def nb(place: RunningMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setattr("gpuplug.session.client.Timing", functools.partial(messages.Timing, heartbeat_s=0.2))
    monkeypatch.setattr(guarding, "_FIRST_LOOK_S", 2.0)
    with notebook(tmp_path, environ=place.env) as made:
        yield made


def nothing_bills(place: RunningMarket) -> bool:
    return bool(place.meter()["billing_now"] == 0)


@pytest.mark.parametrize("line", [RENT, RUNPOD])
def test_a_machine_whose_switch_cannot_reach_the_provider_is_ended_and_the_next_one_taken(
    nb: Notebook, place: RunningMarket, line: str
) -> None:
    place.fault("no_egress")
    nb.run("print('elsewhere')", line)
    assert nb.talk.text == "elsewhere\n"
    first, second = nb.engine.ledger.leases()
    (told,) = [note for note in nb.talk.notes if "no dead man's switch here" in note]
    assert "not armed: unarmed " in told
    assert "it cost " in told
    assert [lease.instance_id for lease in nb.engine.billing()] == [second.instance_id] != [first.instance_id]
    assert place.meter()["billing_now"] == 1


def test_where_every_machine_lacks_its_switch_the_second_is_kept_under_shorter_terms_and_ended_when_idle(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fault("no_egress", times=None)
    nb.run("print('guarded by the notebook')", RENT)
    assert nb.talk.text == "guarded by the notebook\n"
    assert len(place.requests("create")) == 2
    (told,) = [note for note in nb.talk.notes if "this notebook alone ends" in note]
    (lease,) = nb.engine.billing()
    assert f"60 min after it was reached ({lease.price.for_seconds(3600)})" in told
    assert "only the account's credit is a limit" in told
    assert place.meter()["billing_now"] == 1
    monkeypatch.setattr(guarding, "IDLE_S", 0.5)
    wait_until(lambda: not nb.engine.billing(), LONG_S)
    assert nothing_bills(place)
    nb.run("print('again')", RENT)
    (news,) = [note for note in nb.talk.notes if "was ended at" in note]
    assert f"#{lease.instance_id}" in news
    assert "it cost " in news


def test_the_line_that_says_ready_says_that_there_is_no_switch(nb: Notebook, place: RunningMarket) -> None:
    place.fault("no_egress", times=None)
    text = verbs.up(nb.engine, config.parse(RENT, "up"), Quiet())
    assert "is ready at" in text
    assert "without a dead man's switch: %gpu down before you leave" in text


def test_a_cell_may_run_no_longer_than_the_shorter_terms(
    nb: Notebook, place: RunningMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fault("no_egress", times=None)
    nb.run("pass", RENT)
    with monkeypatch.context() as shorter:
        # The time since it was reached is over, and the guard would end it if a cell did not hold it.
        shorter.setattr("gpuplug.engine.running.seconds_left", lambda _lease, _clock: 0.0)
        with pytest.raises(BudgetError, match="has spent its budget"):
            nb.run("import time; time.sleep(600)")
    assert nothing_bills(place)


@pytest.mark.parametrize("number", [9, 19])
def test_a_switch_that_is_killed_or_stopped_while_nothing_runs_ends_the_instance(nb: Notebook, number: int) -> None:
    nb.run(f"{KILL}\nkill({number}, after=1)", RENT)
    (lease,) = nb.engine.billing()
    wait_until(lambda: not nb.engine.billing(), LONG_S)
    nb.run("print('on another')", RENT)
    (news,) = [note for note in nb.talk.notes if "was ended at" in note]
    assert f"#{lease.instance_id}" in news
    assert "killed or stopped" in news


def test_a_switch_that_is_killed_under_a_cell_is_told_loudly_and_the_instance_ends_with_the_cell(
    nb: Notebook, place: RunningMarket
) -> None:
    class Watching(Quiet):
        def read_input(self, prompt: str, *, password: bool) -> str | None:
            super().read_input(prompt, password=password)
            (live,) = nb.engine.sessions()
            wait_until(lambda: live.session.health.get("switch") == guarding.KILLED, LONG_S)
            return "kept"

    talk = Watching()
    source = f"{KILL}\nkill(9, after=0)\nname = input()\nopen('result.txt', 'w').write(name)"
    nb.run(source, RENT, talk=talk)
    assert (nb.root / "result.txt").read_text() == "kept"
    assert any(note.startswith("KEEP THIS NOTEBOOK OPEN") for note in talk.notes)
    assert any("is not kept" in note for note in talk.notes)
    assert nothing_bills(place)
