"""A cell whose budget is spent: its script saves, what it saved comes home, then the instance goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet
from sandbox_kit import market

from gpuplug.engine import running
from gpuplug.engine.purse import Purse
from gpuplug.errors import BudgetError

if TYPE_CHECKING:
    from pathlib import Path

TRAIN = """
import os, signal, sys, time
def save(*_):
    os.makedirs('checkpoints', exist_ok=True)
    with open('checkpoints/last', 'w') as file: file.write('step 7')
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print('ready', flush=True)
time.sleep(60)
"""


def test_what_a_script_saves_on_sigterm_comes_home_before_the_instance_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Quiet()
    monkeypatch.setattr(Purse, "spent", property(lambda _: "ready" in talk.text))
    with market(seed=7) as place, notebook(tmp_path, environ=place.env) as nb:
        _run(nb, talk)
        assert (nb.root / "checkpoints" / "last").read_text() == "step 7"
        assert place.meter()["billing_now"] == 0
    assert any("may save (SIGTERM, 10 s)" in note for note in talk.notes)


def _run(nb: Notebook, talk: Quiet) -> None:
    (nb.root / "train.py").write_text(TRAIN)
    with pytest.raises(BudgetError, match="has spent its budget"):
        nb.run("!python3 train.py\nimport time\ntime.sleep(600)", "-p vast -g RTX_4090 --max-price 0.60", talk)


SWALLOWS = """
import time
open('half.txt', 'w').write('half')
print('ready', flush=True)
swallowed = 0
while swallowed < {most}:
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        swallowed += 1
open('whole.txt', 'w').write('whole')
"""


@pytest.mark.parametrize(("most", "ends"), [(3, True), (10_000, False)], ids=["three interrupts", "every interrupt"])
def test_a_cell_that_swallows_interrupts_is_interrupted_again_and_its_files_come_home_in_any_case(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    ends: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    talk = Quiet()
    monkeypatch.setattr(Purse, "spent", property(lambda _: "ready" in talk.text))
    monkeypatch.setattr(running, "_SAVE_S", 0.5)
    monkeypatch.setattr(running, "_AGAIN_S", 0.5)
    monkeypatch.setattr(running, "_GRACE_S", 60.0 if ends else 3.0)
    with market(seed=7) as place, notebook(tmp_path, environ=place.env) as nb:
        with pytest.raises(BudgetError, match="has spent its budget"):
            nb.run(SWALLOWS.format(most=most), "-p vast -g RTX_4090 --max-price 0.60", talk)
        assert (nb.root / "half.txt").read_text() == "half"
        assert (nb.root / "whole.txt").exists() == ends
        assert place.meter()["billing_now"] == 0
    assert any("has not ended" in note for note in talk.notes) != ends
