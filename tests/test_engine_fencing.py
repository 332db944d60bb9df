"""Several processes on one ledger: what one is just renting, no other settles; what it left behind, another does."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from engine_kit import OFFER, lost_reply
from test_engine_renting import Stand

from gpuplug.engine.renting import Renting
from gpuplug.errors import ProviderError
from gpuplug.ledger import HOLD_S, Lease, State
from gpuplug.types import Instance, InstanceState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.ledger.close()


def at_the_create(stand: Stand, what: Callable[[], None]) -> None:
    """Let `what` happen while the cloud is at work on the create."""

    def look() -> list[Lease]:
        what()
        return []

    stand.cloud.look = look


def test_what_one_process_is_renting_no_look_of_another_binds_or_gives_up(stand: Stand) -> None:
    other = Renting(stand.ledger, stand.folder / "keys", stand.clock)
    seen: list[Lease] = []

    def look() -> None:
        (lease,) = stand.ledger.open_leases()
        listed = Instance("cloud", "9", lease.label, InstanceState.RUNNING, OFFER.price)
        for shown in ([], [listed]):
            stand.clock.advance(15)
            seen.extend(other.reconcile(stand.cloud, shown))

    at_the_create(stand, look)
    lease = stand.rent()
    assert [(each.state, each.instance_id) for each in seen] == [(State.INTENT, "")] * 2
    assert (lease.state, lease.instance_id, lease.token) == (State.BOUND, "1", "")
    assert stand.cloud.alive == ["1"]


def test_who_is_late_finds_what_another_process_has_bound_for_it_meanwhile(stand: Stand) -> None:
    other = Renting(stand.ledger, stand.folder / "keys", stand.clock)

    def fall_asleep() -> None:
        (lease,) = stand.ledger.open_leases()
        stand.clock.advance(HOLD_S + 1)
        listed = Instance("cloud", "1", lease.label, InstanceState.RUNNING, OFFER.price)
        (bound,) = other.reconcile(stand.cloud, [listed])
        assert (bound.state, bound.instance_id, bound.token) == (State.BOUND, "1", "")

    at_the_create(stand, fall_asleep)
    assert stand.rent().instance_id == "1"
    assert stand.cloud.alive == ["1"]


def test_who_is_late_does_not_take_back_the_end_that_another_process_has_asked_for(stand: Stand) -> None:
    def fall_asleep() -> None:
        (lease,) = stand.ledger.open_leases()
        stand.clock.advance(HOLD_S + 1)
        stand.ledger.take_over(lease.label)
        stand.ledger.move(lease.label, State.DESTROYING, instance_id="1")

    at_the_create(stand, fall_asleep)
    with pytest.raises(ProviderError, match="was not used"):
        stand.rent()
    assert stand.cloud.alive == []


def test_down_waits_for_the_process_that_is_just_renting_and_ends_what_came_of_it(stand: Stand) -> None:
    other = Renting(stand.ledger, stand.folder / "keys", stand.clock)
    stand.cloud.launch_error, stand.cloud.launch_works_anyway, stand.cloud.lag_s = lost_reply(), True, 20

    def end() -> None:
        (lease,) = stand.ledger.open_leases()
        assert other.destroy(stand.cloud, lease, stand.said.append, 30.0).state is State.INTENT

    at_the_create(stand, end)
    stand.rent()
    assert any("is just renting" in line for line in stand.said)
    assert stand.cloud.alive == ["1"]
    (lease,) = stand.ledger.open_leases()
    assert other.destroy(stand.cloud, lease, stand.said.append).state is State.GONE


def test_down_takes_over_from_a_process_that_died_while_it_was_renting(stand: Stand) -> None:
    def die() -> None:
        raise SystemExit

    at_the_create(stand, die)
    with pytest.raises(SystemExit), mock.patch.object(Renting, "_abandon"):
        stand.rent()
    (lease,) = stand.ledger.open_leases()
    assert stand.destroy(lease).state is State.FAILED
    assert any("is just renting" in line for line in stand.said)


def test_a_clock_that_was_set_back_keeps_nobody_from_a_lease_for_longer_than_a_hold(stand: Stand) -> None:
    at_the_create(stand, lambda: stand.clock.set_wall(stand.clock.now() - dt.timedelta(hours=10)))
    stand.rent()
    held = stand.ledger.leases()[0]
    now = stand.clock.now().timestamp()
    assert replace(held, token="t", expires=now + HOLD_S).held(now)
    assert not replace(held, token="t", expires=now + HOLD_S + 36_000).held(now)


PROCESSES, ROUNDS = 8, 20
# Each rents under a hold that is over at once, and takes over what the others are renting; who binds tells it.
RUSH = """
import sys
from pathlib import Path
from test_ledger import lease
from gpuplug.ledger import Ledger, State
from gpuplug.types import SystemClock

folder, me, processes, rounds = Path(sys.argv[1]), *map(int, sys.argv[2:])
ledger = Ledger(folder, SystemClock())
for turn in range(rounds):
    mine, token = f"gp-{me}-{turn}", f"token {me}"
    ledger.intend(lease(mine, token=token, created=float(turn)))
    for label in (f"gp-{other}-{turn - 1}" for other in range(processes) if other != me):
        if any(row.label == label for row in ledger.open_leases()):
            taken = ledger.take_over(label)
            print(label, me, ledger.bind(label, taken.token, f"{me}/{label}").instance_id == f"{me}/{label}")
    print(mine, me, ledger.bind(mine, token, f"{me}/{mine}").instance_id == f"{me}/{mine}")
ledger.close()
"""


def test_of_eight_processes_on_one_ledger_exactly_one_binds_each_lease_and_nothing_is_lost(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    rushing = [
        subprocess.Popen(
            [sys.executable, "-c", RUSH, str(tmp_path), *map(str, (me, PROCESSES, ROUNDS))],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in range(PROCESSES)
    ]
    told = [line.split() for process in rushing for line in process.communicate(timeout=240)[0].splitlines()]
    assert [process.returncode for process in rushing] == [0] * PROCESSES
    won = [(label, f"{who}/{label}") for label, who, yes in told if yes == "True"]
    assert len(won) == len({label for label, _ in won}) == PROCESSES * ROUNDS
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = connection.execute("SELECT label, instance_id FROM leases").fetchall()
    connection.close()
    assert sorted(found) == sorted(won)
    assert len(told) > len(won), "nobody competed"
