"""A key that the platform refuses while its instances bill: noted for all processes, and said with what still ends them."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine.guarding import why_unguarded
from gpuplug.errors import AuthError, GpuplugError, HostError, LedgerError
from gpuplug.ledger import Refusal, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.engine.linking import Live
    from gpuplug.ledger import Lease, Ledger
    from gpuplug.providers import Provider
    from gpuplug.types import Clock, Instance

_LOOK_S = 5.0


def listed(provider: Provider, ledger: Ledger, clock: Clock) -> list[Instance]:
    """Return what the platform lists; note whether it refuses the account's key or takes it again.

    Raises:
        ProviderError: there is no whole list.
    """
    try:
        seen = provider.instances()
    except AuthError as error:
        # Who has no key at all, as a timer may, says nothing of the key that others have.
        if not provider.traits.free and config.find_key(provider.name):
            refusal = Refusal(clock.now().timestamp(), error.message, error.hint)
            with contextlib.suppress(LedgerError):  # it is said by whoever has asked
                ledger.refusals.note(provider.name, refusal)
        raise
    with contextlib.suppress(LedgerError):
        ledger.refusals.lift(provider.name)
    return seen


def refusal_of(lease: Lease, ledger: Ledger) -> Refusal | None:
    """Return since when the platform of `lease` refuses the key, by the ledger; None also when that cannot be read."""
    with contextlib.suppress(LedgerError):
        return ledger.refusals.of(lease.provider)
    return None


def told(lease: Lease, refusal: Refusal, unguarded: str | None = None) -> str:
    """Say that the key is refused, what `lease` bills, what still ends it and when, and what to type.

    `unguarded` is why it would not end itself, "" when it would, None when nobody is there who could tell.
    """
    named = f"#{lease.instance_id or lease.label} {lease.gpu}"
    since = _moment(refusal.since)
    mend = f"{refusal.hint or 'a key that is accepted'} (in a notebook: {_typed(lease.provider)}), then %gpu ls"
    return (
        f"{lease.provider.upper()} REFUSES THE KEY since {since}: {refusal.why}. {named} bills {lease.rate}/h and cannot be "
        f"ended from here. {_what_ends(lease, unguarded)}. To mend it: {mend}"
    )


def _what_ends(lease: Lease, unguarded: str | None) -> str:
    if unguarded:
        return f"Nothing else ends it: {unguarded}; end it in the console of {lease.provider}"
    if lease.state is State.STOPPED:
        return "It rests, and nothing ends that but a key that is accepted, or the console"
    if not lease.hard_s:
        return "When it ends by itself only the computer knows that rented it"
    stands = "Its dead man's switch" if unguarded == "" else "Its dead man's switch, where it is armed,"
    return (
        f"{stands} still ends it, by a key of its own: {lease.lease_s // 60} min after the last contact or cell, "
        f"{_moment(lease.hard_end)} at the latest"
    )


def _moment(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _typed(platform: str) -> str:
    return f"%env {config.KEY_PLACES[platform][0]}=..." if platform in config.KEY_PLACES else "a new key"


def by_ledger(lease: Lease, ledger: Ledger) -> str:
    """Say the same of a lease by what the ledger knows alone; "" when the key was accepted last, or it costs nothing."""
    refusal = refusal_of(lease, ledger) if lease.price.micros else None
    return "" if refusal is None else told(lease, refusal)


def why_unproven(lease: Lease, provider: Provider, ledger: Ledger, clock: Clock) -> str:
    """Say it of a lease whose end could not be proven; asks the provider once more whether that is the reason."""
    with contextlib.suppress(GpuplugError):  # what counts is the note that it leaves
        listed(provider, ledger, clock)
    return by_ledger(lease, ledger)


def hand_over(live: Live | None, lease: Lease, ledger: Ledger, say: Callable[[str], None]) -> None:
    """Where the key is refused, tell the instance's own switch that the time is over: it needs no key of the account."""
    if live is None or refusal_of(lease, ledger) is None or why_unguarded(live):
        return
    with contextlib.suppress(HostError):  # then its lease ends it
        if live.session.request("terms", {"hard_s": 0}).header.get("ok") is True:
            say(f"#{lease.instance_id}: the key is refused, so its own dead man's switch was told to end it now")


class KeyWatch:
    """Says it to a running cell when its platform refuses the key: once, and once when the key is taken again."""

    def __init__(self, live: Live, ledger: Ledger, clock: Clock, say: Callable[[str], None]) -> None:
        self._live, self._ledger, self._clock, self._say = live, ledger, clock, say
        self._looked = clock.monotonic()
        self._says = True

    def look(self) -> None:
        """Look every few seconds into the ledger, which one process brings up to date each minute."""
        now = self._clock.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        with contextlib.suppress(LedgerError):  # what was said so far holds on
            self._look(self._ledger.refusals.of(self._live.lease.provider))

    def _look(self, refusal: Refusal | None) -> None:
        if refusal is None:
            self._mended()
        elif self._says and refusal.since != self._live.refused:
            lease = self._ledger.lease(self._live.lease.label)
            self._says, self._live.refused = False, refusal.since
            text = told(lease, refusal, why_unguarded(self._live))
            self._say(f"{text}. The cell runs on, and its results come home without that key")

    def _mended(self) -> None:
        if self._live.refused:
            self._live.refused = 0.0
            self._say(f"{self._live.lease.provider} accepts the key again")
