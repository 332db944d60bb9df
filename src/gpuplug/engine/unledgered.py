"""What can be done when the ledger cannot be used: list and end what the providers show with our label."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.engine.inventory import Row
from gpuplug.engine.settling import lease_of
from gpuplug.errors import UnknownNameError, UsageError
from gpuplug.ledger import Lease, State
from gpuplug.types import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Options
    from gpuplug.engine.renting import Renting
    from gpuplug.errors import LedgerError
    from gpuplug.providers import Provider
    from gpuplug.types import Instance


class Unledgered:
    """Lists and ends instances from the providers alone. Reads and writes no ledger; `trouble` is why."""

    def __init__(self, provider: Callable[[str], Provider], renting: Renting, trouble: LedgerError) -> None:
        self._provider = provider
        self._renting = renting
        self._trouble = trouble

    def rows(self) -> list[Row]:
        """Return every instance with our label on the platforms that have a key; whose each is nobody knows.

        Raises:
            ProviderError: a platform gives no whole list.
        """
        return [Row(instance, None, ZERO, self._trouble.message) for instance in self._listed()]

    def down(self, options: Options, say: Callable[[str], None]) -> list[Lease]:
        """End what is named, or with `--all -y` everything with our label, and prove it; returns each as it then stands.

        Raises:
            UsageError: nothing is named, or all of it without `-y`: some of it may be another computer's.
            UnknownNameError: no platform lists it.
        """
        listed = self._listed()
        return [self._end(instance, say) for instance in self._meant(options, listed)]

    def _listed(self) -> list[Instance]:
        return [instance for name in config.enabled() for instance in self._provider(name).instances()]

    def _meant(self, options: Options, listed: list[Instance]) -> list[Instance]:
        shown = ", ".join(f"#{each.id} {each.gpu} {each.provider}" for each in listed) or "none"
        if options.words:
            return [_named(word.removeprefix("#"), listed, shown) for word in options.words]
        if not options.all:
            raise UsageError(
                f"without the ledger nobody knows which instances are this notebook's; listed with our label: {shown}",
                hint="%gpu down ID",
            )
        if listed and not options.yes:
            raise UsageError(
                f"without the ledger nobody knows which of these are another computer's: {shown}",
                hint="%gpu down ID, or %gpu down --all -y for all of them",
            )
        return listed

    def _end(self, instance: Instance, say: Callable[[str], None]) -> Lease:
        lease = lease_of(instance, "", 0.0)  # it is listed, so no lag hides it any more
        proven = self._renting.end_unrecorded(self._provider(instance.provider), lease, say)
        say(
            f"#{instance.id} {instance.gpu} {instance.provider}: "
            f"{'gone (verified)' if proven else 'NOT PROVEN GONE, take it as billing'}"
        )
        return replace(lease, state=State.GONE if proven else State.DESTROYING)


def _named(word: str, listed: list[Instance], shown: str) -> Instance:
    for instance in listed:
        if word in {instance.id, instance.label}:
            return instance
    raise UnknownNameError(f"no platform lists {word!r} with our label; listed: {shown}", hint="%gpu ls")
