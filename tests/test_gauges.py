"""How the GPUs of an instance are doing, on the way from its driver to whoever looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from agent_kit import installed, wait_until
from hypothesis import given
from hypothesis import strategies as st
from test_ledger import lease

from gpuplug.agent.gauges import rows
from gpuplug.engine.contacts import Contacts
from gpuplug.engine.gauging import readings
from gpuplug.ledger import Gauge, Ledger
from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

SMI = """#!/bin/sh
while [ ! -e "$0.ready" ]; do sleep 0.05; done
echo "NVIDIA GeForce RTX 4090, 93, 20100, 24564, 71, 320.50"
echo "NVIDIA A100-SXM4, 80GB, [N/A], 10, 81920, 40, [Not Supported]"
"""
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


def test_the_agent_tells_what_the_driver_says_and_no_answer_waits_for_it(tmp_path: Path) -> None:
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(SMI, encoding="utf-8")
    smi.chmod(0o755)
    with installed(tmp_path / "home") as home:
        home.more["PATH"] = f"{smi.parent}:{home.environ()['PATH']}"
        bulk = home.bulk()
        assert bulk.ask("ping")[0]["gauges"] is None
        smi.with_name("nvidia-smi.ready").touch()
        told: list[dict[str, Any]] = []

        def is_told() -> bool:
            told.append(bulk.ask("ping")[0]["gauges"])
            return told[-1] is not None

        wait_until(is_told)
    assert told[-1]["gpus"] == [
        ["NVIDIA GeForce RTX 4090", 93, 20100, 24564, 71, 320.5],
        ["NVIDIA A100-SXM4, 80GB", None, 10, 81920, 40, None],
    ]
    assert told[-1]["age"] >= 0


def test_where_there_is_no_driver_nothing_is_told(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as home:
        bulk = home.bulk()
        assert [bulk.ask("ping")[0]["gauges"] for _ in range(3)] == [None] * 3


def test_lines_that_make_no_sense_are_passed_over() -> None:
    assert rows("No devices were found\n\n,,,,,\nA, 1, 2\n") == []


def test_a_heartbeat_brings_the_reading_into_the_ledger_with_its_moment(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = Ledger(tmp_path, clock)
    ledger.intend(lease())
    Contacts(ledger, "gp-1", clock).beat({"busy": 1, "gauges": {"gpus": [["RTX", 5, 1, 2, None, 3.5]], "age": 4.0}})
    assert ledger.gauges.all() == {"gp-1": (clock.now().timestamp() - 4.0, [Gauge("RTX", 5, 1, 2, None, 3.5)])}
    ledger.close()


@given(JSON)
def test_whatever_a_host_sends_comes_out_as_sane_figures_or_not_at_all(told: object) -> None:
    for health in ({"gauges": told}, {"gauges": {"gpus": told, "age": 1.0}}, {"gauges": {"gpus": [told], "age": told}}):
        found = readings(health)
        for gauge in found[1] if found else ():
            assert gauge.use_percent is None or 0 <= gauge.use_percent <= 100
            assert "\x1b" not in gauge.name


@pytest.mark.parametrize("bad", [-1, 101, float("nan"), float("inf"), True, "93", None, [93]])
def test_a_figure_out_of_range_is_not_known(bad: object) -> None:
    found = readings({"gauges": {"gpus": [["RTX", bad, 1, 2, 3, 4]], "age": 0}})
    assert found is not None
    assert found[1][0].use_percent is None
