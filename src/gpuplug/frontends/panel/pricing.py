"""What the platforms offer, asked for in a thread of its own while somebody looks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gpuplug import config
from gpuplug.engine.choosing import query_of
from gpuplug.frontends.panel import offers
from gpuplug.frontends.panel.asking import Asker
from gpuplug.frontends.panel.fields import moment
from gpuplug.frontends.panel.known import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Options
    from gpuplug.engine import Engine
    from gpuplug.market import Board, Series
    from gpuplug.types import Clock, Offer

PERIOD_S = 15.0
_HEARTBEAT_S = 30.0
_STALE_S = 90.0
_OLDEST_S = 86_400.0
_HISTORY_S = 60.0  # a sample of a day's history is a minute long
_NEVER = -1e9


@dataclass(slots=True)
class _Shown:
    """What was read last. `board` has no age: two that are equal look the same."""

    body: dict[str, Any] | None = None
    board: Board | None = None
    history: tuple[Series, ...] = ()
    history_read: float = _NEVER
    gpus: tuple[str, ...] = ()
    failure: Failure | None = None
    told: float = 0.0


class Pricing:
    """Asks for prices and keeps them.

    Args:
        engine: asks; used by this one's thread only, and closed by its owner.
        clock: time.
        told: is called from that thread with the moment at which the prices have changed.
        again: is called from that thread when what was read is old, and is to be asked for anew at once.
    """

    def __init__(self, engine: Engine, clock: Clock, told: Callable[[float], None], again: Callable[[], None]) -> None:
        self._engine = engine
        self._clock = clock
        self._told = told
        self._again = again
        self._lock = threading.Lock()
        self._asker = Asker(self._ask, "prices")
        self._asked = _NEVER
        self._gpus: tuple[str, ...] = ()
        self._period = PERIOD_S
        self._shown = _Shown()
        self.revision = 0

    def close(self) -> None:
        """End the thread; a platform that does not answer is not waited for. May be repeated."""
        self._asker.close()

    def refresh(self) -> None:
        """Let the next `ask_when_due` ask, whenever it was done last."""
        self._asked = _NEVER

    def ask_when_due(self, gpus: tuple[str, ...], period: float) -> None:
        """Ask for the prices of `gpus` (none: of all) unless that was done less than `period` seconds ago; never blocks."""
        if self._asker.busy:
            return
        now = self._clock.monotonic()
        if now - self._asked >= period or gpus != self._gpus:
            self._asked, self._gpus, self._period = now, gpus, period
            self._asker.nudge()

    def prices(self) -> dict[str, Any]:
        """Return the prices as they were read last; asks nobody."""
        with self._lock:
            shown = self._shown
            loading = self._asker.busy or (shown.body is None and shown.failure is None)
            frame = offers.frame(shown.body, shown.failure, _STALE_S, loading=loading)
            return {"revision": self.revision, **frame}

    def offer(self, offer_id: str) -> Offer | None:
        """Return an offer that was read last."""
        board = self._shown.board
        return next((offer for offer in board.offers if offers.offer_id(offer) == offer_id), None) if board else None

    def _ask(self) -> None:
        before, gpus = self._shown, self._gpus
        try:
            # First what is there from before, with its age; what was never asked is asked now.
            options = options_of(gpus)
            board = self._engine.prices(options, self._period if before.body else _OLDEST_S)
            after = self._read(before, board, gpus, options)
        except Exception as error:  # noqa: BLE001 - nobody above a thread would ever tell the user
            failure = Failure.of(error, before.failure, self._now())
            changed = before.failure is None or before.failure.error.message != failure.error.message
            self._keep(replace(before, failure=failure), changed=changed)
            return
        if before.body is None and board.age_s > self._period:
            self._asked = _NEVER
            self._again()
        same = before.failure is None and before.board is not None and before.board.offers == board.offers
        self._keep(after, changed=not same or self._now() - before.told >= _HEARTBEAT_S)

    def _read(self, before: _Shown, board: Board, gpus: tuple[str, ...], options: Options) -> _Shown:
        """Return what is shown now; rows are made anew only where the offers or their history are new."""
        now = self._now()
        history, read = before.history, before.history_read
        if gpus != before.gpus or not history or not 0 <= now - read < _HISTORY_S:
            history, read = tuple(self._engine.price_history(options)), now
        ageless = replace(board, age_s=0.0)
        if before.body is not None and (gpus, history, ageless) == (before.gpus, before.history, before.board):
            body = {**before.body, "at": moment(now - board.age_s)}
        else:
            body = offers.prices(board, query_of(options), history, now)
        return _Shown(body, ageless, history, read, gpus, None, before.told)

    def _keep(self, shown: _Shown, *, changed: bool) -> None:
        now = self._now()
        with self._lock:
            self._shown = shown
            if changed:
                shown.told = now
                self.revision += 1
        if changed:
            self._told(now)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def options_of(gpus: tuple[str, ...]) -> Options:
    """Return the options of a search for these models.

    Raises:
        UsageError: one is no name of a GPU.
    """
    return config.parse(" ".join(gpu.replace(" ", "_") for gpu in gpus), "prices")
