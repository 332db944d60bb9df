"""What the ledger believes, brought in line with what the providers list."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug.engine.ending import Ending
from gpuplug.ledger import FINAL, Lease, Rate, State
from gpuplug.types import Instance, InstanceState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpuplug.ledger import Ledger
    from gpuplug.providers import Provider
    from gpuplug.types import Clock, Money

_AT_LEAST = 0.9  # of its lease: the clock there is another one
REST_S = 86_400  # an instance rests only if so long a rest is paid for
TOMBSTONE_S = 7 * 86_400.0
RESTS_ITSELF = "it has stopped itself"
WISHED = "the user has it stopped"


class Settling(Ending):
    """Settles leases of one ledger by the providers' lists. A look does not wait for what only time can show."""

    def __init__(self, ledger: Ledger, keys: Path, clock: Clock) -> None:
        super().__init__(ledger, keys, clock)
        # Since when the lists do not show the label of a create, and since when they would have to.
        self._missing: dict[str, tuple[float, float | None]] = {}

    def reconcile(self, provider: Provider, seen: list[Instance]) -> list[Lease]:
        """Bring the open leases of `provider` in line with its list; returns them as they then stand."""
        looked = self._clock.monotonic()
        self.reopen_late(provider, seen, lambda _: None)
        by_label: dict[str, list[Instance]] = {}
        for instance in sorted(seen, key=lambda instance: instance.id):  # every process keeps the same one
            by_label.setdefault(instance.label, []).append(instance)
        leases = [lease for lease in self._ledger.open_leases() if lease.provider == provider.name]
        return [self._settle(provider, lease, by_label.get(lease.label, []), looked) for lease in leases]

    def reopen_late(self, provider: Provider, seen: list[Instance], say: Callable[[str], None]) -> None:
        """Take back that an instance is gone or was never made when the list shows it after all, and ask for its end.

        A create whose reply was lost may come up long after its time; its keys are thrown away by then. However long ago
        that was, by whatever clock: a label is nobody else's.
        """
        for instance in {instance.label: instance for instance in seen}.values():
            lease = self._ledger.find(instance.label)
            if lease is None or lease.state not in FINAL or lease.provider != provider.name:
                continue
            say(
                f"#{instance.id} {lease.gpu} {provider.name} is listed though it was taken as {lease.state.value}: ending it"
            )
            self._ledger.reopen(lease.label, instance.id, instance.price)
            self._terminate(provider, lease, instance.id)

    def adopt(self, provider: Provider, instance: Instance, notebook: str) -> Lease:
        """Write an instance with our label that this ledger does not know into it: what it costs and its end are ours.

        Its keys lie on the computer that rented it, so that no cell can run there from here.
        """
        began = instance.started.timestamp() if instance.started else self._now()
        lease = replace(lease_of(instance, notebook, began), simulated=provider.traits.simulated)
        self._ledger.intend(lease)
        return lease

    def observe(self, lease: Lease, instance: Instance) -> Lease:
        """Note what the instance bills from now on."""
        if instance.state not in {InstanceState.RUNNING, InstanceState.STOPPED}:
            return lease
        if instance.state is InstanceState.RUNNING and instance.price != lease.price:
            self._ledger.amend(lease.label, price=instance.price)
        if instance.state is InstanceState.STOPPED and lease.state in {State.READY, State.BOUND}:
            known = self._ledger.lease(lease.label)
            if self._was_in_use(known) and (not lease.bid.micros or self._keeps_results(known)):
                return self._note_rest(known, instance.price)
        return self._ledger.charge(lease.label, instance.price)

    def _was_in_use(self, lease: Lease) -> bool:
        """Tell whether its switch has armed: it was reached, or it was started again by a process that has died since."""
        return lease.state is State.READY or (lease.begun is not None and not self._early(lease))

    def _keeps_results(self, lease: Lease) -> bool:
        """Tell whether a spot machine that has stopped may have done so itself, with results; else it was taken away."""
        return not self._early(lease) and self._ledger.waiting.allowance(lease.label) is not None

    def _early(self, lease: Lease) -> bool:
        """Tell whether its lease is not over, so that its switch cannot have put it to rest."""
        return lease.contact is not None and self._now() < lease.contact + lease.lease_s * _AT_LEAST

    def _note_rest(self, lease: Lease, price: Money) -> Lease:
        """Note that an instance rests: it has asked for that itself at the end of its lease, or somebody else has."""
        if lease.note == WISHED or self._early(lease):
            self._ledger.move(lease.label, State.STOPPED)
            return self._ledger.charge(lease.label, price)
        since = self._rested_by(lease, price)
        self._ledger.waiting.rests(lease.label, self._now())
        self._ledger.move(lease.label, State.STOPPED, note=RESTS_ITSELF)
        return self._ledger.charge(lease.label, price, since)

    def _rested_by(self, lease: Lease, price: Money) -> float:
        """Return since when at the latest a lease has rested that is seen to: its switch keeps to its terms while nobody looks.

        At its hard end it would be gone, and it rests only while a day of that is left of the budget of its results.
        """
        now = self._now()
        latest = min(now, lease.hard_end) if lease.hard_s else now
        allowance = self._ledger.waiting.allowance(lease.label)
        if allowance is None or lease.contact is None or not lease.rate.micros:
            return latest
        seen = min(lease.contact, now)
        left = allowance.most - price.for_seconds(REST_S) - lease.cost(seen)
        return min(latest, seen + max(0, left.micros) * 3600 / lease.rate.micros)

    def _settle(self, provider: Provider, lease: Lease, found: list[Instance], looked: float) -> Lease:
        if lease.state in {State.INTENT, State.UNKNOWN}:
            if self._held(lease):
                return lease  # another process is renting it just now
            lease = self._ledger.take_over(lease.label) if lease.token else lease
        if not found:
            young = 0 <= self._now() - lease.created < provider.traits.list_lag_s
            if lease.state in {State.INTENT, State.UNKNOWN}:
                return lease if young else self._not_shown(provider, lease, looked)
            return lease if young or not self._proven_gone(provider, lease) else self._gone(lease)
        if lease.state in {State.INTENT, State.UNKNOWN}:
            lease = self._bind(lease, found[0].id)
        self._end_extra(provider, lease, found)
        if lease.state is State.DESTROYING:  # whoever asked for its end has given up or died: never let it go on
            self._terminate(provider, lease)
        own = next((instance for instance in found if instance.id == lease.instance_id), None)
        return lease if own is None else self.observe(lease, own)

    def _not_shown(self, provider: Provider, lease: Lease, looked: float) -> Lease:
        """Call a create "never made" that lists do not show: one, another a whole lag later, and one a gap after that.

        When it was sent nobody knows: a laptop may have slept after the intent, and its process died after the create.
        """
        first, due = self._missing.get(lease.label, (looked, None))
        if due is None and looked - first >= provider.traits.list_lag_s:
            due = looked
        self._missing[lease.label] = (first, due)
        if due is None or looked - due < provider.traits.verify_gap_s:
            return lease
        del self._missing[lease.label]
        return self._never_made(lease, "never appeared")


def lease_of(instance: Instance, notebook: str, began: float) -> Lease:
    """Return a lease of which nothing is known but what the provider lists."""
    return Lease(
        label=instance.label,
        provider=instance.provider,
        notebook=notebook,
        name="",
        state=State.ADOPTED,
        gpu=instance.gpu,
        gpu_count=instance.gpu_count,
        machine=instance.machine,
        price=instance.price,
        stopped_price=instance.price,
        host_key="",
        nonce="",
        lease_s=0,
        hard_s=0,
        created=began,
        instance_id=instance.id,
        rates=(Rate(began, instance.price),),
    )
