"""The ledger: what is committed stays, what is final stays final, what is spent adds up."""

from __future__ import annotations

import gzip
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuplug.errors import LedgerError
from gpuplug.ledger import FINAL, CellRow, Lease, Ledger, Rate, State, nothing_today
from gpuplug.testing import FakeClock
from gpuplug.types import ZERO, Money, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = 3600.0


def lease(label: str = "gp-1", **changes: object) -> Lease:
    made = Lease(
        label=label,
        provider="vast",
        notebook="nb",
        name="",
        state=State.INTENT,
        gpu="RTX 4090",
        gpu_count=1,
        machine="m1",
        price=Money(360_000),
        stopped_price=Money(3600),
        host_key="ssh-ed25519 AAAA",
        nonce="n",
        lease_s=900,
        hard_s=14_400,
        created=1000.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path, FakeClock())
    yield made
    made.close()


def test_a_lease_comes_back_as_it_was_written(ledger: Ledger) -> None:
    ledger.intend(lease())
    assert ledger.lease("gp-1") == lease()


def test_an_intent_survives_sigkill_right_after_it_was_committed(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from test_ledger import lease; from gpuplug.ledger import Ledger; from gpuplug.types import SystemClock\n"
        "Ledger(Path(sys.argv[1]), SystemClock()).intend(lease()); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environ, check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    after = Ledger(tmp_path, FakeClock())
    assert [found.label for found in after.open_leases()] == ["gp-1"]
    after.close()


def test_moving_changes_the_state_and_only_the_named_fields(ledger: Ledger) -> None:
    ledger.intend(lease())
    moved = ledger.move("gp-1", State.BOUND, instance_id="77", price=Money(5))
    assert moved == lease(state=State.BOUND, instance_id="77", price=Money(5))


def test_an_amended_row_keeps_the_state_that_another_process_has_given_it(ledger: Ledger) -> None:
    ledger.intend(lease())
    ledger.move("gp-1", State.DESTROYING)
    assert ledger.amend("gp-1", price=Money(5)) == lease(state=State.DESTROYING, price=Money(5))


@pytest.mark.parametrize("final", sorted(FINAL, key=str))
def test_a_final_row_never_moves_again(ledger: Ledger, final: State) -> None:
    ledger.intend(lease())
    ledger.move("gp-1", final, ended=2000.0)
    assert ledger.move("gp-1", State.READY, ended=None).state is final
    assert ledger.open_leases() == []


def test_an_unknown_field_and_an_unknown_label_are_errors(ledger: Ledger) -> None:
    ledger.intend(lease())
    with pytest.raises(LedgerError, match="colour"):
        ledger.move("gp-1", State.BOUND, colour="red")
    with pytest.raises(LedgerError, match="gp-2"):
        ledger.lease("gp-2")


def test_the_same_label_is_never_intended_twice(ledger: Ledger) -> None:
    ledger.intend(lease())
    with pytest.raises(LedgerError):
        ledger.intend(lease())


def test_reading_an_absent_ledger_makes_no_file(ledger: Ledger) -> None:
    assert ledger.open_leases() == []
    assert ledger.spent(0) == ZERO
    assert not ledger.exists


def test_the_version_changes_with_each_write_of_any_process_and_with_nothing_else(tmp_path: Path) -> None:
    ledger, other = (Ledger(tmp_path, SystemClock()) for _ in range(2))
    try:
        assert ledger.version() is None
        other.intend(lease())
        seen = [ledger.version()]
        ledger.leases()
        assert ledger.version() == seen[0]
        for each in (other, ledger, other):
            each.touch("gp-1", 1)
            seen.append(ledger.version())
    finally:
        ledger.close()
        other.close()
    assert len(set(seen)) == 4


def test_the_file_is_private(ledger: Ledger) -> None:
    ledger.intend(lease())
    assert ledger.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_a_corrupt_file_is_an_error_with_a_hint_and_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(content)
    ledger = Ledger(tmp_path, FakeClock())
    if content:
        with pytest.raises(LedgerError, match="hint"):
            ledger.intend(lease())
        assert (tmp_path / "ledger.sqlite3").read_bytes() == content
    else:
        ledger.intend(lease())
    ledger.close()


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    ledger = Ledger(tmp_path, FakeClock())
    with pytest.raises(LedgerError, match="newer"):
        ledger.open_leases()
    ledger.close()


def test_a_ledger_of_the_version_before_is_taken_over_with_all_that_it_knows(tmp_path: Path) -> None:
    old = Path(__file__).parent / "data" / "ledger-v2.sqlite3.gz"
    (tmp_path / "ledger.sqlite3").write_bytes(gzip.decompress(old.read_bytes()))
    for _ in range(2):
        ledger = Ledger(tmp_path, FakeClock())
        (found,) = ledger.open_leases()
        rates = (Rate(1000.0, Money(3600)), Rate(1060.0, Money(360_000)))
        assert found == lease("gp-old", instance_id="77", state=State.READY, rates=rates, rotated=True)
        assert (found.contact, found.lease_end, found.hard_end) == (None, None, 1000.0 + 14_400)
        assert [each.state for each in ledger.leases()] == [State.READY, State.GONE]
        assert ledger.cells() == [CellRow("c1", "gp-old", "nb", 1100.0, 1.5, Money(150), "ok")]
        assert ledger.shunned(0) == {("vast", "m9"): "never ready"}
        ledger.close()
    ledger.intend(lease("gp-new", contact=5.0))
    assert ledger.lease("gp-new").lease_end == 905.0
    ledger.close()


def test_a_table_that_a_ledger_lacks_is_made_when_it_is_opened(tmp_path: Path) -> None:
    Ledger(tmp_path, FakeClock()).intend(lease("a"))
    path = tmp_path / "ledger.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE notices")
    connection.close()
    again = Ledger(tmp_path, FakeClock())
    assert again.notices.first("day", 0.0, 50)
    assert not again.notices.first("day", 0.0, 50)
    assert again.open_leases() == [lease("a")]


