"""A key that is revoked while a cell runs: said once and loudly, nothing is called gone, and the switch still ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet
from sandbox_kit import RunningMarket, market, wait_until

from gpuplug import config
from gpuplug.engine import refused
from gpuplug.engine.watching import Watch
from gpuplug.errors import ProviderError
from gpuplug.frontends import verbs
from gpuplug.ledger import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RENT = {
    "vast": "-p vast -g RTX_4090 --max-price 0.60",
    "runpod": "-p runpod -g RTX_4090,RTX_3090 --max-price 1",
}
LISTS = {"vast": "list", "runpod": "pod_list"}
ENDS = {"vast": "destroy", "runpod": "pod_destroy"}
CELL = """
import time
try:
    for _ in range(200):
        print('tick', flush=True)
        time.sleep(0.2)
except KeyboardInterrupt:
    open('result.txt', 'w').write('kept')
"""
LONG_S = 60.0


class Revoking(Quiet):
    """Withdraws the key when the cell has begun, and interrupts it when three more looks were refused after the warning."""

    def __init__(self, place: RunningMarket, platform: str) -> None:
        super().__init__()
        self._place, self._point = place, LISTS[platform]
        self._revoked = False
        self._told_at: int | None = None

    @property
    def loud(self) -> list[str]:
        return [note for note in self.notes if "REFUSES THE KEY" in note]

    def stream(self, name: str, text: str) -> None:
        super().stream(name, text)
        if not self._revoked:
            self._place.action("revoke_key")
            self._revoked = True
        looks = len(self._place.requests(self._point))
        if self.loud and self._told_at is None:
            self._told_at = looks
        if self._told_at is not None and looks >= self._told_at + 3:
            raise KeyboardInterrupt


@pytest.fixture(params=list(RENT))
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place() -> Iterator[RunningMarket]:
    with market(seed=7) as made:
        yield made


@pytest.fixture
def nb(place: RunningMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setattr(refused, "_LOOK_S", 0.1)
    with notebook(tmp_path, environ=place.env) as made:
        watch = Watch(tmp_path / "home", round_s=0.5)
        made.engine.beside = watch.begin
        try:
            yield made
        finally:
            watch.end()
            place.action("restore_key")


def test_a_key_that_is_revoked_under_a_cell_is_told_once_and_the_instances_own_switch_still_ends_it(
    nb: Notebook, place: RunningMarket, platform: str
) -> None:
    talk = Revoking(place, platform)
    nb.run(CELL, RENT[platform], talk)
    assert (nb.root / "result.txt").read_text() == "kept"
    (lease,) = nb.engine.billing()
    (told,) = talk.loud
    assert f"#{lease.instance_id} {lease.gpu} bills {lease.rate}/h" in told
    assert "Its dead man's switch still ends it, by a key of its own: 15 min after the last contact" in told
    assert f"%env {platform.upper()}_API_KEY=..." in told
    assert "The cell runs on" in told

    nb.run("print('again')", RENT[platform])
    assert nb.talk.text == "again\n"
    assert not [note for note in nb.talk.notes if "REFUSES THE KEY" in note]

    for shown in (_verb(nb, "ls"), _verb(nb, "status")):
        assert f"#{lease.instance_id}" in shown
        assert "REFUSES THE KEY" in shown

    said: list[str] = []
    with pytest.raises(ProviderError, match="not proven gone"):
        verbs.down(nb.engine, config.parse("", "down"), said.append)
    assert any("switch was told to end it now" in line for line in said)
    assert not any("gone (verified)" in line for line in said)
    wait_until(lambda: place.meter()["billing_now"] == 0, LONG_S)
    assert place.requests(ENDS[platform])[-1]["key"].startswith("instance")
    assert nb.engine.ledger.lease(lease.label).state is State.DESTROYING

    place.action("restore_key")
    assert "REFUSES" not in _verb(nb, "ls")
    assert nb.engine.ledger.lease(lease.label).state is State.GONE
    assert "REFUSES" not in _verb(nb, "status")


def _verb(nb: Notebook, verb: str) -> str:
    return verbs.VERBS[verb](nb.engine, config.parse("", verb), lambda _: None)
