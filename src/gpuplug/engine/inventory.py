"""What there is: the ledger's leases beside the providers' lists, and which of them a user means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine.contacts import IN_TOUCH_S
from gpuplug.engine.refused import by_ledger, listed
from gpuplug.engine.settling import RESTS_ITSELF, TOMBSTONE_S, WISHED
from gpuplug.engine.suiting import Suit, idle_options, suit
from gpuplug.errors import AuthError, GpuplugError, TooDearError, UnknownNameError, UsageError
from gpuplug.ledger import Lease, Ledger, State
from gpuplug.types import ZERO, Money

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Options
    from gpuplug.engine.platforms import Platforms
    from gpuplug.engine.renting import Renting
    from gpuplug.types import Clock, Instance

_USABLE = frozenset({State.BOUND, State.READY, State.STOPPED})


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `%gpu ls`: the provider's view and the ledger's, either of which may be missing.

    Both are where a platform refuses the key and the ledger knows of nothing there.

    `trouble` says why there is no view of the provider's: only a free one may give none, and one that refuses the key.
    """

    instance: Instance | None
    lease: Lease | None
    cost: Money
    trouble: str = ""


class Inventory:
    """Looks things up for one notebook; changes nothing but what reconciling finds out."""

    def __init__(self, notebook: str, ledger: Ledger, renting: Renting, platforms: Platforms, clock: Clock) -> None:
        self._notebook = notebook
        self._ledger = ledger
        self._renting = renting
        self._platforms = platforms
        self._clock = clock

    def rows(self) -> list[Row]:
        """Reconcile with every enabled platform and return all instances with our label, ours and others'.

        Raises:
            ProviderError: a platform that costs money gives no whole list. Where it refuses the key, and anything is open,
                that and the ledger's view of it are shown instead: what bills elsewhere must not be hidden.
        """
        found: list[Row] = []
        open_leases = self._ledger.open_leases()
        names = {*config.enabled(), *(lease.provider for lease in open_leases)}
        for name in sorted(names):
            try:
                found += self.rows_of(name)
            except GpuplugError as error:
                free = self._platforms.get(name).traits.free
                if not free and not (isinstance(error, AuthError) and open_leases):
                    raise
                # A machine at home that is switched off must not hide what bills elsewhere either.
                found += self._unlisted(name, error, free=free)
        return found

    def _unlisted(self, name: str, error: GpuplugError, *, free: bool) -> list[Row]:
        """Return what the ledger knows of a platform that cannot be asked."""
        leases = [lease for lease in self._ledger.open_leases() if lease.provider == name]
        if free:
            return [Row(None, lease, ZERO, error.message) for lease in leases]
        known = [
            replace(self._row(None, lease), trouble=by_ledger(lease, self._ledger) or str(error)) for lease in leases
        ]
        return known or [Row(None, None, ZERO, f"{name} cannot be asked: {error.message}")]

    def to_start(self, options: Options, say: Callable[[str], None]) -> list[Lease]:
        """Return the leases that a user names, or the notebook's that rest, or else those that run: what waits is there.

        Raises:
            UsageError: one that is named neither rests nor runs.
            ProviderError: a platform gives no whole list.
        """
        self.notice_rest(options)
        found = self.meant(options, resting=True)
        if not options.words and not found:
            found = [lease for lease in self._mine() if lease.price.micros and lease.state in _USABLE]
        for lease in found:
            if lease.state not in _USABLE:
                raise UsageError(f"#{lease.instance_id} is {lease.state.value}: it cannot be started", hint="%gpu ls")
            if lease.state is not State.STOPPED:
                say(f"#{lease.instance_id} {lease.gpu} {lease.provider} runs already")
        return found

    def notice_rest(self, options: Options) -> None:
        """Reconcile where an instance that a user means may have gone to rest by itself.

        Raises:
            ProviderError: a platform gives no whole list.
        """
        for name in sorted({lease.provider for lease in self.meant(options) if lease.state is State.READY}):
            self.rows_of(name)

    def rows_of(self, name: str) -> list[Row]:
        """Reconcile with one platform and return its instances with our label, ours and others'.

        Raises:
            ProviderError: it gives no whole list.
        """
        provider = self._platforms.get(name)
        seen = listed(provider, self._ledger, self._clock)
        leases = {lease.label: lease for lease in self._renting.reconcile(provider, seen)}
        found = [self._row(instance, leases.pop(instance.label, None)) for instance in seen]
        return found + [self._row(None, lease) for lease in leases.values()]

    def sweep(self, say: Callable[[str], None]) -> None:
        """Look whether anything that was taken as gone or never made in the last week is listed after all."""
        since = self._clock.now().timestamp() - TOMBSTONE_S
        for name in sorted({lease.provider for lease in self._ledger.leases(since) if lease.price.micros}):
            provider = self._platforms.get(name)
            try:
                self._renting.reopen_late(provider, provider.instances(), say)
            except GpuplugError as error:
                say(f"{name} cannot be asked whether anything has come up late: {error.message}")

    def warm(self, options: Options) -> Lease | None:
        """Return the newest lease of this notebook that may still be used and meets the options.

        Raises:
            TooDearError: it costs more than the cap that was typed for this cell.
            UsageError: there is one, and it does not meet what was typed: none is rented beside it without a word.
        """
        if options.new:
            return None
        named = [lease for lease in self._mine() if lease.name == options.name and lease.state in _USABLE]
        platforms = config.choose_platforms(options.platform)
        here = [lease for lease in named if lease.provider in platforms]
        if not here:
            self._refuse_elsewhere(named, platforms)
            return None
        suited = [lease for lease in here if not self._suit(lease, options).unmet]
        if not suited:
            raise _unsuited(here[-1], self._suit(here[-1], options))
        if "max_price" in options.typed and suited[-1].price > options.max_price:
            raise TooDearError(
                f"the instance of this notebook, #{suited[-1].instance_id}, costs {suited[-1].price}/h, above {options.max_price}/h",
                hint="--new rents another one; %gpu down ends this one",
            )
        return suited[-1]

    def doubts(self, lease: Lease, options: Options) -> str:
        """Say of which typed options it is not known whether `lease` meets them; "" when there is none."""
        if not lease.price.micros:
            return idle_options(lease.provider, options)
        untold = self._suit(lease, options).untold
        if not untold:
            return ""
        return f"whether #{lease.instance_id} meets {_listed(untold)} cannot be told, and it is used; --new rents another one"

    def _suit(self, lease: Lease, options: Options) -> Suit:
        return suit(lease, self._ledger.orders.of(lease.label), options)

    def _refuse_elsewhere(self, named: list[Lease], platforms: tuple[str, ...]) -> None:
        """Raise UsageError where a second instance would be rented beside one that bills on another platform."""
        billing = [lease for lease in named if lease.price.micros]
        if billing and not all(self._platforms.get(name).traits.free for name in platforms):
            raise UsageError(
                f"the instance of this notebook, {billing[-1].gpu} {billing[-1].provider} #{billing[-1].instance_id}, "
                f"is not on {' or '.join(platforms)}",
                billing=f"it bills {billing[-1].rate}/h",
                hint=f"--new rents one there beside it; %gpu down ends it; -p {billing[-1].provider} uses it",
            )

    def meant(self, options: Options, *, resting: bool = False) -> list[Lease]:
        """Return the leases that a user names, or else all of the notebook's; with `resting` only stopped ones of these.

        Raises:
            UnknownNameError: no such instance of this computer.
        """
        if options.words:
            leases = self._ledger.open_leases()
            return [_named(word.removeprefix("#"), leases) for word in options.words]
        return [lease for lease in self._mine() if lease.state is State.STOPPED or not resting]

    def adopt(self, word: str) -> Lease:
        """Make an instance this notebook's: one that another notebook has left behind, or that another computer rented.

        Raises:
            UsageError: it is this notebook's own, or in use, or results wait there that only its own notebook's name finds.
            UnknownNameError: no platform lists it with our label.
        """
        if (own := self.left_behind(word)) is not None:
            self._refuse_with_results(own)
            note = WISHED if own.note == RESTS_ITSELF else own.note  # somebody wants it: it is not ended for money now
            return self._ledger.amend(own.label, notebook=self._notebook, name="", note=note)
        stranger = self.stranger(word)
        return self._renting.adopt(self._platforms.get(stranger.provider), stranger, self._notebook)

    def _refuse_with_results(self, own: Lease) -> None:
        if self._ledger.waiting.allowance(own.label) is not None:
            raise UsageError(
                f"results of {own.notebook} may wait on #{own.instance_id}, and another notebook's cells would not find them",
                billing=f"it bills {own.rate}/h",
                hint=f"%gpu start {own.instance_id} brings them home; %gpu down {own.instance_id} gives them up",
            )

    def left_behind(self, word: str) -> Lease | None:
        """Return this computer's own lease of another notebook that nobody is in touch with; None when it is not one of ours.

        Raises:
            UsageError: it is this notebook's own, or its notebook is in touch with it.
        """
        word = word.removeprefix("#")
        own = next((one for one in self._ledger.open_leases() if word in {one.instance_id, one.label}), None)
        if own is None:
            return None
        if own.notebook == self._notebook:
            raise UsageError(f"#{word} is this notebook's own already", hint="%gpu ls")
        if own.contact is not None and self._clock.now().timestamp() - own.contact <= IN_TOUCH_S:
            raise UsageError(
                f"#{word} is in use by {own.notebook}", hint=f"%gpu down {word} ends it; %gpu up rents another one"
            )
        return own

    def stranger(self, word: str) -> Instance:
        """Return an instance with our label that this ledger does not know.

        Raises:
            UnknownNameError: no platform lists it with our label.
        """
        word = word.removeprefix("#")
        for name in config.enabled():
            for instance in self._platforms.get(name).instances():
                if word in {instance.id, instance.label}:
                    return instance
        raise UnknownNameError(
            f"no instance {word!r} with a label of gpuplug; others are never touched", hint="%gpu ls"
        )

    def _mine(self) -> list[Lease]:
        return [lease for lease in self._ledger.open_leases() if lease.notebook == self._notebook]

    def _row(self, instance: Instance | None, lease: Lease | None) -> Row:
        return Row(instance, lease, lease.cost(self._clock.now().timestamp()) if lease else Money(0))


def _named(word: str, leases: list[Lease]) -> Lease:
    for lease in leases:
        if word in {lease.instance_id, lease.label, lease.name}:
            return lease
    known = ", ".join(lease.name or f"#{lease.instance_id}" for lease in leases) or "none"
    raise UnknownNameError(
        f"no instance {word!r} of this computer; open ones: {known}",
        hint="%gpu ls, and %gpu adopt ID for what another computer rented",
    )


def _unsuited(lease: Lease, found: Suit) -> UsageError:
    has = ", ".join(f"{flag} (it has {had})" for flag, had in found.unmet.items())
    return UsageError(
        f"the instance of this notebook, {lease.gpu} {lease.provider} #{lease.instance_id}, does not meet {has}",
        billing=f"it bills {lease.rate}/h" if lease.price.micros else "",
        hint=f"--new or --name NAME takes another one beside it; without {_listed(tuple(found.unmet))} it is used",
    )


def _listed(flags: tuple[str, ...]) -> str:
    return " and ".join(flags)
