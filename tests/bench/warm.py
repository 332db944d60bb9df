"""From a cell's call on a warm machine 30 ms away to its start there, through the whole engine."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from engine_kit import OFFER, Cloud, Quiet

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.streams.ssh import connect
from gpuplug.testing import FakeClock
from gpuplug.types import Endpoint, Identity, Instance, Offer, OfferList, Query, Secret, Traits

from .place import Place, rented

if TYPE_CHECKING:
    from gpuplug.streams import Connection

FAR_S = 0.03
CELLS = 25


class OneMachine(Cloud):
    """A free platform whose only machine is `place`."""

    def __init__(self, place: Place) -> None:
        super().__init__(FakeClock(), name="local", traits=Traits(free=True, identity=False))
        self._place = place

    def offers(self, _query: Query) -> OfferList:
        return OfferList((Offer("local", "1", "", OFFER.gpu, 1, OFFER.price - OFFER.price),))

    def connect(self, _instance: Instance, _identity: Identity) -> Connection:
        place = self._place
        identity = Identity(Secret(place.user_key), place.host_key)
        return connect(Endpoint(place.host, place.port, place.user), identity)


class Stopwatch(Quiet):
    """Notes when the cell was seen to run."""

    started = 0.0

    def phase(self, name: str, detail: str = "") -> None:
        super().phase(name, detail)
        if name == "run":
            self.started = time.perf_counter()


def measure() -> dict[str, float]:
    """Return the milliseconds beyond the round trip, as a median."""
    with rented() as near, near.behind(FAR_S) as place, tempfile.TemporaryDirectory() as folder:
        engine = Engine("bench", Path(folder), home=Path(folder) / "home")
        engine.use(OneMachine(place))
        try:
            options = config.parse("-p local", config.CELL, {})
            engine.up(options, Quiet())
            took = [_start_s(engine, options) for _ in range(CELLS)]
        finally:
            engine.close()
    return {"warm_cell_ms_beyond_the_round_trip": (statistics.median(took[3:]) - FAR_S) * 1000}


def _start_s(engine: Engine, options: config.Options) -> float:
    talk = Stopwatch()
    began = time.perf_counter()
    engine.run_cell(engine.plan("x = 1", options, {}), talk)
    return talk.started - began
