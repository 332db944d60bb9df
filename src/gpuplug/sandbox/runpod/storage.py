"""The account's network volumes: made, grown, deleted, never smaller and never while a pod has them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from gpuplug.sandbox.meter import Meter
from gpuplug.sandbox.runpod.problems import bad, not_found
from gpuplug.sandbox.runpod.volumes import Volume, check_place, network_price

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gpuplug.sandbox.clock import ScaledClock


class Store:
    """Network volumes by id.

    Args:
        folder: what is on them lies below it.
        clock: sandbox time.
        new_id: makes an id of so many characters.
    """

    def __init__(self, folder: Path, clock: ScaledClock, new_id: Callable[[int], str]) -> None:
        self._folder = folder
        self._clock = clock
        self._new_id = new_id
        self.volumes: dict[str, Volume] = {}
        self._past: list[Volume] = []

    def create(self, body: Mapping[str, Any]) -> Volume:
        """Make a volume; it bills from now on.

        Raises:
            Problem: the data center has no such storage.
        """
        center, kind = body["dataCenter"], body.get("type", "STANDARD")
        check_place(center, kind)
        number = self._new_id(10)
        meter = Meter(self._clock.now_ns(), gpu=0, disk=network_price(body["size"], kind))
        meter.switch(self._clock.now_ns(), gpu=False, disk=True)
        folder = self._folder / number
        folder.mkdir(parents=True)
        made = Volume(number, body["name"], body["size"], center, kind, meter, folder, self._clock.wall())
        self.volumes[number] = made
        return made

    def need(self, volume_id: str) -> Volume:
        """Return the volume; Problem when there is none."""
        if volume_id not in self.volumes:
            raise not_found("network volume")
        return self.volumes[volume_id]

    def change(self, volume: Volume, body: Mapping[str, Any]) -> None:
        """Rename or grow a volume.

        Raises:
            Problem: it would shrink.
        """
        size = body.get("size", volume.size)
        if size < volume.size:
            raise bad(f"network volume size can only be increased, from {volume.size} GB")
        volume.name, volume.size = body.get("name", volume.name), size
        volume.meter.reprice(self._clock.now_ns(), disk=network_price(size, volume.kind))

    def delete(self, volume: Volume, *, in_use: bool) -> None:
        """Delete a volume and what is on it.

        Raises:
            Problem: a pod still has it.
        """
        if in_use:
            raise bad("network volume is in use by a pod")
        del self.volumes[volume.id]
        self._end(volume)
        self._past.append(volume)

    def everything(self) -> list[Volume]:
        """Return all volumes that ever were."""
        return [*self._past, *self.volumes.values()]

    def clear(self) -> None:
        """Forget all of them."""
        for volume in self.volumes.values():
            self._end(volume)
        self.volumes.clear()
        self._past.clear()

    def _end(self, volume: Volume) -> None:
        volume.gone = True
        volume.meter.switch(self._clock.now_ns(), gpu=False, disk=False)
        shutil.rmtree(volume.folder, ignore_errors=True)
