"""Who moves a machine on: one task at a time, and calls to the machine that are never broken off in the middle."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

log = logging.getLogger(__name__)


class Moved(Protocol):
    """Something that tasks move on from state to state."""

    lock: asyncio.Lock
    task: asyncio.Task[None] | None


class Turns:
    """Lets each `Moved` have at most one task; a newer wish replaces the older one's."""

    def __init__(self) -> None:
        self._calls: set[asyncio.Task[None]] = set()

    def follow(self, moved: Moved, work: Coroutine[object, object, None]) -> None:
        """Begin `work` instead of what was under way."""
        if moved.task is not None:
            moved.task.cancel()
        moved.task = asyncio.get_running_loop().create_task(work)
        moved.task.add_done_callback(_report)

    async def exclusive(self, moved: Moved, act: Callable[[], Awaitable[None]]) -> None:
        """Call the machine when no other call to it is under way; a cancelled caller leaves the call running."""

        async def call() -> None:
            async with moved.lock:
                await act()

        task = asyncio.get_running_loop().create_task(call())
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        await asyncio.shield(task)

    async def settle(self, moved: Iterable[Moved]) -> None:
        """Wait until nothing moves any more."""
        tasks = [one.task for one in moved if one.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._calls, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("an instance's machine failed", exc_info=task.exception())
