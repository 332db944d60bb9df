"""The end of a lease: asked for, proven, and never called gone before that.

Nothing says "gone" that two listings and a direct reading have not shown.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from gpuplug.engine.times import is_wrong
from gpuplug.errors import AuthError, GpuplugError, LedgerError
from gpuplug.ledger import Lease, Ledger, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpuplug.providers import Provider
    from gpuplug.types import Clock, Instance

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
BUDGET_SLACK_S = 60  # until the first cell sets its own deadline, with the same slack for bringing results home
PROOF_DEADLINE_S = 180.0
KNOWN_HOSTS = ".known_hosts"  # beside the key of an instance: its host key, for a person's own ssh
_HELD_POLL_S = 1.0
_WORTH_SAYING_S = 5.0


class Ending:
    """Ends leases of one ledger. Blocking; every wait has a deadline."""

    def __init__(self, ledger: Ledger, keys: Path, clock: Clock) -> None:
        self._ledger = ledger
        self._keys = keys
        self._clock = clock

    def destroy(
        self, provider: Provider, lease: Lease, say: Callable[[str], None], deadline_s: float = PROOF_DEADLINE_S
    ) -> Lease:
        """Ask for the end of `lease` and prove it. May be repeated.

        Returns the lease as GONE, or as DESTROYING when the proof did not come before the deadline: then it must
        be taken as billing. Where nothing boots there is one attempt: who does not answer now will not by waiting.
        """
        lease = self._unheld(lease, say, deadline_s)
        if not lease.instance_id:
            lease = self._bind_by_label(provider, lease)
        if not lease.instance_id:
            return lease if self._held(lease) else self._forget_unknown(provider, lease, deadline_s)
        lease = self._marked(lease, say)
        if self.end_unrecorded(provider, lease, say, deadline_s):
            return self._said_to_be_gone(lease, say)
        try:
            return self._ledger.lease(lease.label)
        except LedgerError:
            return lease

    def end_unrecorded(
        self, provider: Provider, lease: Lease, say: Callable[[str], None], deadline_s: float = PROOF_DEADLINE_S
    ) -> bool:
        """Ask for the end of `lease`, whose id is known, and tell whether it is proven; the ledger is not touched."""
        deadline = self._clock.monotonic() + (deadline_s if provider.traits.boots else 0.0)
        wait = FIRST_WAIT_S
        self._say_why_it_takes_long(provider, lease, say)
        while True:
            trouble = self._terminate(provider, lease)
            if not trouble and self._proven_gone(provider, lease):
                return True
            # A key that is not accepted will not be by waiting.
            if isinstance(trouble, AuthError) or self._clock.monotonic() + wait >= deadline:
                say(f"#{lease.instance_id} is not proven gone: {trouble or 'the provider still lists it'}")
                return False
            self._clock.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_S)

    def _marked(self, lease: Lease, say: Callable[[str], None]) -> Lease:
        """Note that the end of `lease` is wanted. What cannot be written down is ended all the same."""
        try:
            return self._ledger.move(lease.label, State.DESTROYING)
        except LedgerError as error:
            say(f"{error.message}; #{lease.instance_id} is ended all the same")
            return replace(lease, state=State.DESTROYING)

    def _said_to_be_gone(self, lease: Lease, say: Callable[[str], None]) -> Lease:
        try:
            return self._gone(lease)
        except LedgerError as error:
            say(
                f"that #{lease.instance_id} is gone could not be written down, and will be proven again: {error.message}"
            )
            return replace(lease, state=State.GONE, ended=self._now())

    def _unheld(self, lease: Lease, say: Callable[[str], None], deadline_s: float) -> Lease:
        """Wait until the process that is renting `lease` has bound it or given it up, or is late; then take it over."""
        deadline = self._clock.monotonic() + deadline_s
        if self._held(lease):
            say(f"{lease.owner} is just renting {lease.gpu} {lease.provider}: waiting for what comes of it")
        while self._held(lease) and self._clock.monotonic() < deadline:
            self._clock.sleep(_HELD_POLL_S)
            lease = self._ledger.lease(lease.label)
        return lease if self._held(lease) or not lease.token else self._ledger.take_over(lease.label)

    def _held(self, lease: Lease) -> bool:
        return lease.held(self._now())

    def _say_why_it_takes_long(self, provider: Provider, lease: Lease, say: Callable[[str], None]) -> None:
        left_s = provider.traits.list_lag_s - max(0.0, self._now() - lease.created)
        if left_s > _WORTH_SAYING_S:
            say(
                f"#{lease.instance_id} is young and a list may lag by {provider.traits.list_lag_s:.0f} s: the proof of its "
                f"end takes {left_s + provider.traits.verify_gap_s:.0f} s; an interrupt leaves that to the next looks, "
                "and until then it counts as billing"
            )

    def _bind(self, lease: Lease, instance_id: str, **changes: float) -> Lease:
        """Give `lease` its instance, unless another process has taken it over meanwhile; returns it as it then stands."""
        # Whenever its create was sent, its lease begins when it is found: nobody could be in touch before.
        return self._ledger.bind(lease.label, lease.token, instance_id, **{"contact": self._now(), **changes})

    def _bind_by_label(self, provider: Provider, lease: Lease) -> Lease:
        return self._bind_listed(provider, lease, self._labelled(provider, lease) or [])

    def _bind_listed(self, provider: Provider, lease: Lease, found: list[Instance]) -> Lease:
        if not found:
            return lease  # still unknown: the caller's deadline decides
        lease = self._bind(lease, found[0].id)
        self._end_extra(provider, lease, found)
        return lease

    def _labelled(self, provider: Provider, lease: Lease) -> list[Instance] | None:
        """Return what the provider lists with the label of `lease`, for every process in the same order; None without an answer."""
        try:
            listed = [instance for instance in provider.instances() if instance.label == lease.label]
        except GpuplugError:
            return None
        return sorted(listed, key=lambda instance: instance.id)

    def _forget_unknown(self, provider: Provider, lease: Lease, deadline_s: float) -> Lease:
        """Wait out the list's lag: an unknown create was "never made" when two lists a gap apart must show it and do not."""
        lag_s, gap_s = provider.traits.list_lag_s, provider.traits.verify_gap_s
        # When it was sent nobody knows, and the wall clock may have been set since.
        began = self._clock.monotonic()
        deadline = began + min(deadline_s, lag_s + gap_s)
        absent: float | None = None
        while True:
            found = self._labelled(provider, lease)
            lease = self._bind_listed(provider, lease, found or [])
            if lease.instance_id:
                return self.destroy(provider, lease, lambda _: None, deadline_s)
            now = self._clock.monotonic()
            if found is not None and now - began >= lag_s:
                absent = now if absent is None else absent
                if now - absent >= gap_s:
                    return self._never_made(lease, "never appeared")
            if now >= deadline:
                return lease
            self._clock.sleep(max(FIRST_WAIT_S, gap_s))

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
        if not self._unknown_there(provider, lease):
            return False
        if not lag_s or not is_wrong(provider, self._clock):
            return True
        self._clock.sleep(lag_s)  # by a clock that is wrong it may be younger than it seems
        return self._unknown_there(provider, lease)

    def _unknown_there(self, provider: Provider, lease: Lease) -> bool:
        """Tell whether neither the list nor a direct reading shows it."""
        try:
            return self._absent(provider, lease) and provider.show(lease.instance_id) is None
        except GpuplugError:
            return False

    def _forget_keys(self, lease: Lease) -> None:
        with contextlib.suppress(OSError):  # of no use to anybody, now that the machine is not there
            for suffix in ("", KNOWN_HOSTS):
                (self._keys / f"{lease.label}{suffix}").unlink(missing_ok=True)

    def _never_made(self, lease: Lease, note: str) -> Lease:
        self._forget_keys(lease)
        return self._ledger.move(lease.label, State.FAILED, ended=self._ended(lease), note=note)

    def _gone(self, lease: Lease) -> Lease:
        self._forget_keys(lease)
        # What ended by itself while nobody looked ended at its hard end at the latest.
        latest = lease.hard_end + BUDGET_SLACK_S
        by_itself = lease.hard_s and lease.state is not State.DESTROYING
        ended = self._ended(lease)
        return self._ledger.move(lease.label, State.GONE, ended=min(ended, latest) if by_itself else ended)

    def _ended(self, lease: Lease) -> float:
        """Return now, but not before it was rented: by a clock that is behind, the week in which it may come up late were over."""
        return max(self._now(), lease.created)

    def _now(self) -> float:
        return self._clock.now().timestamp()
