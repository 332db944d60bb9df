"""Where an instance would not end itself: this process is its only guard then, and is quicker than the switch would be.

One policy. Before a cell runs another machine is taken where there is one (`acquiring`). Else, and also when a switch is
lost later: a cell that runs goes on within its budget, and an instance that nothing runs on is ended; at once when its
switch was killed, because its host did that, else when it is idle for `IDLE_S`, and `HARD_S` after it was reached. Only
with results that nobody has it is kept until then.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

from gpuplug.errors import HostError
from gpuplug.ledger import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gpuplug.engine.linking import Live
    from gpuplug.engine.talk import Talk
    from gpuplug.ledger import Lease
    from gpuplug.types import Clock

IDLE_S = 300.0
HARD_S = 3600.0
KILLED = "silent"
_FIRST_LOOK_S = 15.0
_POLL_S = 0.2
_JOIN_S = 5.0
_SHOWN = 120


def lacking(switch: str) -> str:
    """Return why an instance whose switch says `switch` would not end itself; "" when it would."""
    from gpuplug.outputs import clean_text  # noqa: PLC0415 - `%load_ext` must not pay for it

    word = clean_text(switch)[:_SHOWN]
    if word == KILLED:
        return "its dead man's switch does not answer any more: killed or stopped"
    return "" if word == "armed" or word.startswith("ending ") else f"its dead man's switch is not armed: {word}"


def await_switch(live: Live, clock: Clock) -> None:
    """Note what the switch says; one that is not armed may still be trying, so ask for a moment. Blocks for 15 s at most."""
    deadline = clock.monotonic() + _FIRST_LOOK_S
    while True:
        live.switch = str(live.session.request("ping").header.get("switch"))
        if not lacking(live.switch) or clock.monotonic() >= deadline:
            return
        clock.sleep(_POLL_S)


def why_unguarded(live: Live) -> str:
    """Return why `live` would not end itself, by the last heartbeat; "" when it would, or costs nothing."""
    if not live.provider.traits.self_destroy:
        return ""
    return lacking(str(live.session.health.get("switch", live.switch)))


def seconds_left(lease: Lease, clock: Clock) -> float:
    """Return for how long a cell may still run on an unguarded instance: until an hour after it was reached."""
    since = lease.created if lease.begun is None else lease.begun
    return max(0.0, since + min(HARD_S, lease.hard_s) - clock.now().timestamp())


def worst_case(lease: Lease) -> str:
    """Say what an instance that would not end itself can cost at most, and what nothing guards against."""
    hard_s = min(HARD_S, lease.hard_s)
    return (
        f"this notebook alone ends #{lease.instance_id}: {min(IDLE_S, lease.lease_s) / 60:.0f} min after the last cell, and "
        f"{hard_s / 60:.0f} min after it was reached ({lease.price.for_seconds(round(hard_s))}). While this computer sleeps or this "
        "kernel is dead nothing ends it but `%gpu down` or `gpuplug reap`, and only the account's credit is a limit"
    )


def told(live: Live, talk: Talk) -> Live:
    """Return `live`; say so when it would not end itself, and what can be lost then."""
    if why := why_unguarded(live):
        talk.note(f"no dead man's switch here: {why}. {worst_case(live.lease)}")
    return live


def _ends(health: Mapping[str, Any]) -> bool:
    """Tell whether the switch is ending the instance: one that still answers is ended from here too, should the switch fail."""
    return str(health.get("switch")).startswith("ending ")


class Guard:
    """Ends what would not end itself; by heartbeats, so that no further question is asked. Thread-safe.

    Args:
        clock: measures.
        end: destroys leases and proves it; called from a thread of its own.
    """

    def __init__(self, clock: Clock, end: Callable[[Iterable[Lease], Callable[[str], None]], list[Lease]]) -> None:
        self._clock = clock
        self._end = end
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._idle_since: dict[str, float] = {}
        self._ended: dict[str, str] = {}
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def watch(self, live: Live) -> None:
        """Look at each heartbeat of `live` from now on, besides who does already."""
        before = live.session.on_beat

        def beat(health: Mapping[str, Any]) -> None:
            before(health)
            self._beat(live, health)

        live.session.on_beat = beat

    @contextlib.contextmanager
    def using(self, live: Live) -> Iterator[None]:
        """Leave `live` alone meanwhile.

        Raises:
            HostError: it is being ended.
        """
        label = live.lease.label
        with self._lock:
            if label in self._ended:
                raise HostError(
                    f"#{live.lease.instance_id} is being ended: {self._ended[label]}", hint="run the cell again"
                )
            self._used.add(label)
            self._idle_since.pop(label, None)
        try:
            yield
        finally:
            with self._lock:
                self._used.discard(label)

    def is_lost(self, live: Live, talk: Talk) -> bool:
        """Tell, and say, whether `live` must go now that its cell is over: its host has killed the switch."""
        why = why_unguarded(live)
        if not why or str(live.session.health.get("switch")) != KILLED:
            return False
        talk.note(f"#{live.lease.instance_id} is not kept: {why}")
        return True

    def news(self) -> list[str]:
        """Return what was ended meanwhile, each once."""
        found: list[str] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._news.get_nowait())
        return found

    def close(self) -> None:
        """Wait a moment for ends that are being asked for; what is not proven then, the ledger goes on with."""
        for thread in self._threads:
            thread.join(_JOIN_S)

    def _beat(self, live: Live, health: Mapping[str, Any]) -> None:
        why = why_unguarded(live)
        with self._lock:
            label = live.lease.label
            if not (why or _ends(health)) or health.get("busy") != 0 or label in self._used or label in self._ended:
                self._idle_since.pop(label, None)
                return
            idle_s = self._clock.monotonic() - self._idle_since.setdefault(label, self._clock.monotonic())
            at_once = health.get("switch") == KILLED or _ends(health)
            kept = health.get("unfetched") or (not at_once and idle_s < min(IDLE_S, live.lease.lease_s))
            if kept and seconds_left(live.lease, self._clock) > 0:
                return
            self._ended[label] = why or "its time was over"
        # A heartbeat must not wait for proofs.
        thread = threading.Thread(
            target=self._finish, args=(live.lease, self._ended[label]), name="gpuplug-guard", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _finish(self, lease: Lease, why: str) -> None:
        at = self._clock.now().strftime("%H:%M UTC")
        (after,) = self._end([lease], lambda _: None)
        proof = "gone (verified)" if after.state is State.GONE else "NOT PROVEN GONE, take it as billing"
        cost = after.cost(self._clock.now().timestamp())
        self._news.put(
            f"#{lease.instance_id} {lease.gpu} {lease.provider} was ended at {at}, {why}: {proof}; it cost {cost}"
        )
