"""Keeps what the panel shows up to date: looks into the ledger, and asks the platforms while somebody looks.

Nothing here blocks who asks for a state; what platforms are asked happens in threads of its own, under the market's
lease and each provider's pace. Open instances are reconciled once a minute also when nobody looks: what is left alone
for longer than its lease is ended.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from gpuplug import config
from gpuplug.engine.reconciling import Finding, Reaper
from gpuplug.engine.resting import late_losses
from gpuplug.errors import GpuplugError, UnknownNameError
from gpuplug.frontends.panel import jobs, pricing, state
from gpuplug.frontends.panel.asking import Asker
from gpuplug.frontends.panel.fields import moment, text
from gpuplug.frontends.panel.known import Failure, Known, Listing
from gpuplug.frontends.panel.looking import Lookers
from gpuplug.frontends.panel.pods import pairs, state_of
from gpuplug.frontends.panel.pricing import Pricing
from gpuplug.frontends.panel.spend import shown_days

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpuplug.engine import Engine
    from gpuplug.ledger import CellRow, Lease
    from gpuplug.types import Clock, Traits

TICK_S = 1.0  # how often the ledger is looked at while somebody looks
_MADE_ANEW_S = 5.0
_IDLE_S = 60.0  # how often open instances are reconciled when nobody does
_PODS_S = 10.0
_SIMULATED_S = 1.0  # a market on this computer may be asked more often
_HEARTBEAT_S = 30.0
_NEVER = -1e9


@dataclass(frozen=True, slots=True)
class Push:
    """What has changed: whole parts, and how often the prices have."""

    revision: int
    now: str
    parts: Mapping[str, dict[str, Any]]
    prices_revision: int


class Watcher:
    """One for each process that shows the panel.

    Args:
        open_engine: makes an engine for a notebook's name; its caller closes it.
        source: `server` or `kernel`.
        clock: time.
        operations: returns what was asked for, as rows of the state.
        told: is called from another thread with each change.
    """

    def __init__(
        self,
        open_engine: Callable[[str], Engine],
        source: str,
        clock: Clock,
        operations: Callable[[], tuple[dict[str, Any], ...]],
        told: Callable[[Push], None],
    ) -> None:
        self._source = source
        self._clock = clock
        self._operations = operations
        self._told = told
        # An engine for each thread: adapters are not shared.
        self._open_engine = open_engine
        self._looker, self._pricer = open_engine(""), open_engine("")
        self.pricing = Pricing(self._pricer, clock, self._tell_prices, self.wake)
        self._listers: dict[str, Engine] = {}
        self.lookers = Lookers(clock)
        # Where the file browser shows a notebook's file; "" where it does not.
        self.path_of: Callable[[str], str] = lambda _file: ""
        # Whether the process of a kernel has ended since a cell of it began; only the kernel's own server knows.
        self.left: Callable[[str, float], bool] = lambda _kernel, _since: False
        self._lock = threading.RLock()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._listings: dict[str, Listing] = {}
        self._asked: dict[str, float] = {}
        self._askers: dict[str, Asker] = {}
        self._traits: dict[str, Traits] = {}
        self._since: dict[str, tuple[str, float]] = {}
        self._ledger_failure: Failure | None = None
        self._reaper = Reaper(self._looker.ledger.path.parent, clock)
        self._reaping = Asker(self._reap, "reap")
        self._holder = secrets.token_hex(8)
        self._reaped = _NEVER
        self._findings: dict[str, Finding] = {}
        self._parts: dict[str, dict[str, Any]] = {}
        self._prints: dict[str, str] = {}
        self._revision = 0
        self._pushed = 0.0
        self._basis: object = None
        self._looked = _NEVER
        self._thread = threading.Thread(target=self._run, name="gpuplug-panel", daemon=True)

    def start(self) -> None:
        """Begin to look; once."""
        self._thread.start()

    def close(self) -> None:
        """End all threads; a platform that does not answer is not waited for. May be repeated."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_HEARTBEAT_S)
        for asker in [*self._askers.values(), self._reaping]:
            asker.close()
        self.pricing.close()
        self._reaper.close()
        for engine in (self._looker, self._pricer, *self._listers.values()):
            engine.close()

    def wake(self) -> None:
        """Have the ledger looked at now: something was asked for, or somebody has begun to look."""
        self._wake.set()

    def refresh(self, parts: tuple[str, ...]) -> None:
        """Have `pods` or `prices` asked for now, within each provider's pace."""
        if "prices" in parts:
            self.pricing.refresh()
        if "pods" in parts:
            self._asked.clear()
        self.wake()

    def state(self) -> dict[str, Any]:
        """Return the whole state as it is now, without the prices; reads the ledger."""
        with self._lock:
            self._look()
            return self.latest()

    def latest(self) -> dict[str, Any]:
        """Return the whole state as it was made last, a few seconds ago while somebody looks; made now when it never was."""
        with self._lock:
            if not self._parts:
                self._look()
            now = self._clock.now().timestamp()
            return state.whole(now, self._source, self._parts, self._revision)

    def open_lease(self, label: str) -> Lease:
        """Return an instance of this computer that is not proven gone.

        Raises:
            UnknownNameError: there is none with this label.
        """
        for lease in self._looker.ledger.open_leases():
            if lease.label == label:
                return lease
        raise UnknownNameError("no instance of this computer has this id, or it is gone already", hint="%gpu ls")

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                self._look_again()
            self._ask()
            self._wake.wait(TICK_S if self._active() else _IDLE_S)
            self._wake.clear()

    def _look_again(self) -> None:
        """Look, unless nothing was written, listed or asked for since; what only time changes is made anew now and then."""
        try:
            basis: object = (
                self._looker.ledger.version(),
                {name: replace(each, at=None) for name, each in self._listings.items()},
                tuple(self._traits),
                self._keys(),
                self._operations(),
                dict(self._findings),
            )
        except GpuplugError:
            basis = None
        if basis is None or basis != self._basis or not 0 <= self._clock.monotonic() - self._looked < _MADE_ANEW_S:
            self._basis, self._looked = basis, self._clock.monotonic()
            self._look()

    def _active(self) -> bool:
        return bool(self.lookers.parts()) or any(row["state"] == "running" for row in self._operations())

    def _look(self) -> None:
        """Look into the ledger, make the parts, and tell what has changed."""
        known = self._known()
        self._since = {
            label: self._since[label] if self._since.get(label, ("", 0))[0] == now else (now, known.now)
            for label, now in _states(known)
        }
        made = state.parts(replace(known, since=self._since))
        prints = {name: state.fingerprint(part) for name, part in made.items()}
        changed = {name for name, each in prints.items() if each != self._prints.get(name)}
        due = bool(self.lookers.parts()) and known.now - self._pushed >= _HEARTBEAT_S
        self._parts, self._prints = made, prints
        if changed or due:
            self._push(known.now, {name: made[name] for name in (changed or {"spend", "pods"})})

    def _push(self, now: float, parts: dict[str, dict[str, Any]]) -> None:
        self._revision += 1
        self._pushed = now
        self._told(Push(self._revision, moment(now) or "", parts, self.pricing.revision))

    def _tell_prices(self, now: float) -> None:
        with self._lock:
            self._push(now, {})

    def _known(self) -> Known:
        now = self._clock.now().timestamp()
        leases, cells = self._read_ledger(now)
        callers, progress = jobs.at_work(self._looker.ledger, shown_days(now)[0][0], self.path_of)
        return Known(
            now,
            leases,
            cells,
            self._ledger_failure,
            dict(self._listings),
            dict(self._traits),
            self._keys(),
            self._since,
            self._gauges(),
            self._operations(),
            dict(self._findings),
            self._losses(now),
            callers,
            progress,
            jobs.left(cells, callers, self.left),
        )

    def _losses(self, now: float) -> dict[str, str]:
        try:
            return late_losses(self._looker.ledger, now)
        except GpuplugError:
            return {}  # told as the ledger's failure

    def _gauges(self) -> dict[str, dict[str, Any]]:
        try:
            found = self._looker.ledger.gauges.all()
        except GpuplugError:
            return {}  # told as the ledger's failure
        return {
            label: {"at": moment(at), "gpus": [{**asdict(each), "name": text(each.name)} for each in gpus]}
            for label, (at, gpus) in found.items()
        }

    def _read_ledger(self, now: float) -> tuple[tuple[Lease, ...] | None, tuple[CellRow, ...]]:
        since, _ = shown_days(now)[0]
        try:
            leases, cells = tuple(self._looker.ledger.leases(since)), tuple(self._looker.ledger.cells(since))
        except GpuplugError as error:
            self._ledger_failure = self._ledger_failure or Failure(error, now)
            return None, ()
        self._ledger_failure = None
        return leases, cells

    def _keys(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in config.KEY_PLACES:
            try:
                key = config.find_key(name)
            except GpuplugError as error:
                listing = self._listings.get(name, Listing())
                failure = listing.failure or Failure(error, self._clock.now().timestamp())
                self._listings[name] = replace(listing, failure=failure)
                continue
            if key is not None:
                found[name] = key.source
        return found

    def _ask(self) -> None:
        """Have asked what is due."""
        looked = self.lookers.parts()
        now = self._clock.monotonic()
        try:
            open_leases = self._looker.ledger.open_leases()
        except GpuplugError:
            open_leases = []  # told as the ledger's failure; the platforms are asked all the same
        if "pods" in looked:
            for name in sorted({*self._keys(), *(lease.provider for lease in open_leases)}):
                period = _SIMULATED_S if self._traits_of(name).simulated else _PODS_S
                if now - self._asked.get(name, _NEVER) >= period:
                    self._asked[name] = now
                    self._asker(name).nudge()
        if any(lease.billing for lease in open_leases) and now - self._reaped >= _IDLE_S:
            self._reaped = now
            self._reaping.nudge()
        if "prices" in looked:
            self.pricing.ask_when_due(self.lookers.gpus(), self._prices_period())

    def _prices_period(self) -> float:
        names = self._keys()
        return _SIMULATED_S if names and all(self._traits_of(name).simulated for name in names) else pricing.PERIOD_S

    def _traits_of(self, name: str) -> Traits:
        if name not in self._traits:
            self._traits[name] = self._looker.provider(name).traits
        return self._traits[name]

    def _asker(self, name: str) -> Asker:
        if name not in self._askers:
            self._listers[name] = self._open_engine("")
            self._askers[name] = Asker(lambda: self._ask_platform(name), f"pods-{name}")
        return self._askers[name]

    def _ask_platform(self, name: str) -> None:
        before = self._listings.get(name, Listing())
        self._listings[name] = replace(before, asking=before.at is None)
        try:
            rows = self._listers[name].rows_of(name)
        except Exception as error:  # noqa: BLE001 - nobody above a thread would ever tell the user
            failure = Failure.of(error, before.failure, self._clock.now().timestamp())
            self._listings[name] = replace(before, failure=failure, asking=False)
        else:
            seen = {row.instance.label: row.instance for row in rows if row.instance}
            self._listings[name] = Listing(self._clock.now().timestamp(), seen)
        # What has not changed is told with the next look at the ledger, a second later.
        after = self._listings[name]
        if (before.at, before.failure) == (None, None) or (before.instances, before.failure) != (
            after.instances,
            after.failure,
        ):
            self.wake()

    def _reap(self) -> None:
        """End what is left alone, where that is certain, and keep what only a person can decide."""
        try:
            # What is to be shown is looked at in any case; else one process of this computer does it for all.
            found = self._reaper.look() if self.lookers.parts() else self._reaper.take_turn(self._holder, _IDLE_S)
        except Exception as error:  # noqa: BLE001 - nobody above a thread would ever tell the user
            self._ledger_failure = Failure.of(error, self._ledger_failure, self._clock.now().timestamp())
            return
        self._findings = {finding.lease.label: finding for finding in found if finding.lease is not None}
        self.wake()


def _states(known: Known) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for lease, instance in pairs(known):
        label = lease.label if lease else instance.label if instance else ""
        found.append((label, state_of(known, lease, instance)))
    return found
