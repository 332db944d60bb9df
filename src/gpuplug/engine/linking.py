"""From a bound lease to a session: wait until it answers, prove the host, rotate its key, check the hardware."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpuplug.engine.contacts import Contacts
from gpuplug.engine.guarding import await_switch
from gpuplug.engine.proving import check_hardware, check_standing
from gpuplug.errors import (
    HostError,
    HostKeyError,
    NotReadyError,
    ReplyError,
    TooDearError,
    UnreachableError,
    WrongHardwareError,
)
from gpuplug.ledger import FINAL, Lease, Ledger, State
from gpuplug.streams.metering import ByteMeter, MeteredConnection
from gpuplug.types import Clock, Identity, Instance, InstanceState, Money

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gpuplug.engine.renting import Renting
    from gpuplug.engine.talk import Talk
    from gpuplug.providers import Provider
    from gpuplug.session import Session
    from gpuplug.streams import Connection
    from gpuplug.sync import Sync

AGENT_DEADLINE_S = 60.0
FROM_LOG = "host key from the container log"
_NEXT_KEY = "next host key: "
_LOG_PAUSE_S = 5.0
_FRESH = 0.2  # a pull that has said something within this part of the patience makes progress


@dataclass(slots=True)
class Live:
    """An instance that can run cells now.

    `switch` is what its switch said at first; `sent` holds the digest of each variable as the instance has it; `arrived`
    the variables of cells that ran on when nobody was there, until the notebook takes them. `mark` is what the meter
    showed when the last cell's way began. `refused` is since when the platform refuses the key, once that was said.
    `caught_up`: what waited there before this session was asked for.
    """

    lease: Lease
    provider: Provider
    session: Session
    sync: Sync
    probe: Mapping[str, Any]
    switch: str = ""
    sent: dict[str, str] = field(default_factory=dict)
    arrived: dict[str, object] = field(default_factory=dict)
    meter: ByteMeter = field(default_factory=ByteMeter)
    mark: tuple[int, int] = (0, 0)
    caught_up: bool = False
    refused: float = 0.0


class Linking:
    """Turns leases into sessions. Blocking; bounded by `ready_s` seconds."""

    def __init__(self, ledger: Ledger, renting: Renting, home: Path, clock: Clock, ready_s: float) -> None:
        self._ready_s = ready_s
        self._ledger = ledger
        self._renting = renting
        self._home = home
        self._clock = clock

    def open(self, provider: Provider, lease: Lease, cap: Money, root: Path, talk: Talk) -> Live:
        """Wait for `lease`, prove it, and open its session.

        Raises:
            HostError: it failed, vanished, shows another key, has other hardware, or was not ready in time.
            TooDearError: it bills more than `cap` per hour.
            ProviderError: where nothing boots, so that there is nothing to wait for: it cannot be reached now.
        """
        if provider.traits.identity and not self._renting.identity_key(lease):
            raise HostError(
                f"the keys of #{lease.instance_id} lie on the computer that rented it: no cell can run there from here",
                hint=f"%gpu down {lease.instance_id}",
            )
        reach = self._reach if provider.traits.boots else self._knock
        lease, connection = reach(provider, lease, cap, talk)
        try:
            if provider.traits.identity and not lease.rotated:
                lease = self._rotate(lease, connection)
            lease = self._ready(lease)
            live = self._start(provider, lease, connection, root, talk)
        except BaseException:  # an interrupt included: no socket may stay behind
            connection.close()
            raise
        try:
            check_hardware(lease, live.probe)
        except WrongHardwareError:
            live.session.close()
            raise
        if provider.traits.self_destroy:
            await_switch(live, self._clock)
        return live

    def _ready(self, lease: Lease) -> Lease:
        """Note that it is reached; its hard end counts from the first time on."""
        begun = self._clock.now().timestamp() if lease.begun is None else lease.begun
        return self._ledger.move(lease.label, State.READY, begun=begun)

    def _reach(self, provider: Provider, lease: Lease, cap: Money, talk: Talk) -> tuple[Lease, Connection]:
        talk.phase("boot")
        patience = _Patience(self._clock, self._ready_s)
        contacts = Contacts(self._ledger, lease.label, self._clock)
        pause = min(3.0, max(0.2, provider.traits.ready_s / 30))
        next_log = 0.0
        reason = "no answer"
        while not patience.over:
            try:
                instance = self._observe(provider, lease, cap)
                contacts.waited()
                lease = self._ledger.lease(lease.label)
                patience.look(instance)
                talk.phase("ssh" if instance.state is InstanceState.RUNNING else "boot", instance.status[:80])
                if instance.state is InstanceState.RUNNING:
                    return lease, provider.connect(instance, self._identity(lease))
            except HostKeyError as error:
                reason = error.message
                lease = self._finish_rotation(lease, error)
                if provider.traits.logs and self._clock.monotonic() >= next_log:
                    lease = self._believe_log(provider, lease, instance, error)
                    next_log = self._clock.monotonic() + _LOG_PAUSE_S
            except (NotReadyError, UnreachableError, ReplyError) as error:
                reason = error.message
            self._clock.sleep(pause)
        raise HostError(f"{lease.gpu} #{lease.instance_id} was not ready after {patience.waited:.0f} s: {reason}")

    def _knock(self, provider: Provider, lease: Lease, cap: Money, talk: Talk) -> tuple[Lease, Connection]:
        """Ask once: a machine that is there already does not become ready by waiting."""
        talk.phase("ssh")
        instance = self._observe(provider, lease, cap)
        lease = self._ledger.lease(lease.label)
        return lease, provider.connect(instance, self._identity(lease))

    def _observe(self, provider: Provider, lease: Lease, cap: Money) -> Instance:
        instance = provider.show(lease.instance_id)
        if instance is None:
            if self._clock.now().timestamp() - lease.created < provider.traits.list_lag_s:
                raise NotReadyError("the provider does not show it yet")
            raise HostError(f"{lease.gpu} #{lease.instance_id} has vanished at {provider.name}")
        self._renting.observe(lease, instance)
        check_standing(lease, instance)
        if instance.price > cap:
            raise TooDearError(f"{lease.gpu} #{lease.instance_id} bills {instance.price}/h, above {cap}/h")
        return instance

    def _identity(self, lease: Lease) -> Identity:
        return Identity(self._renting.identity_key(lease), lease.host_key)

    def _believe_log(self, provider: Provider, lease: Lease, instance: Instance, error: HostKeyError) -> Lease:
        """Pin the shown key if the start command named it, with our nonce, in the log that the provider hands out.

        A key that another instance has shown is no proof: it was baked into the image, and strangers hold it too.
        """
        line = f"gpuplug-hostkey {lease.nonce} {error.seen}"
        named = [text.strip() for text in provider.logs(instance).splitlines()]
        shared = any(other.host_key == error.seen for other in self._ledger.leases() if other.label != lease.label)
        if lease.rotated or shared or not error.seen or line not in named:
            return lease
        return self._ledger.amend(lease.label, host_key=error.seen, rotated=True, note=FROM_LOG)

    def _finish_rotation(self, lease: Lease, error: HostKeyError) -> Lease:
        """Pin the key whose rotation was cut off after the instance had taken it."""
        if lease.note != _NEXT_KEY + error.seen:
            return lease
        return self._ledger.amend(lease.label, host_key=error.seen, rotated=True, note="")

    def _vanished(self, lease: Lease) -> HostError:
        """Return what to say of an instance that the provider does not show any more; one reading is no proof of its end."""
        named = f"{lease.gpu} #{lease.instance_id}"
        state = self._ledger.lease(lease.label).state
        if state in FINAL:
            return HostError(f"{named} was ended meanwhile, and is proven gone")
        unproven = "it counts as billing until its end is proven"
        if state is State.DESTROYING:
            return HostError(f"{named} was ended meanwhile", billing=unproven, hint="%gpu ls")
        return HostError(f"{named} does not exist any more", billing=unproven, hint=f"%gpu down {lease.instance_id}")

    def _rotate(self, lease: Lease, connection: Connection) -> Lease:
        from gpuplug.streams.ssh import rotate_host_key  # noqa: PLC0415 - paramiko is loaded only when something is rented

        def remember(line: str) -> None:
            self._ledger.amend(lease.label, note=_NEXT_KEY + line)

        line = rotate_host_key(connection, before_switch=remember)
        return self._ledger.amend(lease.label, host_key=line, rotated=True, note="")

    def _start(self, provider: Provider, lease: Lease, connection: Connection, root: Path, talk: Talk) -> Live:
        from gpuplug.session import Session, Timing  # noqa: PLC0415 - `%load_ext` must not pay for it
        from gpuplug.sync import Sync  # noqa: PLC0415 - likewise

        first, meter = [connection], ByteMeter()

        def connect() -> Connection:
            if first:
                return MeteredConnection(first.pop(), meter)
            instance = provider.show(lease.instance_id)
            if instance is None:
                raise self._vanished(lease)
            check_standing(lease, instance)
            again = provider.connect(instance, self._identity(self._ledger.lease(lease.label)))
            return MeteredConnection(again, meter)

        talk.phase("agent")
        timing = Timing().renewing(lease.lease_s)
        session = Session(connect, kernel_id(lease.notebook), clock=self._clock, on_link=lambda _: None, timing=timing)
        session.on_beat = Contacts(self._ledger, lease.label, self._clock, meter).beat
        try:
            session.open(AGENT_DEADLINE_S)
            probe = session.request("probe").header
            sync = Sync(session, root, self._home / "sync" / f"{lease.label}.json", clock=self._clock)
        except BaseException:  # an interrupt included: no thread may stay behind
            session.close()
            raise
        return Live(lease, provider, session, sync, probe, meter=meter)


class _Patience:
    """How long a rented machine is waited for: `ready_s`, and as long again while its image pull makes progress."""

    def __init__(self, clock: Clock, ready_s: float) -> None:
        self._clock = clock
        self._ready_s = ready_s
        self._began = self._moved = clock.monotonic()
        self._status = ""

    @property
    def waited(self) -> float:
        """Seconds since the wait began."""
        return self._clock.monotonic() - self._began

    @property
    def over(self) -> bool:
        """Whether it has taken too long."""
        fresh = self._clock.monotonic() - self._moved < self._ready_s * _FRESH
        return self.waited >= self._ready_s * (2 if fresh else 1)

    def look(self, instance: Instance) -> None:
        """Note whether the pull has come on."""
        if instance.state is InstanceState.BOOTING and instance.status not in {"", self._status}:
            self._status, self._moved = instance.status, self._clock.monotonic()


def kernel_id(notebook: str) -> str:
    """Return the notebook's name as the agent's kernel id."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", notebook)[-80:]
