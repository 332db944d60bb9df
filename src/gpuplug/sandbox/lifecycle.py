"""What happens to an instance: it is pulled, runs, stops, waits for a GPU, is outbid, lost, and destroyed.

A newer wish replaces the task of an older one; calls to the machine queue behind one another (`turns`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.machine import MachineError
from gpuplug.sandbox.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.sandbox.clock import ScaledClock
    from gpuplug.sandbox.instances import Instance
    from gpuplug.sandbox.machine import Machine
    from gpuplug.sandbox.offers import OfferBook

log = logging.getLogger(__name__)
# A created row has no state for a moment, and a started one stays exited for a read or more.
BLINK_S = 0.1
RESTART_S = 0.5
LAYERS = 4
OUTBID_BY = 1.25
BOOT_S = 30.0
FOR_EVER_S = 1e9
OCI_TEXT = (
    "Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create "
    "failed: runc create failed: unable to start container process: error during container init: nvidia-container-cli: "
    "initialization error: nvml error: driver not loaded: unknown"
)


class Lifecycle:
    """Moves instances from state to state on the market's clock.

    Args:
        clock: sandbox time.
        book: the offers, to which freed machines return.
        pull_s: sandbox seconds of an image pull.
        renew: makes a machine anew for an instance that is recycled.
    """

    def __init__(
        self,
        clock: ScaledClock,
        book: OfferBook,
        pull_s: float,
        renew: Callable[[Instance], Machine],
    ) -> None:
        self._clock = clock
        self._book = book
        self._pull_s = pull_s
        self._renew = renew
        self._turns = Turns()

    def begin(self, instance: Instance) -> None:
        """Occupy the machine and bring a new instance up."""
        instance.host.occupant = instance.id
        self._turns.follow(instance, self._boot(instance, self._pull_s))

    def start(self, instance: Instance, queue_s: float | None = None) -> bool:
        """Ask for `running`; False when the change is queued, because the GPU is taken or for `queue_s` seconds."""
        if instance.actual == "running" and instance.cur == "running":
            return True
        instance.intended = instance.next = "running"
        instance.quirks.pop("start_race", None)
        if queue_s is not None or not self._can_have_gpu(instance):
            instance.cur = "stopped"
            self._turns.follow(instance, self._queue(instance, self._clock.now() + (queue_s or 0)))
            return False
        instance.cur = "running"
        instance.host.occupant = instance.id
        self._turns.follow(instance, self._boot(instance, RESTART_S))
        return True

    def stop(self, instance: Instance) -> None:
        """Ask for `stopped`: the container ends, the disk stays and bills, the GPU is free for others."""
        instance.all_states("stopped")
        self._turns.follow(instance, self._halt(instance))

    def outbid(self, instance: Instance) -> None:
        """Let somebody bid more: as a stop, and the lowest bid is now above this one's."""
        bid = instance.bid or instance.meter.gpu_price
        instance.host.min_bid = round(max(bid, instance.host.min_bid) * OUTBID_BY)
        self.stop(instance)

    def reboot(self, instance: Instance, *, recycle: bool = False) -> None:
        """Restart the container in place, as when it dies by itself; a recycled one begins with an empty disk."""
        self._turns.follow(instance, self._reboot(instance, recycle=recycle))

    def lose(self, instance: Instance, seconds: float) -> None:
        """Take the host off the network for `seconds`; nothing bills while it is lost."""
        link = instance.machine.link
        link.refuse(seconds / self._clock.speed)
        link.cut()
        self._enter(instance, "offline")
        self._turns.follow(instance, self._come_back(instance, seconds))

    def destroy(self, instance: Instance) -> None:
        """End the contract now; the container follows at once, after any reply that is on its way."""
        instance.gone = True
        instance.bill(self._clock.now_ns())
        self._release(instance)
        self._turns.follow(instance, self._turns.exclusive(instance, instance.machine.destroy))

    async def settle(self, instances: list[Instance]) -> None:
        """Wait until nothing moves any more in `instances`."""
        await self._turns.settle(instances)

    def _can_have_gpu(self, instance: Instance) -> bool:
        outbid = instance.bid is not None and instance.bid < instance.host.min_bid
        return instance.host.occupant in {None, instance.id} and not outbid

    def _release(self, instance: Instance) -> None:
        if instance.host.occupant == instance.id:
            self._book.release(instance.host)

    def _enter(self, instance: Instance, actual: str | None, message: str | None = None) -> None:
        instance.actual = actual
        if message is not None:
            instance.status_msg = message
        instance.bill(self._clock.now_ns())

    async def _pause(self, seconds: float) -> None:
        await self._clock.until(self._clock.now() + seconds)

    async def _boot(self, instance: Instance, wait_s: float) -> None:
        await self._pause(min(BLINK_S, wait_s))
        for layer in range(LAYERS):
            line = f"{instance.id * 7919 + layer:012x}: Pull complete"
            self._enter(instance, "loading", line)
            await self._pause(wait_s / LAYERS)
        if self._fails(instance):
            return
        try:
            await self._turns.exclusive(instance, lambda: instance.machine.boot(BOOT_S))
        except MachineError as error:
            log.error("instance %s did not boot: %s", instance.id, error)  # noqa: TRY400 - the message says all
            self._fall(instance, str(error))
            return
        instance.up_since = self._clock.now()
        self._enter(instance, "running", f"success, running {instance.order.image}/ssh")
        await self._misfortune(instance)

    def _fails(self, instance: Instance) -> bool:
        """Tell whether a quirk keeps the container from running, and show it as the service does."""
        if "host_failure" in instance.quirks:
            self._fall(instance, OCI_TEXT)
            return True
        if "start_race" in instance.quirks:
            instance.cur = "stopped"
            self._enter(instance, "loading", "")
            return True
        return "stuck_loading" in instance.quirks

    def _fall(self, instance: Instance, message: str) -> None:
        self._enter(instance, "created", message)
        instance.all_states("stopped")
        self._release(instance)

    async def _misfortune(self, instance: Instance) -> None:
        outbid, offline = (instance.quirks.pop(name, None) for name in ("outbid_after", "offline_after"))
        if outbid is not None:
            await self._pause(outbid.number("seconds", 10))
            self.outbid(instance)
        elif offline is not None:
            await self._pause(offline.number("seconds", 10))
            self.lose(instance, offline.number("for", FOR_EVER_S))

    async def _come_back(self, instance: Instance, seconds: float) -> None:
        await self._pause(seconds)
        self._enter(instance, "running" if instance.machine.running else "exited")

    async def _halt(self, instance: Instance) -> None:
        await self._turns.exclusive(instance, lambda: _stop(instance.machine))
        self._enter(instance, "exited")
        self._release(instance)

    async def _queue(self, instance: Instance, earliest: float) -> None:
        await self._clock.until(earliest)
        while not self._can_have_gpu(instance):
            await self._pause(RESTART_S)
        instance.cur = "running"
        instance.host.occupant = instance.id
        await self._boot(instance, RESTART_S)

    async def _reboot(self, instance: Instance, *, recycle: bool) -> None:
        await self._turns.exclusive(instance, lambda: _stop(instance.machine))
        self._enter(instance, "exited")
        if recycle:
            await self._turns.exclusive(instance, instance.machine.destroy)
            old, instance.machine = instance.machine.link, self._renew(instance)
            instance.machine.link.bytes_in, instance.machine.link.bytes_out = old.bytes_in, old.bytes_out
        await self._boot(instance, RESTART_S)


async def _stop(machine: Machine) -> None:
    # Asked only now: a boot that was under way has ended meanwhile.
    if machine.running:
        await machine.stop()


def bid_micros(bid: float | None) -> int | None:
    """Return a bid in dollars per hour as micro-dollars."""
    return None if bid is None else round(bid * MICROS)
