"""The money protocol: intent, create, bind or find, destroy, prove.

Nothing here repeats a create, and nothing says "gone" that two listings and a direct reading have not shown.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from gpuplug.errors import (
    AuthError,
    BudgetError,
    GpuplugError,
    LedgerError,
    ProviderError,
    UnknownOutcomeError,
    UsageError,
)
from gpuplug.ledger import FINAL, Lease, Ledger, Rate, State
from gpuplug.types import LABEL_PREFIX, ZERO, Clock, Instance, InstanceState, Offer, Secret, Spec, StartParams

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpuplug.config import Options
    from gpuplug.providers import Provider

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 8.0
_BUDGET_SLACK_S = 60  # until the first cell sets its own deadline, with the same slack for bringing results home
PROOF_DEADLINE_S = 180.0
TOMBSTONE_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Wish:
    """Who rents and under which terms. `within` raises where a lease passes a budget."""

    notebook: str
    name: str
    options: Options
    within: Callable[[Lease], None] = lambda _: None


def _budget_s(offer: Offer, options: Options) -> int:
    """Return after how many seconds the instance's own switch ends it for money, until a cell sets its own deadline."""
    if not offer.price.micros:
        return options.terms.hard
    paid_s = options.budget.micros * 3600 // offer.price.micros
    return min(paid_s + _BUDGET_SLACK_S, options.terms.hard)


