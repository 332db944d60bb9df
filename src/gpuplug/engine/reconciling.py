"""What bills though nobody uses it: found in the ledger and at the providers, ended where that is certain, else asked about.

A plain function of ledger, platforms and clock. One instance belongs to one thread; several may work on one ledger.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine.contacts import IN_TOUCH_S, NOTED_S
from gpuplug.engine.platforms import Platforms
from gpuplug.engine.refused import listed
from gpuplug.engine.renting import Renting
from gpuplug.engine.resting import Rest, rest_of
from gpuplug.engine.settling import TOMBSTONE_S
from gpuplug.engine.times import skew, span
from gpuplug.errors import GpuplugError
from gpuplug.ledger import FINAL, Lease, Ledger, State
from gpuplug.types import ZERO, Instance, InstanceState, Money

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gpuplug.providers import Provider
    from gpuplug.types import Clock

_SLACK_S = 120.0  # the instance's own switch comes first
_BOOT_S = 1_200.0  # the hard end of what was never reached counts from a boot that nobody saw
_AGAIN_S = NOTED_S + 15.0  # whoever is in touch says so at least once in that time, whatever the wall clock does
_EARLY = 0.8  # a process that looks each minute must not find its own turn not yet over


class Found(enum.Enum):
    """What a lease is found to be, and so what was done."""

    GONE = "gone"  # its end was asked for, and is proven now
    NEVER_MADE = "never made"
    ENDING = "ending"  # its end is asked for and not proven: take it as billing
    LOOKED_FOR = "looked for"  # a create whose fate is not known yet
    USED = "used"  # somebody is in touch, or it is just being rented
    ALONE = "alone"  # nobody is in touch; it ends itself when its lease is over, and the next look sees to it
    ASKED = "asked"  # only a person can decide
    STRANGER = "stranger"  # of another computer: shown and left alone
    TROUBLE = "trouble"  # could not be looked at


_OPEN = frozenset({State.INTENT, State.UNKNOWN, State.DESTROYING})
_LIVE = frozenset({State.BOUND, State.READY})
# What the state alone decides.
_PLAIN = {
    State.INTENT: (Found.LOOKED_FOR, "its create has got no answer, and no list shows it"),
    State.UNKNOWN: (Found.LOOKED_FOR, "its create has got no answer, and no list shows it"),
    State.DESTROYING: (Found.ENDING, "its end was asked for"),
    State.ADOPTED: (Found.ASKED, "adopted from another computer"),
    State.STOPPED: (Found.ASKED, "it rests, and its disk bills"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One instance, or one platform that could not be asked. `why` is for people."""

    found: Found
    platform: str
    why: str
    lease: Lease | None = None
    instance: Instance | None = None
    cost: Money = ZERO


