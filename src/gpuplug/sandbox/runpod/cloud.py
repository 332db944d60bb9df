"""RunPod's market itself: pods, network volumes, one balance. It knows no HTTP; the routes and GraphQL speak for it."""

from __future__ import annotations

import asyncio
import random
import string
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.faults import MARKET
from gpuplug.sandbox.meter import Meter
from gpuplug.sandbox.runpod.account import Account
from gpuplug.sandbox.runpod.catalogue import CPU_BY_ID
from gpuplug.sandbox.runpod.container import machine_of
from gpuplug.sandbox.runpod.life import GRACE_S, PodLife
from gpuplug.sandbox.runpod.pods import ACTIONS, ALIVE, Pod
from gpuplug.sandbox.runpod.problems import NO_INSTANCES, NO_RESOURCES, Problem, bad, no_capacity, not_found, too_poor
from gpuplug.sandbox.runpod.registry import Registers
from gpuplug.sandbox.runpod.shelf import COMMUNITY, Pool, Shelf, Wish
from gpuplug.sandbox.runpod.storage import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpuplug.sandbox.clock import ScaledClock
    from gpuplug.sandbox.faults import FaultQueue
    from gpuplug.sandbox.machine import Machine
    from gpuplug.sandbox.market import Settings
    from gpuplug.sandbox.runpod.orders import Order
    from gpuplug.sandbox.runpod.volumes import Volume

# These are decided before there is a pod; all other create faults go along with it.
_BEFORE_RENT = frozenset({"capacity", "insufficient_credit", "price_change", "list_lag", "duplicate"})
QUIRKS = tuple(name for name, (points, _) in MARKET.items() if "pod_create" in points and name not in _BEFORE_RENT)
LOOK_S = 0.1
# The smallest disk with which a CPU pod finds a place.
CPU_DISK = 20


