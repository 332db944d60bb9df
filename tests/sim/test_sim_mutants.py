"""The harness proves itself: whoever breaks a rule of the protocol is caught, and soon."""

from __future__ import annotations

import pytest
from sim.mutants import FIRST, MUTANTS
from sim.plan import seeded
from sim.run import holds

SEEDS = 500


@pytest.mark.parametrize("name", MUTANTS)
def test_a_protocol_with_a_rule_left_out_is_caught_within_500_seeds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    first = FIRST.get(name, 0)
    caught = next((seed for seed in range(first, first + SEEDS) if not holds(seeded(seed))), None)
    assert caught is not None, f"{name} went unnoticed in {SEEDS} seeds"


def test_there_are_at_least_twelve_of_them() -> None:
    assert len(MUTANTS) >= 12
