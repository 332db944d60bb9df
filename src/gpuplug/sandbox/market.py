"""The market itself: machines, instances, money. It knows no HTTP; `vast` speaks for it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - read at run time by the dataclass
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox import query
from gpuplug.sandbox.accounts import Account, checked_public_key
from gpuplug.sandbox.catalogue import BY_NAME, MICROS, stock
from gpuplug.sandbox.faults import MARKET, NO_EGRESS, Fault, FaultQueue
from gpuplug.sandbox.instances import Instance
from gpuplug.sandbox.lifecycle import Lifecycle, bid_micros
from gpuplug.sandbox.machine import Machine, MachineSpec
from gpuplug.sandbox.meter import Meter, disk_price
from gpuplug.sandbox.offers import OfferBook
from gpuplug.sandbox.replies import no_credit, no_instance, taken, unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.sandbox.catalogue import Host
    from gpuplug.sandbox.clock import ScaledClock
    from gpuplug.sandbox.orders import Order

FIRST_INSTANCE = 20_000_000
# These are decided before there is an instance; all other create faults go along with it.
_BEFORE_RENT = frozenset({"taken", "insufficient_credit", "not_started", "price_change", "list_lag"})
QUIRKS = tuple(name for name, (points, _) in MARKET.items() if "create" in points and name not in _BEFORE_RENT)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a market is set up; `pull_s` None means one to three seconds, by the seed."""

    folder: Path
    seed: int = 1
    sshd: str = "asyncssh"
    pull_s: float | None = None
    strict: bool = False