class Renting:
    """Leases of one ledger. Blocking; every wait has a deadline."""

    def __init__(self, ledger: Ledger, keys: Path, clock: Clock) -> None:
        self._ledger = ledger
        self._keys = keys
        self._clock = clock

    def rent(self, provider: Provider, offer: Offer, wish: Wish) -> Lease:
        """Rent `offer`: COSTS MONEY from here on. Returns the bound lease.

        Raises:
            OfferGoneError: taken meanwhile; nothing was made.
            ProviderError: nothing was made, or (UnknownOutcomeError) it is not known and the ledger keeps looking.
        """
        lease, start = self._intend(provider, offer, wish)
        options = wish.options
        spec = Spec(
            options.image,
            options.disk,
            options.max_price,
            start,
            lease.bid if offer.spot else None,
            volume_gb=options.volume,
            network_volume=options.network_volume,
        )
        instance_id = ""
        try:
            instance_id = provider.launch(offer, spec, lease.label)
            # The lag of the lists counts from here: the laptop may have slept since the intent.
            bound = self._ledger.move(lease.label, State.BOUND, instance_id=instance_id, created=self._now())
        except UnknownOutcomeError as error:
            return self._find_lost(provider, lease, error)
        except (ProviderError, UsageError):
            self._never_made(lease, "refused")
            raise
        except LedgerError as error:  # what cannot be written down must not go on billing
            trouble = self._terminate(provider, lease, instance_id)
            error.billing = f"#{instance_id} was rented and its end asked for" + (
                f", which failed: {trouble.message}" if trouble else ""
            )
            raise
        except BaseException:  # an interrupt in mid-call: the instance may exist, so look for it before anything else
            self._abandon(provider, self._ledger.move(lease.label, State.UNKNOWN, note="interrupted"))
            raise
        if bound.state is not State.BOUND:
            self._end_late(provider, lease, instance_id)
        return bound

    def _end_late(self, provider: Provider, lease: Lease, instance_id: str) -> NoReturn:
        """End an instance whose lease another process has given up while it was made: its keys are thrown away."""
        self._ledger.reopen(lease.label, instance_id, lease.price)
        # The lag of the lists counts from here, as it does for what is bound.
        late = self._ledger.amend(lease.label, created=self._now())
        ended = self.destroy(provider, late, lambda _: None)
        raise ProviderError(
            f"the create of {lease.gpu} took so long that another process had given it up; #{instance_id} was not used",
            billing="" if ended.state is State.GONE else f"#{instance_id} is NOT PROVEN GONE, take it as billing",
            hint="run the cell again",
        )

    def identity_key(self, lease: Lease) -> Secret:
        """Return the private user key of the lease; empty when the provider needs none."""
        path = self._keys / lease.label
        return Secret(path.read_text(encoding="ascii")) if path.exists() else Secret("")

    def destroy(
        self, provider: Provider, lease: Lease, say: Callable[[str], None], deadline_s: float = PROOF_DEADLINE_S
    ) -> Lease:
        """Ask for the end of `lease` and prove it. May be repeated.

        Returns the lease as GONE, or as DESTROYING when the proof did not come before the deadline: then it must
        be taken as billing. Where nothing boots there is one attempt: who does not answer now will not by waiting.
        """
        if not lease.instance_id:
            lease = self._bind_by_label(provider, lease)
        if not lease.instance_id:
            return self._forget_unknown(provider, lease, deadline_s)
        lease = self._ledger.move(lease.label, State.DESTROYING)
        deadline = self._clock.monotonic() + (deadline_s if provider.traits.boots else 0.0)
        wait = _FIRST_WAIT_S
        while True:
            trouble = self._terminate(provider, lease)
            if not trouble and self._proven_gone(provider, lease):
                return self._gone(lease)
            # A key that is not accepted will not be by waiting.
            if isinstance(trouble, AuthError) or self._clock.monotonic() + wait >= deadline:
                say(f"#{lease.instance_id} is not proven gone: {trouble or 'the provider still lists it'}")
                return self._ledger.lease(lease.label)
            self._clock.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    def reconcile(self, provider: Provider, seen: list[Instance]) -> list[Lease]:
        """Bring the open leases of `provider` in line with its list; returns them as they then stand."""
        self.reopen_late(provider, seen, lambda _: None)
        by_label: dict[str, list[Instance]] = {}
        for instance in sorted(seen, key=lambda instance: instance.id):  # every process keeps the same one
            by_label.setdefault(instance.label, []).append(instance)
        leases = [lease for lease in self._ledger.open_leases() if lease.provider == provider.name]
        return [self._settle(provider, lease, by_label.get(lease.label, [])) for lease in leases]

    def reopen_late(self, provider: Provider, seen: list[Instance], say: Callable[[str], None]) -> None:
        """Take back that an instance is gone or was never made when the list shows it after all, and ask for its end.

        A create whose reply was lost may come up long after its time; its keys are thrown away by then.
        """
        listed = {instance.label: instance for instance in seen}
        for lease in self._ledger.leases(self._now() - TOMBSTONE_S):
            instance = listed.get(lease.label)
            if instance is None or lease.state not in FINAL or lease.provider != provider.name:
                continue
            say(
                f"#{instance.id} {lease.gpu} {provider.name} is listed though it was taken as {lease.state.value}: ending it"
            )
            self._ledger.reopen(lease.label, instance.id, instance.price)
            self._terminate(provider, lease, instance.id)

    def adopt(self, instance: Instance, notebook: str) -> Lease:
        """Write an instance with our label that this ledger does not know into it: what it costs and its end are ours.

        Its keys lie on the computer that rented it, so that no cell can run there from here.
        """
        began = instance.started.timestamp() if instance.started else self._now()
        lease = Lease(
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
        self._ledger.intend(lease)
        return lease

    def observe(self, lease: Lease, instance: Instance) -> Lease:
        """Note what the instance bills from now on."""
        if instance.state not in {InstanceState.RUNNING, InstanceState.STOPPED}:
            return lease
        if instance.state is InstanceState.RUNNING and instance.price != lease.price:
            self._ledger.amend(lease.label, price=instance.price)
        return self._ledger.charge(lease.label, instance.price)

    def _intend(self, provider: Provider, offer: Offer, wish: Wish) -> tuple[Lease, StartParams]:
        label = LABEL_PREFIX + secrets.token_hex(16)
        host_private, host_public, user_public = (
            self._make_keys(label) if provider.traits.identity else (Secret(""), "", "")
        )
        terms = wish.options.terms
        start = StartParams(
            host_private, user_public, secrets.token_hex(16), terms.lease, terms.hard, _budget_s(offer, wish.options)
        )
        lease = Lease(
            label=label,
            provider=provider.name,
            notebook=wish.notebook,
            name=wish.name,
            state=State.INTENT,
            gpu=offer.gpu,
            gpu_count=offer.gpu_count,
            machine=offer.machine,
            price=offer.price,
            stopped_price=offer.stopped_price,
            host_key=host_public,
            nonce=start.nonce,
            lease_s=terms.lease,
            hard_s=terms.hard,
            created=self._now(),
            simulated=provider.traits.simulated,
            sent_key=host_public,
            vram_mb=offer.vram_mb,
            cuda=offer.cuda,
            bid=offer.price - offer.stopped_price if offer.spot else ZERO,
            rates=(Rate(self._now(), offer.stopped_price),),
        )
        try:
            self._ledger.intend(lease, wish.within)
        except BudgetError:
            (self._keys / label).unlink(missing_ok=True)
            raise
        return lease, start

    def _make_keys(self, label: str) -> tuple[Secret, str, str]:
        from gpuplug.streams.ssh import make_key  # noqa: PLC0415 - paramiko is loaded only when something is rented

        host, user = make_key(), make_key()
        self._keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._keys / label, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(user.private.reveal())
        return host.private, host.public, user.public

    def _find_lost(self, provider: Provider, lease: Lease, error: UnknownOutcomeError) -> Lease:
        lease = self._ledger.move(lease.label, State.UNKNOWN, note=error.message, created=self._now())
        deadline = self._clock.monotonic() + provider.traits.list_lag_s
        wait = _FIRST_WAIT_S
        try:
            while True:
                lease = self._bind_by_label(provider, lease)
                if lease.instance_id:
                    return lease
                if self._clock.monotonic() >= deadline:
                    break
                self._clock.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_S)
        except KeyboardInterrupt:
            self._abandon(provider, lease)
            raise
        raise UnknownOutcomeError(
            f"{error.message}; the list does not show it after {provider.traits.list_lag_s:.0f} s",
            billing="it is not certain that nothing bills: the ledger keeps looking for its label",
            hint="%gpu ls",
        ) from error

    def _bind_by_label(self, provider: Provider, lease: Lease) -> Lease:
        try:
            listed = [instance for instance in provider.instances() if instance.label == lease.label]
        except GpuplugError:
            return lease  # still unknown: the caller's deadline decides
        if not listed:
            return lease
        found = sorted(listed, key=lambda instance: instance.id)  # every process keeps the same one
        lease = self._ledger.move(lease.label, State.BOUND, instance_id=found[0].id)
        self._end_extra(provider, lease, found)
        return lease

    def _abandon(self, provider: Provider, lease: Lease) -> None:
        self.destroy(provider, lease, lambda _: None)

    def _forget_unknown(self, provider: Provider, lease: Lease, deadline_s: float) -> Lease:
        """Wait out the list's lag before an unknown create may be called "never made"."""
        began = self._clock.monotonic()
        deadline = began + min(deadline_s, provider.traits.list_lag_s + provider.traits.verify_gap_s)
        while self._clock.monotonic() < deadline:
            self._clock.sleep(max(_FIRST_WAIT_S, provider.traits.verify_gap_s))
            lease = self._bind_by_label(provider, lease)
            if lease.instance_id:
                return self.destroy(provider, lease, lambda _: None, deadline_s)
        # The wall clock may have been set since: what was waited here counts too.
        age_s = max(self._now() - lease.created, self._clock.monotonic() - began)
        if age_s >= provider.traits.list_lag_s and self._absent(provider, lease):
            return self._never_made(lease, "never appeared")
        return lease

    def _forget_unlisted(self, provider: Provider, lease: Lease) -> Lease:
        """Call a create "never made" that a list has just not shown, if another one, a whole lag later, does not either.

        When it was sent nobody knows: a laptop may have slept after the intent, and its process died after the create.
        """
        self._clock.sleep(max(provider.traits.list_lag_s, provider.traits.verify_gap_s))
        return self._forget_unknown(provider, lease, 0)

    def _terminate(self, provider: Provider, lease: Lease, instance_id: str = "") -> GpuplugError | None:
        """Ask for an end; return what went wrong."""
        try:
            provider.terminate(instance_id or lease.instance_id)
        except GpuplugError as error:
            return error
        return None

    def _end_extra(self, provider: Provider, lease: Lease, found: list[Instance]) -> None:
        """Ask for the end of what one create made beside the instance of `lease`: it would bill, and nobody would use it."""
        for instance in found:
            if instance.id != lease.instance_id:
                self._terminate(provider, lease, instance.id)

    def _absent(self, provider: Provider, lease: Lease) -> bool:
        """Tell whether the provider's list is there and shows neither the label nor the id; no proof without an answer.

        What it shows of the label beside the lease's own instance is asked to end.
        """
        try:
            seen = provider.instances()
        except GpuplugError:
            return False
        left = [one for one in seen if one.label == lease.label or one.id == lease.instance_id]
        if lease.instance_id:
            self._end_extra(provider, lease, left)
        return not left

    def _proven_gone(self, provider: Provider, lease: Lease) -> bool:
        lag_s = provider.traits.list_lag_s
        age_s = self._now() - lease.created
        if age_s < lag_s:  # neither list nor reading need show yet that it is there
            self._clock.sleep(min(lag_s, lag_s - age_s))
        if not self._absent(provider, lease):
            return False
        self._clock.sleep(provider.traits.verify_gap_s)
        try:
            return self._absent(provider, lease) and provider.show(lease.instance_id) is None
        except GpuplugError:
            return False

    def _never_made(self, lease: Lease, note: str) -> Lease:
        (self._keys / lease.label).unlink(missing_ok=True)
        return self._ledger.move(lease.label, State.FAILED, ended=self._now(), note=note)

    def _gone(self, lease: Lease) -> Lease:
        (self._keys / lease.label).unlink(missing_ok=True)
        # What ended by itself while nobody looked ended at its hard end at the latest.
        latest = lease.created + lease.hard_s + _BUDGET_SLACK_S
        by_itself = lease.hard_s and lease.state is not State.DESTROYING
        return self._ledger.move(lease.label, State.GONE, ended=min(self._now(), latest) if by_itself else self._now())

    def _settle(self, provider: Provider, lease: Lease, found: list[Instance]) -> Lease:
        if not found:
            young = 0 <= self._now() - lease.created < provider.traits.list_lag_s
            if lease.state in {State.INTENT, State.UNKNOWN}:
                return lease if young else self._forget_unlisted(provider, lease)
            return lease if young or not self._proven_gone(provider, lease) else self._gone(lease)
        if lease.state in {State.INTENT, State.UNKNOWN}:
            lease = self._ledger.move(lease.label, State.BOUND, instance_id=found[0].id)
        self._end_extra(provider, lease, found)
        if lease.state is State.DESTROYING:  # whoever asked for its end has given up or died: never let it go on
            self._terminate(provider, lease)
        own = next((instance for instance in found if instance.id == lease.instance_id), None)
        return lease if own is None else self.observe(lease, own)

    def _now(self) -> float:
        return self._clock.now().timestamp()
