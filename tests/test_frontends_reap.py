"""`gpuplug reap` and the question about what nobody is in touch with: what is said, and what is done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from engine_kit import OFFER, Cloud
from test_engine_renting import WISH

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.engine.renting import Renting
from gpuplug.errors import UnreachableError, UsageError
from gpuplug.frontends import verbs
from gpuplug.frontends.reaping import UnsettledError
from gpuplug.ledger import Allowance, Lease, State
from gpuplug.testing import FakeClock
from gpuplug.types import Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3600.0


class Desk:
    """The engine of one notebook, and a cloud on which another notebook (`nb`) has rented."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.engine = Engine("here-01234567", folder, self.clock, home=folder)
        self.cloud = Cloud(self.clock)
        self.engine.use(self.cloud)
        self.said: list[str] = []
        renting = Renting(self.engine.ledger, folder / "keys", self.clock)
        self.lease = renting.rent(self.cloud, OFFER, WISH)
        self.ledger = self.engine.ledger
        self.ledger.move(self.lease.label, State.READY, notebook="old-89abcdef", begun=self.clock.now().timestamp())

    def reap(self, line: str = "") -> str:
        options = config.parse(line, "reap", {}, command=True)
        return verbs.VERBS["reap"](self.engine, options, self.said.append)

    def later(self, seconds: float) -> Lease:
        self.clock.advance(seconds)
        return self.ledger.lease(self.lease.label)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    for name in ("VAST_API_KEY", "RUNPOD_API_KEY", "GPUPLUG_BUDGET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    made = Desk(tmp_path)
    yield made
    made.engine.close()


def test_what_was_left_alone_is_ended_and_said_to_be_gone_with_its_cost_once_that_is_proven(desk: Desk) -> None:
    desk.later(HOUR)
    told = desk.reap()
    assert told.splitlines() == [
        (
            "RTX 4090 cloud #1 of old-89abcdef: nobody was in touch for 1 h 1 min, and its lease is 15 min: "
            f"gone (verified); it cost {desk.engine.cost(desk.ledger.lease(desk.lease.label))}"
        ),
        "0 instances of this computer billing",
    ]
    assert desk.cloud.alive == []


def test_what_is_in_use_is_left_and_said(desk: Desk) -> None:
    desk.later(60)
    assert "in use" in desk.reap()
    assert desk.said == []
    assert desk.cloud.alive == ["1"]


def test_an_end_that_is_not_proven_is_a_failure_that_never_says_gone(desk: Desk) -> None:
    desk.later(HOUR)
    desk.cloud.lies = 1000
    with pytest.raises(UnsettledError) as caught:
        desk.reap()
    assert "1 finding not settled:" in str(caught.value)
    assert "NOT PROVEN GONE, take it as billing" in str(caught.value)
    assert "gone (" not in str(caught.value)
    assert "hint: gpuplug reap again" in str(caught.value)


def test_a_platform_that_cannot_be_asked_is_a_failure(desk: Desk) -> None:
    desk.cloud.failures = [UnreachableError("no route")]
    with pytest.raises(UnsettledError, match="cloud cannot be asked: no route"):
        desk.reap()


def test_programs_get_data_also_when_it_fails(desk: Desk) -> None:
    desk.later(HOUR)
    (row,) = json.loads(desk.reap("--json"))
    assert (row["found"], row["id"], row["notebook"], row["billing"]) == ("gone", "1", "old-89abcdef", False)
    assert float(row["cost_usd"]) > 0
    desk.cloud.failures = [UnreachableError("no route")]
    with pytest.raises(UnsettledError) as caught:
        desk.reap("--json")
    assert [row["found"] for row in json.loads(caught.value.shown)] == ["trouble"]


def test_what_only_a_person_can_decide_is_asked_with_notebook_age_and_cost(desk: Desk) -> None:
    desk.ledger.touch(desk.lease.label, 1)
    lease = desk.later(1.5 * HOUR)
    asked = desk.reap()
    for words in (
        "RTX 4090 cloud #1 of old is 1 h 30 min old",
        f"({desk.engine.cost(lease)}) and nobody is in touch: down, adopt, or leave?",
        "%gpu down 1 ends it, %gpu adopt 1 takes it into this notebook, once %gpu start 1 has brought home what waits",
        "a cell was running there, and left alone it ends by itself within 2 h 30 min",
    ):
        assert words in asked
    assert desk.cloud.alive == ["1"]


def test_the_first_line_asks_about_what_another_notebook_left_and_asks_no_provider(desk: Desk) -> None:
    desk.later(60)
    assert "nobody is in touch" not in verbs.bill(desk.engine), "its notebook may be at work"
    desk.later(540)
    desk.cloud.failures = [UnreachableError("nobody may be asked here")]
    told = verbs.bill(desk.engine)
    assert "of old is 10 min old" in told
    assert "left alone, it ends by itself within 5 min" in told
    desk.ledger.move(desk.lease.label, State.STOPPED)
    assert "left alone, its disk bills $" in verbs.bill(desk.engine)
    desk.ledger.move(desk.lease.label, State.READY, notebook=desk.engine.notebook)
    assert "adopt" not in verbs.bill(desk.engine), "the next cell takes it anyway"


def test_each_list_asks_about_what_another_notebook_left(desk: Desk) -> None:
    options = config.parse("", "ls", {})
    assert "adopt" not in verbs.ls(desk.engine, options, desk.said.append)
    desk.later(600)
    assert "of old is 10 min old" in verbs.ls(desk.engine, options, desk.said.append).splitlines()[-1]


def test_a_create_whose_fate_is_not_known_is_said_to_be_looked_for_at_once(desk: Desk) -> None:
    desk.ledger.move(desk.lease.label, State.UNKNOWN, instance_id="")
    desk.cloud.made.clear()
    desk.later(HOUR)
    desk.clock.slept.clear()
    assert "unknown, still looked for" in verbs.ls(desk.engine, config.parse("", "ls", {}), desk.said.append)
    assert desk.clock.slept == []


def test_what_another_notebook_left_is_adopted_and_its_next_cell_runs_there(desk: Desk) -> None:
    with pytest.raises(UsageError, match="#1 is in use by old-89abcdef"):
        desk.engine.adopt(config.parse("1", "adopt"))
    desk.later(600)
    (adopted,) = desk.engine.adopt(config.parse("'#1'", "adopt"))
    assert (adopted.notebook, adopted.state) == (desk.engine.notebook, State.READY)
    with pytest.raises(UsageError, match="this notebook's own already"):
        desk.engine.adopt(config.parse("1", "adopt"))


def test_what_another_notebook_left_is_not_adopted_while_its_results_may_wait_there(desk: Desk) -> None:
    desk.ledger.waiting.expect("cell", desk.lease.label, Allowance(Money(0), Money(500_000)))
    desk.later(600)
    with pytest.raises(UsageError, match="results of old-89abcdef may wait on #1") as caught:
        desk.engine.adopt(config.parse("1", "adopt"))
    assert "%gpu start 1" in caught.value.hint
    desk.ledger.waiting.fetched("cell")
    (adopted,) = desk.engine.adopt(config.parse("1", "adopt"))
    assert adopted.notebook == desk.engine.notebook


def test_what_costs_nothing_is_nobodys_question(desk: Desk) -> None:
    desk.ledger.move(desk.lease.label, State.READY, price=Money(0))
    desk.later(HOUR)
    assert desk.reap() == "0 instances of this computer billing"


def test_both_ways_at_once_are_refused(desk: Desk) -> None:
    with pytest.raises(UsageError, match="at once"):
        desk.reap("--install --uninstall")