class Market:
    """Offers, rents, meters and ends instances.

    Args:
        settings: seed, folder of the machines, kind of sshd.
        clock: sandbox time.
    """

    def __init__(self, settings: Settings, clock: ScaledClock) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = FaultQueue()
        self.account = Account(settings.seed)
        self.strict = settings.strict
        rng = random.Random(settings.seed)  # noqa: S311 - repeatable, not secret
        self.book = OfferBook(stock(settings.seed), settings.seed, clock)
        self.pull_s = rng.uniform(1, 3) if settings.pull_s is None else settings.pull_s
        self.lifecycle = Lifecycle(clock, self.book, self.pull_s, self._machine)
        self.instances: dict[int, Instance] = {}
        self.past: list[Instance] = []
        self._next_id = FIRST_INSTANCE

    def search(self, body: Mapping[str, Any]) -> list[query.Row]:
        """Answer a search; QueryError when the body is not in the filter language."""
        storage = query.number(body.get("allocated_storage", 8.0))
        if storage is None:
            msg = f"allocated_storage is a number of GB, not {body['allocated_storage']!r}"
            raise query.QueryError(msg)
        rows = self.book.rows(storage, bid=body.get("type") == "bid")
        return query.search(rows, body)

    def rent(self, ask_id: int, order: Order) -> tuple[Instance, bool]:
        """Make an instance on the offer; the second value is the reply's `success`.

        Raises:
            ApiError: refused, nothing was made.
        """
        host = self.book.find(ask_id)
        if self.faults.take("create", "insufficient_credit") or self.credit_left() <= 0:
            raise no_credit()
        if self.faults.take("create", "taken"):
            if host is not None:
                host.occupant = 0
            host = None
        if host is None:
            raise taken(ask_id)
        bid = bid_micros(order.bid)
        refused = self.faults.take("create", "not_started") is not None
        waits = refused or (bid is not None and bid < host.min_bid)
        if waits and order.cancel_unavail:
            raise unavailable(ask_id)
        instance = self._make(host, order, bid)
        if waits or order.stopped:
            instance.all_states("stopped")
            instance.bill(self.clock.now_ns())
        else:
            self.lifecycle.begin(instance)
        return instance, not waits

    def visible(self, instance_id: int) -> Instance | None:
        """Return the instance unless it does not exist or is too new to be seen."""
        instance = self.instances.get(instance_id)
        if instance is None or self.clock.now() < instance.visible_at:
            return None
        return instance

    def listed(self) -> list[Instance]:
        """Return all instances that can be seen, oldest first."""
        return [one for one in self.instances.values() if self.visible(one.id)]

    def need(self, instance_id: int) -> Instance:
        """Return the instance, seen or not; ApiError when there is none."""
        instance = self.instances.get(instance_id)
        if instance is None:
            raise no_instance(instance_id)
        return instance

    def start(self, instance: Instance) -> bool:
        """Start it; False when that is queued."""
        fault = self.faults.take("start", "queued", instance.id)
        return self.lifecycle.start(instance, fault.number("seconds", 5) if fault else None)

    def destroy(self, instance: Instance) -> None:
        """Destroy it, or only say so when a fault wants that."""
        if self.faults.take("destroy", "lying_destroy", instance.id):
            return
        del self.instances[instance.id]
        self.past.append(instance)
        self.account.withdraw(instance.key)
        self.lifecycle.destroy(instance)

    async def add_key(self, instance: Instance, public_key: object) -> int:
        """Let a public key into an instance that exists already."""
        text = checked_public_key(public_key)
        number = self.account.number()
        instance.ssh_keys[number] = text
        await instance.machine.add_key(text)
        return number

    def spent(self) -> int:
        """Micro-dollars that all instances together have cost."""
        now = self.clock.now_ns()
        return sum(one.micros(now) for one in self._all())

    def credit_left(self) -> int:
        """Micro-dollars of prepaid credit that are left."""
        return self.account.credit - self.spent()

    def set_price(self, dollars_per_hour: float, gpu: str, machine_id: int | None) -> int:
        """Change what one machine, or all with a GPU model, cost from now on; return how many that were."""
        hosts = [
            host
            for host in self.book.hosts
            if (host.model.name == gpu if machine_id is None else host.machine_id == machine_id)
        ]
        for host in hosts:
            host.price = round(dollars_per_hour * MICROS)
        return len(hosts)

    def rows(self) -> list[dict[str, Any]]:
        """Return what the meter says of each instance, destroyed ones included."""
        now = self.clock.now_ns()
        return [one.verdict(now) for one in self._all()]

    async def close(self) -> None:
        """End every machine and wait for it."""
        for instance in list(self.instances.values()):
            del self.instances[instance.id]
            self.past.append(instance)
            self.lifecycle.destroy(instance)
        await self.lifecycle.settle(self.past)

    async def reset(self) -> None:
        """Begin anew: no instances, faults, spend or SSH keys, first prices, a good key, no jumps of time."""
        await self.close()
        self.past.clear()
        self.faults.clear()
        self.account = Account(self.settings.seed)
        self.strict = self.settings.strict
        self.clock.rewind()
        for host in self.book.hosts:
            self.book.release(host)
            host.min_bid = min(host.min_bid, host.list_price)
            host.price = host.list_price

    def _all(self) -> list[Instance]:
        return [*self.past, *self.instances.values()]

    def _make(self, host: Host, order: Order, bid: int | None) -> Instance:
        now = self.clock.now_ns()
        change, lag = self.faults.take("create", "price_change"), self.faults.take("create", "list_lag")
        if change is not None:
            host.price = round(host.price * change.number("factor", 2))
        self._next_id += 1
        number = self._next_id
        price = host.price if bid is None else bid
        instance = Instance(
            id=number,
            host=host,
            order=order,
            key=self.account.issue(number),
            meter=Meter(now, gpu=price, disk=disk_price(host.storage_cost, order.disk_gb)),
            created_wall=self.clock.wall(),
            visible_at=self.clock.now() + (lag.number("seconds", 30) if lag else 0),
            label=order.label,
            bid=bid,
            quirks={name: fault for name in QUIRKS if (fault := self.faults.take("create", name))},
            ssh_keys=dict(self.account.ssh_keys),
        )
        instance.machine = self._machine(instance)
        instance.bill(now)
        self.instances[number] = instance
        return instance

    def _machine(self, instance: Instance) -> Machine:
        quirks, order, host = instance.quirks, instance.order, instance.host
        model = host.model
        if "wrong_gpu" in quirks:
            model = BY_NAME[str(quirks["wrong_gpu"].more.get("gpu", "Tesla T4"))]
        return Machine(
            MachineSpec(
                folder=self.settings.folder / str(instance.id),
                id=str(instance.id),
                image=order.image,
                start_command=order.command,
                env=_container_env(instance),
                authorized_keys=list(instance.ssh_keys.values()),
                gpu_name=model.name,
                gpu_count=host.num_gpus,
                vram_mb=model.vram,
                driver=host.driver,
                cuda=str(host.cuda),
                sshd=self.settings.sshd,
                start_delay=_seconds(quirks.get("start_delay"), 0.3),
                auth_lag=_seconds(quirks.get("auth_lag"), 0.0),
                sshd_enabled=order.ssh and "no_sshd" not in quirks,
                fixed_host_key="fixed_host_key" in quirks,
            )
        )


def _seconds(fault: Fault | None, otherwise: float) -> float:
    return otherwise if fault is None else fault.number("seconds", 5)


def _container_env(instance: Instance) -> dict[str, str]:
    """Return the environment of the container's first process: the user's, and the service's own on top."""
    label = f"C.{instance.id}"
    return {
        **instance.order.variables,
        **(NO_EGRESS if "no_egress" in instance.quirks else {}),
        "CONTAINER_API_KEY": instance.key,
        "CONTAINER_ID": str(instance.id),
        "CONTAINER_LABEL": label,
        "VAST_CONTAINERLABEL": label,
        "PUBLIC_IPADDR": "127.0.0.1",
        "SSH_PUBLIC_KEY": "\n".join(instance.ssh_keys.values()),
        "GPU_COUNT": str(instance.host.num_gpus),
        "DATA_DIRECTORY": "/workspace/",
    }
