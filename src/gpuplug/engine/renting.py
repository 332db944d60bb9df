"""The money protocol: intent, create, bind or find, destroy, prove.

Nothing here repeats a create, and nothing says "gone" that two listings and a direct reading have not shown.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from gpuplug.engine.bidding import bid_of
from gpuplug.engine.ending import BUDGET_SLACK_S, FIRST_WAIT_S, LONGEST_WAIT_S
from gpuplug.engine.settling import Settling
from gpuplug.errors import BudgetError, LedgerError, ProviderError, UnknownOutcomeError, UsageError
from gpuplug.ledger import HOLD_S, BytePrices, Lease, Order, Rate, State
from gpuplug.types import LABEL_PREFIX, Offer, Secret, Spec, StartParams

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.config import Options
    from gpuplug.providers import Provider

# Where a lease stands that its own process may go on with.
_USABLE = frozenset({State.BOUND, State.READY})


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
    return min(paid_s + BUDGET_SLACK_S, options.terms.hard)


def _order(offer: Offer, options: Options) -> Order:
    return Order(
        options.image,
        options.disk,
        options.volume,
        options.network_volume,
        offer.cloud.value if offer.cloud else "",
        offer.region,
        offer.reliability,
        offer.down_mbps,
    )


class Renting(Settling):
    """Leases of one ledger, from intent to proof of their end. Blocking; every wait has a deadline."""

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
            bound = self._bind(lease, instance_id, created=self._now(), contact=self._now())
        except UnknownOutcomeError as error:
            return self._found_lost(provider, lease, error)
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
            self._abandon(provider, self._ledger.move(lease.label, State.UNKNOWN, held=lease.token, note="interrupted"))
            raise
        if bound.state not in _USABLE or bound.instance_id != instance_id:
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
        try:
            return Secret(path.read_text(encoding="ascii")) if path.exists() else Secret("")
        except (OSError, UnicodeDecodeError) as error:
            raise LedgerError(
                f"the key of #{lease.instance_id} in {path} cannot be read: {_reason(error)}",
                billing=f"it bills {lease.rate}/h" if lease.billing else "",
                hint=f"%gpu down {lease.instance_id}",
            ) from error

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
            bid=bid_of(offer),
            rates=(Rate(self._now(), offer.stopped_price),),
            contact=self._now(),
            owner=f"process {os.getpid()}",
            token=secrets.token_hex(8),
            expires=self._now() + HOLD_S,
        )
        self._ledger.orders.keep(label, _order(offer, wish.options))
        byte_prices = BytePrices(offer.down_price_per_gb, offer.up_price_per_gb)
        if byte_prices != BytePrices():
            self._ledger.traffic.agree(label, byte_prices)
        try:
            self._ledger.intend(lease, wish.within)
        except (BudgetError, LedgerError):
            self._forget_keys(lease)
            raise
        return lease, start

    def _make_keys(self, label: str) -> tuple[Secret, str, str]:
        from gpuplug.streams.ssh import make_key  # noqa: PLC0415 - paramiko is loaded only when something is rented

        host, user = make_key(), make_key()
        try:
            self._keys.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._keys / label, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(user.private.reveal())
        except OSError as error:
            raise LedgerError(
                f"the key of a new instance cannot be kept in {self._keys}: {_reason(error)}",
                hint="nothing was rented; make room there, or set GPUPLUG_HOME to a folder that you may write to",
            ) from error
        return host.private, host.public, user.public

    def _found_lost(self, provider: Provider, lease: Lease, error: UnknownOutcomeError) -> Lease:
        try:
            return self._find_lost(provider, lease, error)
        except LedgerError as broken:
            broken.billing = f"{error.message}: it is not certain that nothing bills; {lease.label} is its label"
            raise

    def _find_lost(self, provider: Provider, lease: Lease, error: UnknownOutcomeError) -> Lease:
        lease = self._ledger.move(
            lease.label, State.UNKNOWN, held=lease.token, note=error.message, created=self._now(), contact=self._now()
        )
        deadline = self._clock.monotonic() + provider.traits.list_lag_s
        wait = FIRST_WAIT_S
        try:
            while True:
                lease = self._bind_by_label(provider, self._hold(lease))
                if lease.state in _USABLE:
                    return lease
                if lease.state is not State.UNKNOWN or self._clock.monotonic() >= deadline:
                    break
                self._clock.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT_S)
        except KeyboardInterrupt:
            self._abandon(provider, lease)
            raise
        self._release(lease)
        raise UnknownOutcomeError(
            f"{error.message}; the list does not show it after {provider.traits.list_lag_s:.0f} s",
            billing="it is not certain that nothing bills: the ledger keeps looking for its label",
            hint="%gpu ls",
        ) from error

    def _hold(self, lease: Lease) -> Lease:
        """Keep others from settling `lease` for a while longer."""
        return self._ledger.amend(lease.label, held=lease.token, expires=self._now() + HOLD_S) if lease.token else lease

    def _release(self, lease: Lease) -> Lease:
        """Leave `lease` to whoever settles it."""
        return self._ledger.amend(lease.label, held=lease.token, owner="", token="", expires=0.0)

    def _abandon(self, provider: Provider, lease: Lease) -> None:
        self.destroy(provider, self._release(lease), lambda _: None)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