class Reconciler:
    """Looks at everything of one ledger that may bill. Blocking; every wait has a deadline."""

    def __init__(self, ledger: Ledger, renting: Renting, provider: Callable[[str], Provider], clock: Clock) -> None:
        self._ledger = ledger
        self._renting = renting
        self._provider = provider
        self._clock = clock
        self._suspects: dict[str, tuple[float | None, float]] = {}

    def anything(self) -> bool:
        """Tell by the ledger alone whether anything may bill; asks no provider."""
        return any(lease.billing for lease in self._ledger.open_leases())

    def open_questions(self) -> bool:
        """Tell by the ledger alone whether the fate of a create or the proof of an end is open."""
        return any(lease.state in _OPEN for lease in self._ledger.open_leases())

    def look(self, platforms: Iterable[str] = ()) -> list[Finding]:
        """Look once at what the ledger knows to bill, and at all of `platforms`; asks for ends, and waits for no proof.

        May be repeated as often as the providers' pace allows. What is left alone is ended by the second look that
        finds it so, `NOTED_S` apart: whoever is in touch has said so by then.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        since = self._clock.now().timestamp() - TOMBSTONE_S
        known = {lease.provider for lease in self._ledger.leases(since) if lease.price.micros}
        return [finding for name in sorted({*known, *platforms}) for finding in self._look_at(name)]

    def reap(self, platforms: Iterable[str], say: Callable[[str], None]) -> list[Finding]:
        """Look, end what is left alone for good, and prove each end; COSTS TIME: minutes, where something is ended.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        platforms = list(platforms)
        found, over = self.look(platforms), []
        if self._suspects:
            say(f"something looks left alone: waiting {_AGAIN_S:.0f} s whether anybody gets in touch")
            self._clock.sleep(_AGAIN_S)
            over = [finding for finding in found if finding.found in {Found.GONE, Found.NEVER_MADE}]
            found = self.look(platforms)
        return over + [self._proven(finding, say) for finding in found]

    def _proven(self, finding: Finding, say: Callable[[str], None]) -> Finding:
        lease = finding.lease
        if lease is None or finding.found not in {Found.ENDING, Found.LOOKED_FOR}:
            return finding
        after = self._renting.destroy(self._provider(lease.provider), lease, say)
        if after.state in FINAL:
            return self._ended(after, finding.why)
        return self._finding(finding.found, finding.why, after)

    def _look_at(self, name: str) -> list[Finding]:
        leases = [lease for lease in self._ledger.open_leases() if lease.provider == name and lease.price.micros]
        try:
            provider = self._provider(name)
            seen = listed(provider, self._ledger, self._clock)
        except GpuplugError as error:
            why = f"{name} cannot be asked: {error.message}"
            unseen = [self._finding(Found.TROUBLE, why, lease) for lease in leases]
            return unseen or [Finding(Found.TROUBLE, name, why)]
        settled = self._renting.reconcile(provider, seen)
        there = {instance.id: instance for instance in seen}
        found = [self._judge(provider, lease, there.get(lease.instance_id)) for lease in settled if lease.price.micros]
        ours = {lease.label for lease in self._ledger.leases(0)}
        strangers = [instance for instance in seen if instance.label not in ours]
        return found + [
            Finding(Found.STRANGER, name, "rented by another computer", instance=each) for each in strangers
        ]

    def _judge(self, provider: Provider, lease: Lease, instance: Instance | None) -> Finding:
        now = self._clock.now().timestamp()
        if lease.state in FINAL:
            return self._ended(lease, "it had ended" if lease.state is State.GONE else "never appeared")
        rests = instance is not None and instance.state is InstanceState.STOPPED
        plain = _PLAIN.get(State.STOPPED if rests and lease.state in _LIVE else lease.state)
        if (rest := rest_of(self._ledger, lease, now)) is not None:
            return self._judge_rest(provider, rest)
        if plain is None:
            return self._judge_by_time(provider, self._dated(provider, lease, now), instance, now)
        if lease.held(now):
            return self._finding(Found.USED, f"{lease.owner} is just renting it", lease)
        return self._finding(*plain, lease)

    def _judge_rest(self, provider: Provider, rest: Rest) -> Finding:
        lease = rest.lease
        in_touch = lease.contact is not None and rest.now - lease.contact <= IN_TOUCH_S
        if not rest.over or in_touch:  # in touch: it is just being started
            self._suspects.pop(lease.label, None)
            return self._finding(Found.ASKED, rest.text, lease)
        return self._end_if_sure(provider, lease, rest.over)

    def _dated(self, provider: Provider, lease: Lease, now: float) -> Lease:
        """Count from now what lies in the future, because it was noted by a clock that was ahead: it would never be over."""
        if max(lease.contact or 0.0, lease.begun or 0.0) <= now + _SLACK_S or skew(provider, self._clock):
            return lease
        begun = None if lease.begun is None else min(lease.begun, now)
        return self._ledger.amend(lease.label, contact=now, begun=begun)

    def _judge_by_time(self, provider: Provider, lease: Lease, instance: Instance | None, now: float) -> Finding:
        over = self._over(lease, instance, now)
        if over:
            return self._end_if_sure(provider, lease, over)
        self._suspects.pop(lease.label, None)
        if lease.contact is not None and now - lease.contact <= IN_TOUCH_S:
            return self._finding(Found.USED, "in use", lease)
        if lease.contact is None:
            return self._finding(Found.ASKED, "when anybody was last in touch is not known", lease)
        alone = f"nobody is in touch for {span(now - lease.contact)}"
        if lease.busy:
            way = f"%gpu start {lease.instance_id} brings home what waits"
            return self._finding(Found.ASKED, f"{alone}; a cell was running there: {way}", lease)
        return self._finding(Found.ALONE, alone, lease)

    @staticmethod
    def _over(lease: Lease, instance: Instance | None, now: float) -> str:
        """Say what of the terms is over for good; "" while something may still go on there."""
        boot_s = _BOOT_S if lease.begun is None else 0.0
        # What was noted by a clock that was behind is too early; the provider's own time of its start is not.
        started = instance.started.timestamp() if instance is not None and instance.started else lease.created
        if lease.hard_s and now > max(lease.hard_end, started + lease.hard_s) + boot_s + _SLACK_S:
            return f"its hard end was {span(now - lease.hard_end)} ago"
        if lease.lease_end is None or lease.busy or now <= lease.lease_end + _SLACK_S:
            return ""
        return f"nobody was in touch for {span(now - (lease.contact or now))}, and its lease is {span(lease.lease_s)}"

    def _end_if_sure(self, provider: Provider, lease: Lease, over: str) -> Finding:
        """Ask for the end of a lease that is over, unless somebody may be in touch after all, or the clock is wrong."""
        mark = self._suspects.setdefault(lease.label, (lease.contact, self._clock.monotonic()))
        if mark[0] != lease.contact:
            self._suspects[lease.label] = (lease.contact, self._clock.monotonic())
            return self._finding(Found.ALONE, over, lease)
        if self._clock.monotonic() - mark[1] < _AGAIN_S:
            return self._finding(Found.ALONE, over, lease)
        if wrong := skew(provider, self._clock):
            return self._finding(Found.TROUBLE, f"{over}, if this computer's clock is right: {wrong}", lease)
        self._suspects.pop(lease.label)
        condemned = self._ledger.condemn(lease.label, lease.contact)
        if condemned.state is not State.DESTROYING:
            return self._finding(Found.USED, "in use", condemned)
        self._ledger.waiting.give_up(lease.label)
        try:
            provider.terminate(lease.instance_id)
        except GpuplugError as error:
            return self._finding(Found.ENDING, f"{over}; {error.message}", condemned)
        return self._finding(Found.ENDING, over, condemned)

    def _ended(self, lease: Lease, why: str) -> Finding:
        found = Found.GONE if lease.state is State.GONE else Found.NEVER_MADE
        return self._finding(found, why, lease)

    def _finding(self, found: Found, why: str, lease: Lease) -> Finding:
        return Finding(found, lease.provider, why, lease, cost=lease.cost(self._clock.now().timestamp()))


class Reaper:
    """A reconciler with a ledger and adapters of its own, for a thread, a server or a timer beside the kernel."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._clock = clock
        self._ledger = Ledger(home, clock)
        self._platforms = Platforms(home, clock)
        renting = Renting(self._ledger, home / "keys", clock)
        self.reconciler = Reconciler(self._ledger, renting, self._platforms.get, clock)

    def look(self) -> list[Finding]:
        """Look once at every platform with a key, as `Reconciler.look` does."""
        return self.reconciler.look(config.enabled())

    def take_turn(self, holder: str, round_s: float) -> list[Finding]:
        """Look once at what the ledger knows, unless another process has done so less than `round_s` ago."""
        prices, source = self._ledger.prices, "reconcile"
        if prices.take_turn(source, holder, self._clock.now().timestamp(), (0, 0.0), 0) > 0:
            return []
        try:
            found = self.reconciler.look()
            self._ledger.keep_copy()
            return found
        finally:
            prices.end_turn(source, holder, self._clock.now().timestamp() + round_s * _EARLY)

    def close(self) -> None:
        """Let go of file and sockets; instances stay. May be repeated."""
        self._platforms.close()
        self._ledger.close()