class Cloud:
    """Rents, meters and ends pods.

    Args:
        settings: seed, folder of the machines, kind of sshd.
        clock: sandbox time.
        faults: the queue that both dialects share.
        pull_s: sandbox seconds of an image pull.
    """

    def __init__(self, settings: Settings, clock: ScaledClock, faults: FaultQueue, pull_s: float) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = faults
        self.account = Account(settings.seed)
        self.strict = settings.strict
        self.page_size: int | None = None
        self.shelf = Shelf(settings.seed)
        self.life = PodLife(clock, pull_s, self._machine, self._folder, self._release)
        self.pods: dict[str, Pod] = {}
        self.past: list[Pod] = []
        self._rng = random.Random(settings.seed)  # noqa: S311 - repeatable, not secret
        self.store = Store(settings.folder / "volumes", clock, self.new_id)
        self.registers = Registers(self.new_id)
        self._guard: asyncio.Task[None] | None = None

    def new_id(self, length: int) -> str:
        """Return an id of the service's kind: small letters and digits."""
        return "".join(self._rng.choices(string.ascii_lowercase + string.digits, k=length))

    def create(self, order: Order) -> Pod:
        """Rent a pod.

        Raises:
            Problem: refused, nothing was made.
        """
        fault = self.faults.take("pod_create", "capacity")
        if fault is not None:
            raise no_capacity(str(fault.more.get("text", NO_INSTANCES)))
        if order.container.registry is not None and order.container.registry not in self.registers.registries:
            raise bad("Registry auth not found")
        pool, center = self._place(order)
        price = self._price(order, pool)
        if self.faults.take("pod_create", "insufficient_credit") or self.balance() < price:
            raise too_poor()
        change = self.faults.take("pod_create", "price_change")
        if change is not None:
            price = round(price * change.number("factor", 2))
        copies = 2 if self.faults.take("pod_create", "duplicate") else 1
        made = [self._make(order, pool, center, price) for _ in range(copies)]
        return made[0]

    def visible(self, pod_id: str) -> Pod:
        """Return the pod; Problem when there is none, or it is too new to be seen."""
        pod = self.need(pod_id)
        if self.clock.now() < pod.visible_at:
            raise not_found("pod")
        return pod

    def listed(self) -> list[Pod]:
        """Return all pods that can be seen, oldest first."""
        return [pod for pod in self.pods.values() if self.clock.now() >= pod.visible_at]

    def need(self, pod_id: str) -> Pod:
        """Return the pod, seen or not; Problem when there is none."""
        pod = self.pods.get(pod_id)
        if pod is None:
            raise not_found("pod")
        return pod

    def act(self, pod: Pod, action: str) -> None:
        """Do what the pod's status allows.

        Raises:
            Problem: not now, or not at all.
        """
        if action not in ACTIONS[pod.status]:
            raise Problem(409, f"action '{action}' is not valid for pod status {pod.status}")
        if pod.locked and action in {"stop", "restart"}:
            raise Problem(409, "pod is locked")
        if action == "start":
            self.start(pod)
        elif action == "stop":
            self.stop(pod)
        elif action == "restart":
            self.life.restart(pod)
        else:
            self.destroy(pod)

    def start(self, pod: Pod, bid: int | None = None) -> None:
        """Start a stopped pod on the host that it had, a spot pod for `bid` micro-dollars per GPU and hour.

        Raises:
            Problem: the host is full, or the credit is used up.
        """
        fault = self.faults.take("pod_start", "capacity", pod.id)
        if fault is not None:
            raise no_capacity(str(fault.more.get("text", NO_RESOURCES)))
        if bid is not None and pod.pool is not None:
            self._check_bid(pod.pool, bid)
            pod.order.bid = bid
            pod.meter.reprice(self.clock.now_ns(), gpu=bid * pod.order.count)
        if self.balance() < pod.meter.gpu_price:
            raise too_poor()
        if pod.pool is not None:
            if not pod.pool.has(pod.order.count):
                raise no_capacity(NO_RESOURCES)
            pod.pool.free -= pod.order.count
        zero = self.faults.take("pod_start", "zero_gpus", pod.id)
        if zero is not None:
            pod.quirks["zero_gpus"] = zero
        self.life.start(pod)

    def stop(self, pod: Pod) -> None:
        """Stop a pod; its GPUs are free for others."""
        self._release(pod)
        self.life.stop(pod)

    def preempt(self, pod: Pod) -> None:
        """Take a pod's machine away, as happens to spot pods.

        Raises:
            Problem: it has none now.
        """
        if pod.status not in ALIVE:
            raise Problem(409, f"pod {pod.id} is {pod.status}")
        self.life.preempt(pod)

    def destroy(self, pod: Pod, grace_s: float = 0.0) -> None:
        """Terminate a pod, or only say so when a fault wants that."""
        if self.faults.take("pod_destroy", "lying_destroy", pod.id):
            return
        if pod.status in ALIVE:
            self._release(pod)
        del self.pods[pod.id]
        self.past.append(pod)
        self.account.withdraw(pod.key)
        self.life.destroy(pod, grace_s)

    def delete_volume(self, volume: Volume) -> None:
        """Delete a network volume.

        Raises:
            Problem: a pod still has it.
        """
        in_use = any(pod.storage.volume_id == volume.id for pod in self.pods.values())
        self.store.delete(volume, in_use=in_use)

    def spent(self) -> int:
        """Micro-dollars that all pods and volumes together have cost."""
        now = self.clock.now_ns()
        return sum(meter.micros(now) for meter in self._meters())

    def rate(self) -> int:
        """Micro-dollars per hour that everything costs now."""
        return sum(meter.rate for meter in self._meters())

    def balance(self) -> int:
        """Micro-dollars of prepaid credit that are left."""
        return self.account.credit - self.spent()

    def rows(self) -> list[dict[str, Any]]:
        """Return what the meter says of each pod and network volume, ended ones included."""
        now = self.clock.now_ns()
        pods = [pod.verdict(now) for pod in self.everyone()]
        return pods + [volume.verdict(now) for volume in self.store.everything()]

    def everyone(self) -> list[Pod]:
        """Return all pods that ever were."""
        return [*self.past, *self.pods.values()]

    async def close(self) -> None:
        """End every machine and wait for it."""
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None
        for pod in list(self.pods.values()):
            del self.pods[pod.id]
            self.past.append(pod)
            self.life.destroy(pod)
        await self.life.settle(self.past)

    async def reset(self) -> None:
        """Begin anew: no pods, volumes, templates, spend or SSH keys, first prices and stock, a good key."""
        await self.close()
        self.past.clear()
        self.store.clear()
        self.registers.clear()
        self.account = Account(self.settings.seed)
        self.strict = self.settings.strict
        self.page_size = None
        self.shelf.restock()
        self.life.forget_images()

    def _meters(self) -> Iterator[Meter]:
        yield from (pod.meter for pod in self.everyone())
        yield from (volume.meter for volume in self.store.everything())

    def _place(self, order: Order) -> tuple[Pool | None, str | None]:
        """Find a machine; the data centers that are asked for are a demand, not a preference."""
        centers = order.centers
        if order.storage.volume_id is not None:
            home = self.store.need(order.storage.volume_id).center
            if centers and home not in centers:
                raise bad(f"network volume {order.storage.volume_id} is in data center {home}")
            centers = (home,)
        if order.cpu is not None:
            if order.container.disk < CPU_DISK or COMMUNITY in order.clouds:
                raise no_capacity()
            return None, centers[0] if centers else "EU-RO-1"
        for gpu in order.gpus:
            pool = self.shelf.find(Wish(gpu, order.count, order.clouds, centers, order.cuda))
            if pool is not None:
                return pool, pool.center
        raise no_capacity()

    def _price(self, order: Order, pool: Pool | None) -> int:
        """Return micro-dollars per hour of the whole pod without its disks."""
        if pool is None:
            return round(CPU_BY_ID[str(order.cpu)].price * order.vcpus * MICROS)
        if order.bid is not None:
            self._check_bid(pool, order.bid)
            return order.bid * order.count
        return self.shelf.prices[pool.model.id].of(pool.cloud) * order.count

    def _check_bid(self, pool: Pool, bid: int) -> None:
        if bid < self.shelf.prices[pool.model.id].of(pool.cloud, spot=True):
            raise no_capacity("Your bid is lower than the minimum bid price. Please raise it and try again.")

    def _make(self, order: Order, pool: Pool | None, center: str | None, price: int) -> Pod:
        if pool is not None:
            pool.free -= order.count
        lag = self.faults.take("pod_create", "list_lag")
        pod_id = self.new_id(14)
        if order.start_ssh and self.account.ssh_keys:
            order.container.env.setdefault("PUBLIC_KEY", "\n".join(self.account.ssh_keys))
        if order.start_jupyter:
            order.container.env.setdefault("JUPYTER_PASSWORD", self.new_id(20))
        pod = Pod(
            id=pod_id,
            order=order,
            container=order.container,
            storage=order.storage,
            pool=pool,
            center=center,
            key=self.account.issue(pod_id),
            meter=Meter(self.clock.now_ns(), gpu=price, disk=0),
            created=self.clock.wall(),
            visible_at=self.clock.now() + (lag.number("seconds", 30) if lag else 0),
            name=order.name,
            host_id=f"{pod_id}-{self._rng.getrandbits(32):08x}",
            quirks={name: fault for name in QUIRKS if (fault := self.faults.take("pod_create", name))},
        )
        self.pods[pod_id] = pod
        self.life.begin(pod)
        if self._guard is None:
            self._guard = asyncio.get_running_loop().create_task(self._watch())
        return pod

    def _machine(self, pod: Pod) -> Machine:
        volume = pod.storage.volume_id
        network = None if volume is None else self.store.need(volume).folder
        return machine_of(pod, folder=self._folder(pod), network=network, sshd=self.settings.sshd)

    def _folder(self, pod: Pod) -> Path:
        return self.settings.folder / pod.id

    def _release(self, pod: Pod) -> None:
        if pod.pool is not None:
            pod.pool.free += pod.order.count

    async def _watch(self) -> None:
        """Do what the service does by itself: end what nobody pays, what has reached its time, what is taken away."""
        while True:
            await self.clock.until(self.clock.now() + LOOK_S * self.clock.speed)
            for pod in list(self.pods.values()):
                self._look_at(pod)
            if self.balance() <= 0:
                self._foreclose()

    def _look_at(self, pod: Pod) -> None:
        alive, wall = pod.status in ALIVE, self.clock.wall()
        fault = pod.quirks.get("preempt_after")
        if pod.order.end_at is not None and wall >= pod.order.end_at:
            self.destroy(pod)
        elif pod.order.stop_at is not None and wall >= pod.order.stop_at and alive:
            pod.order.stop_at = None
            self.stop(pod)
        elif fault is not None and alive and self._ran(pod) >= fault.number("seconds", 10):
            del pod.quirks["preempt_after"]
            self.preempt(pod)

    def _ran(self, pod: Pod) -> float:
        return -1.0 if pod.up_since is None else self.clock.now() - pod.up_since

    def _foreclose(self) -> None:
        """Nothing is left: all pods get SIGTERM at once, and those without a network volume are gone with their data."""
        for pod in list(self.pods.values()):
            if not pod.on_network:
                self.destroy(pod, GRACE_S)
            elif pod.status in ALIVE:
                self.stop(pod)