def test_a_ledger_of_before_the_first_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as connection:
        connection.execute("PRAGMA user_version=1")
    connection.close()
    ledger = Ledger(tmp_path, FakeClock())
    with pytest.raises(LedgerError, match="move it away"):
        ledger.open_leases()
    ledger.close()


def test_a_contact_is_kept_with_how_many_cells_run_and_touches_nothing_else(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = Ledger(tmp_path, clock)
    ledger.intend(lease(begun=1100.0))
    for busy, durable in ((2, True), (0, False)):
        clock.advance(30)
        ledger.touch("gp-1", busy, durable=durable)
        now = clock.now().timestamp()
        assert ledger.lease("gp-1") == lease(begun=1100.0, contact=now, busy=busy)
        assert ledger.lease("gp-1").lease_end == now + 900
    assert ledger.lease("gp-1").hard_end == 1100.0 + 14_400
    ledger.close()


@given(st.floats(0, 10 * HOUR), st.floats(0, 10 * HOUR), st.floats(0, 10 * HOUR))
def test_the_cost_is_disk_until_it_ran_and_the_full_price_after(boot: float, run: float, later: float) -> None:
    boot, run, later = round(boot, 3), round(run, 3), round(later, 3)
    rates = (Rate(1000.0, Money(3600)), Rate(1000 + boot, Money(360_000)))
    made = lease(state=State.GONE, rates=rates, ended=1000 + boot + run)
    cost = made.cost(1000 + boot + run + later)
    expected = made.stopped_price.for_seconds(boot) + made.price.for_seconds(run)
    assert abs((cost - expected).micros) <= 2


def test_an_instance_that_never_existed_cost_nothing() -> None:
    assert lease(state=State.FAILED, ended=9e9).cost(9e9) == ZERO


def test_spend_counts_from_the_given_moment_and_leaves_out_make_believe_money(ledger: Ledger) -> None:
    now = FakeClock().now().timestamp()
    for label, began, simulated in (("gp-a", now - 2 * HOUR, False), ("gp-b", now - HOUR, True)):
        rates = (Rate(began, Money(360_000)),)
        ledger.intend(lease(label, created=began, simulated=simulated, rates=rates))
        ledger.move(label, State.GONE, ended=now)
    assert ledger.spent(0) == Money(720_000)
    assert ledger.spent(now - HOUR) == Money(360_000)


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 5_000_000)), min_size=1, max_size=8),
    st.integers(0, 60_000),
)
def test_the_cost_of_two_halves_is_the_cost_of_the_whole(steps: list[tuple[int, int]], middle: int) -> None:
    began, rates = 1000.0, []
    for seconds, micros in steps:
        rates.append(Rate(began, Money(micros)))
        began += seconds
    made = lease(rates=tuple(rates))
    end = began + 500
    halves = made.cost(min(1000.0 + middle, end)) + made.cost(end, 1000.0 + middle)
    assert abs((halves - made.cost(end)).micros) <= 1


def test_each_rate_costs_for_as_long_as_it_held(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = Ledger(tmp_path, clock)
    ledger.intend(lease(created=clock.now().timestamp(), rates=(Rate(clock.now().timestamp(), Money(3600)),)))
    for seconds, micros in ((100, 360_000), (1000, 360_000), (1000, 3600), (500, 720_000)):
        clock.advance(seconds)
        ledger.charge("gp-1", Money(micros))
    clock.advance(50)
    made = ledger.lease("gp-1")
    assert [rate.price.micros for rate in made.rates] == [3600, 360_000, 3600, 720_000]
    assert made.cost(clock.now().timestamp()) == Money(100 + 200_000 + 500 + 10_000)
    assert made.rate == Money(720_000)
    ledger.close()


def test_a_bad_host_is_remembered_for_as_long_as_it_is_asked_about(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = Ledger(tmp_path, clock)
    assert ledger.shunned(0) == {}
    ledger.shun("vast", "m1", "wrong GPU")
    ledger.shun("vast", "m1", "never ready")
    assert ledger.shunned(clock.now().timestamp() - 60) == {("vast", "m1"): "never ready"}
    clock.advance(3600)
    assert ledger.shunned(clock.now().timestamp() - 60) == {}
    ledger.close()


def test_a_lease_bills_until_its_end_is_proven(ledger: Ledger) -> None:
    ledger.intend(lease())
    for state in State:
        assert replace(lease(), state=state).billing is (state not in FINAL)


def test_cells_are_kept_with_their_cost(ledger: Ledger) -> None:
    row = CellRow("c1", "gp-1", "nb", 5.0, 1.5, Money(7), "ok")
    ledger.record_cell(row)
    ledger.record_cell(row)
    assert ledger.cells() == [row]


def test_a_glance_sees_open_leases_and_todays_spend_and_doubts_what_it_cannot_read(tmp_path: Path) -> None:
    assert nothing_today(tmp_path)
    ledger = Ledger(tmp_path, SystemClock())
    ledger.intend(lease(created=1000.0))
    assert not nothing_today(tmp_path)
    ledger.move("gp-1", State.GONE, ended=2000.0)
    assert nothing_today(tmp_path)
    ledger.intend(lease("gp-2"))
    ledger.move("gp-2", State.GONE, ended=SystemClock().now().timestamp())
    assert not nothing_today(tmp_path)
    ledger.close()
    ledger.path.write_bytes(b"not a database" * 100)
    assert not nothing_today(tmp_path)
