"""When the processes of this server's kernels ended, so that no cell is said to run whose process is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_events import EventLogger

    from gpuplug.types import Clock

ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
_ENDS = frozenset({"restart", "shutdown"})


class Kernels:
    """What the server tells of its kernels: an id outlives its process when that crashes, or a person starts it anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ended: dict[str, float] = {}

    async def heard(self, logger: EventLogger, schema_id: str, data: dict[str, Any]) -> None:  # noqa: ARG002 - as a listener is called
        """Note what the server has done to a kernel; it starts one that has crashed anew within seconds."""
        if data.get("action") in _ENDS and data.get("status") == "success":
            self._ended[str(data.get("kernel_id"))] = self._clock.now().timestamp()

    def left(self, kernel: str, since: float) -> bool:
        """Tell whether the process is gone that ran a cell of `kernel` since then, in seconds since 1970; from any thread."""
        return since < self._ended.get(kernel, 0.0)
