"""What happens to a pod: its image is pulled, its container runs, is stopped, restarted, interrupted, terminated."""

from __future__ import annotations

import asyncio
import logging
import shutil
import zlib
from typing import TYPE_CHECKING

from gpuplug.sandbox.machine import MachineError
from gpuplug.sandbox.runpod.pods import ALIVE, ERROR, EXITED, PROVISIONING, RUNNING, STALE_VIEWS, STARTING, TERMINATED
from gpuplug.sandbox.runpod.volumes import CONTAINER_RATE, VOLUME_RATE_RUNNING, VOLUME_RATE_STOPPED, monthly
from gpuplug.sandbox.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpuplug.sandbox.clock import ScaledClock
    from gpuplug.sandbox.machine import Machine
    from gpuplug.sandbox.runpod.pods import Pod

log = logging.getLogger(__name__)
LAYERS = 4
BOOT_S = 30.0
# Real seconds between SIGTERM and SIGKILL, and between two looks at a container's log.
GRACE_S = 5.0
LOOK_S = 0.1
# An official image has about this size; the pull time that the market was opened with is that of such an image.
USUAL_GB = 6.8
CACHED_SHARE = 0.2


class PodLife:
    """Moves pods from state to state on the market's clock.

    Args:
        clock: sandbox time.
        pull_s: sandbox seconds in which an image of usual size is pulled.
        renew: makes the machine of a pod.
        folder_of: where a pod's machines lie.
        free: gives a pod's GPUs back when its container ended without anybody having asked for it.
    """

    def __init__(
        self,
        clock: ScaledClock,
        pull_s: float,
        renew: Callable[[Pod], Machine],
        folder_of: Callable[[Pod], Path],
        free: Callable[[Pod], None],
    ) -> None:
        self._clock = clock
        self._pull_s = pull_s
        self._renew = renew
        self._folder_of = folder_of
        self._free = free
        self._turns = Turns()
        self._cached: set[tuple[str | None, str]] = set()

    def begin(self, pod: Pod) -> None:
        """Bring a new pod up."""
        pod.status = PROVISIONING if "provisioning" in pod.quirks else RUNNING
        self._say(pod, f"create container {pod.container.image}")
        self.bill(pod)
        self._turns.follow(pod, self._boot(pod))

    def start(self, pod: Pod) -> None:
        """Bring a stopped pod up again: an empty container disk, another port, which is not told at once."""
        pod.intended = RUNNING
        pod.status = PROVISIONING if "provisioning" in pod.quirks else RUNNING
        pod.stale_views = STALE_VIEWS if pod.stale_port else 0
        self.bill(pod)
        self._turns.follow(pod, self._boot(pod))

    def stop(self, pod: Pod) -> None:
        """End the container; the mounts stay."""
        self._leave(pod, EXITED)
        self._turns.follow(pod, self._turns.exclusive(pod, lambda: self._end(pod, GRACE_S)))

    def preempt(self, pod: Pod) -> None:
        """Take the machine away: SIGTERM, 5 seconds, SIGKILL; only then the pod says EXITED."""
        self._turns.follow(pod, self._preempt(pod))

    def restart(self, pod: Pod, *, anew: bool = False) -> None:
        """Restart the container in place; `anew` with an empty disk, as after a change of its settings."""
        pod.up = False
        self._turns.follow(pod, self._restart(pod, anew=anew))

    def destroy(self, pod: Pod, grace_s: float = 0.0) -> None:
        """End the pod now and delete what it had; a network volume stays."""
        pod.gone = True
        self._leave(pod, TERMINATED)
        self._turns.follow(pod, self._remove(pod, grace_s))

    async def settle(self, pods: list[Pod]) -> None:
        """Wait until nothing moves any more in `pods`."""
        await self._turns.settle(pods)

    def forget_images(self) -> None:
        """Every image must be pulled again."""
        self._cached.clear()

    def bill(self, pod: Pod) -> None:
        """Make the meter follow the state."""
        now = self._clock.now_ns()
        alive = pod.status in ALIVE and not pod.gone
        volume = monthly(VOLUME_RATE_RUNNING if alive else VOLUME_RATE_STOPPED, pod.storage.size)
        container = monthly(CONTAINER_RATE, pod.container.disk) if alive else 0
        pod.meter.reprice(now, disk=volume + container)
        pod.meter.switch(now, gpu=alive, disk=not pod.gone)

    def collect(self, pod: Pod) -> None:
        """Take over what the container wrote since the last time."""
        if pod.machine is not None:
            data = pod.machine.log_from(pod.log.offset)
            if data:
                pod.log.take(data, self._clock.wall())

    def _say(self, pod: Pod, text: str) -> None:
        pod.log.say("system", text, self._clock.wall())

    def _leave(self, pod: Pod, status: str) -> None:
        pod.intended = status
        pod.status = status
        pod.up, pod.up_since, pod.stale_views = False, None, 0
        self.bill(pod)

    async def _boot(self, pod: Pod) -> None:
        await self._pull(pod)
        if "stuck_loading" in pod.quirks:
            return
        if "host_failure" in pod.quirks:
            self._fail(pod, "OCI runtime create failed: nvidia-container-cli: initialization error: driver not loaded")
            return
        if pod.status == PROVISIONING:
            pod.status = STARTING
        self._say(pod, f"start container for {pod.container.image}: begin")
        try:
            await self._turns.exclusive(pod, lambda: self._raise(pod))
        except MachineError as error:
            log.error("pod %s did not boot: %s", pod.id, error)  # noqa: TRY400 - the message says all
            self._fail(pod, str(error))
            return
        pod.status, pod.up, pod.stale_views = RUNNING, True, 0
        pod.up_since, pod.started = self._clock.now(), self._clock.wall()
        pod.stale_port = pod.direct_port
        self.bill(pod)
        await self._watch(pod)

    async def _pull(self, pod: Pod) -> None:
        place = (pod.center, pod.container.image)
        seconds = self._pull_s * _size_gb(pod.container.image) / USUAL_GB
        if place in self._cached:
            seconds *= CACHED_SHARE
        self._say(pod, f"Pulling from {pod.container.image}")
        begun = self._clock.now()
        for layer in range(LAYERS):
            await self._clock.until(begun + seconds * (layer + 1) / LAYERS)
            self._say(pod, f"{zlib.crc32(f'{pod.container.image}{layer}'.encode()):012x} Pull complete")
        self._cached.add(place)
        self._say(pod, f"Status: Downloaded newer image for {pod.container.image}")

    def _fail(self, pod: Pod, text: str) -> None:
        self._say(pod, f"error starting container: {text}")
        pod.status = ERROR
        self.bill(pod)
        self._free(pod)

    async def _raise(self, pod: Pod) -> None:
        if pod.machine is None:
            pod.generation += 1
            pod.log.begin_again(self._clock.wall())
            pod.machine = self._renew(pod)
        await pod.machine.boot(BOOT_S)

    async def _watch(self, pod: Pod) -> None:
        """Follow the container's log until somebody moves the pod on."""
        while True:
            self.collect(pod)
            await asyncio.sleep(LOOK_S)

    async def _end(self, pod: Pod, grace_s: float) -> None:
        """End the container and delete its disk."""
        if pod.machine is None:
            return
        if grace_s and pod.machine.running:
            await pod.machine.terminate(grace_s)
        self.collect(pod)
        await pod.machine.destroy()
        pod.machine = None

    async def _preempt(self, pod: Pod) -> None:
        await self._turns.exclusive(pod, lambda: self._end(pod, GRACE_S))
        self._leave(pod, EXITED)
        self._free(pod)

    async def _restart(self, pod: Pod, *, anew: bool) -> None:
        if anew:
            await self._turns.exclusive(pod, lambda: self._end(pod, GRACE_S))
        else:
            await self._turns.exclusive(pod, lambda: self._halt(pod))
        await self._boot(pod)

    async def _halt(self, pod: Pod) -> None:
        if pod.machine is not None and pod.machine.running:
            await pod.machine.terminate(GRACE_S)
        self.collect(pod)

    async def _remove(self, pod: Pod, grace_s: float) -> None:
        await self._turns.exclusive(pod, lambda: self._end(pod, grace_s))
        await asyncio.to_thread(shutil.rmtree, self._folder_of(pod), ignore_errors=True)


def _size_gb(image: str) -> float:
    """Return what an image weighs; every name has one size."""
    return USUAL_GB if image.startswith("runpod/") else 1 + zlib.crc32(image.encode()) % 160 / 10
