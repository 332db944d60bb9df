"""Rest and restart of an instance: its disk stays, and bills, while its GPU goes back to the market."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug.engine.settling import RESTS_ITSELF, WISHED
from gpuplug.errors import NoOfferError, NotReadyError, ProviderError, UsageError
from gpuplug.ledger import Lease, Ledger, State
from gpuplug.providers import Provider, pausable
from gpuplug.types import Clock, InstanceState

if TYPE_CHECKING:
    from gpuplug.engine.renting import Renting

DEADLINE_S = 180.0
_POLL_S = 3.0
_FASTEST_POLL_S = 0.2


class Pausing:
    """Stops and starts leases. Blocking; every wait has a deadline."""

    def __init__(self, ledger: Ledger, renting: Renting, clock: Clock) -> None:
        self._ledger = ledger
        self._renting = renting
        self._clock = clock

    def ask(self, provider: Provider, lease: Lease) -> None:
        """Ask for the rest of `lease`: ITS DISK BILLS ON. May be repeated.

        Raises:
            UsageError: an instance of this platform cannot rest, or another computer rented it.
            ProviderError: it was not accepted.
        """
        if lease.state is State.ADOPTED:
            raise UsageError(
                f"#{lease.instance_id} was rented by another computer: from here it cannot rest and run again, only end",
                billing=f"it bills {lease.rate}/h",
                hint=f"%gpu down {lease.instance_id}",
            )
        power = pausable(provider)
        self._wish(lease)  # before: for whoever looks meanwhile, or after this process
        power.stop(lease.instance_id)

    def keep(self, lease: Lease) -> Lease:
        """Let `lease`, which rests by itself within a budget, rest by the user's wish: ITS DISK BILLS ON. May be repeated."""
        return self._wish(lease)

    def _wish(self, lease: Lease) -> Lease:
        """Note that the user wants it to rest: that is not ended for money."""
        if lease.state not in {State.READY, State.STOPPED}:  # the note may hold the host key that comes next
            return lease
        return self._ledger.amend(lease.label, note=WISHED)

    def rest(self, provider: Provider, lease: Lease) -> Lease:
        """Wait until `lease` rests, and return it as the provider shows it then.

        Raises:
            ProviderError: the instance still runs at the deadline.
        """
        if not self._wait(provider, lease, resting=True):
            raise ProviderError(
                f"#{lease.instance_id} was asked to stop and still runs after {DEADLINE_S:.0f} s",
                billing=f"take it as billing {lease.price}/h",
                hint=f"%gpu down {lease.instance_id}",
            )
        self._wish(lease)
        return self._ledger.move(lease.label, State.STOPPED)

    def start(self, provider: Provider, lease: Lease) -> Lease:
        """Ask for `lease` to run again: COSTS MONEY from here on. The machine is not reached yet.

        Raises:
            UsageError: it does not rest.
            NoOfferError: its GPU is taken; the wish is taken back, so that it does not start unseen later.
            ProviderError: it was not accepted.
        """
        if lease.state is not State.STOPPED:
            raise UsageError(f"#{lease.instance_id} is {lease.state.value}, not stopped", hint="%gpu ls")
        power = pausable(provider)
        self._ledger.amend(lease.label, contact=self._clock.now().timestamp())  # nobody may end it meanwhile
        try:
            power.start(lease.instance_id)
        except NotReadyError as error:
            power.stop(lease.instance_id)
            raise NoOfferError(
                f"the GPU of #{lease.instance_id} is taken: {error.message}",
                billing=f"its disk still bills {lease.rate}/h",
                hint=f"%gpu start again later, or %gpu down {lease.instance_id} and take another machine",
            ) from error
        if not self._wait(provider, lease, resting=False):
            raise ProviderError(
                f"#{lease.instance_id} was asked to start and still rests after {DEADLINE_S:.0f} s",
                billing=f"its disk bills {lease.rate}/h, and it may start later",
                hint=f"%gpu down {lease.instance_id}",
            )
        now = self._clock.now().timestamp()  # its switch counts anew
        self._ledger.waiting.rests(lease.label, None)
        note = "" if lease.note in {WISHED, RESTS_ITSELF} else lease.note
        if provider.traits.stop_keeps_disk:
            return self._ledger.move(lease.label, State.BOUND, begun=now, contact=now, note=note)
        # The start command runs again on an empty disk and puts the first host key back in place.
        return self._ledger.move(
            lease.label, State.BOUND, begun=now, contact=now, host_key=lease.sent_key, rotated=False, note=note
        )

    def _wait(self, provider: Provider, lease: Lease, *, resting: bool) -> bool:
        deadline = self._clock.monotonic() + DEADLINE_S
        while self._clock.monotonic() < deadline:
            instance = provider.show(lease.instance_id)
            if instance is None:
                raise ProviderError(f"#{lease.instance_id} is gone at {provider.name}", hint="%gpu ls")
            self._renting.observe(lease, instance)
            if (instance.state is InstanceState.STOPPED) is resting:
                return True
            self._clock.sleep(min(_POLL_S, max(_FASTEST_POLL_S, provider.traits.verify_gap_s)))
        return False
