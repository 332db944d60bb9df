"""What there is: the ledger's leases beside the providers' lists, and which of them a user means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine.settling import TOMBSTONE_S
from gpuplug.errors import GpuplugError, TooDearError, UnknownNameError, UsageError
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

    `trouble` says why there is no view of the provider's: only a free one may give none.
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
            ProviderError: a platform that costs money gives no whole list.
        """
        found: list[Row] = []
        names = {*config.enabled(), *(lease.provider for lease in self._ledger.open_leases())}
        for name in sorted(names):
            provider = self._platforms.get(name)
            try:
                seen = provider.instances()
            except GpuplugError as error:
                if not provider.traits.free:
                    raise
                # A machine at home that is switched off must not hide what bills elsewhere.
                leases_there = (lease for lease in self._ledger.open_leases() if lease.provider == name)
                found += [Row(None, lease, ZERO, error.message) for lease in leases_there]
                continue
            leases = {lease.label: lease for lease in self._renting.reconcile(provider, seen)}
            found += [self._row(instance, leases.pop(instance.label, None)) for instance in seen]
            found += [self._row(None, lease) for lease in leases.values()]
        return found

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
        """Return the newest lease of this notebook that may still be used, if the options allow it.

        Raises:
            TooDearError: it costs more than the cap that was typed for this cell.
        """
        if options.new:
            return None
        platforms = config.choose_platforms(options.platform)
        usable = [lease for lease in self._mine() if self._fits(lease, options) and lease.provider in platforms]
        if not usable:
            return None
        if "max_price" in options.typed and usable[-1].price > options.max_price:
            raise TooDearError(
                f"the instance of this notebook, #{usable[-1].instance_id}, costs {usable[-1].price}/h, above {options.max_price}/h",
                hint="--new rents another one; %gpu down ends this one",
            )
        return usable[-1]

    @staticmethod
    def _fits(lease: Lease, options: Options) -> bool:
        if lease.name != options.name or lease.state not in _USABLE:
            return False
        if not options.gpu or not lease.price.micros:
            return True
        return any(wish.matches(lease.gpu, lease.gpu_count) for wish in options.gpu)

    def meant(self, options: Options, *, resting: bool = False) -> list[Lease]:
        """Return the leases that a user names, or else all of the notebook's; with `resting` only stopped ones of these.

        Raises:
            UnknownNameError: no such instance of this computer.
        """
        if options.words:
            leases = self._ledger.open_leases()
            return [_named(word.removeprefix("#"), leases) for word in options.words]
        return [lease for lease in self._mine() if lease.state is State.STOPPED or not resting]

    def stranger(self, word: str) -> Instance:
        """Return an instance with our label that this ledger does not know.

        Raises:
            UsageError: it is this computer's own.
            UnknownNameError: no platform lists it with our label.
        """
        word = word.removeprefix("#")
        if any(word in {lease.instance_id, lease.label} for lease in self._ledger.open_leases()):
            raise UsageError(f"#{word} is this computer's own already", hint="%gpu ls")
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
