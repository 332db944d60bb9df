"""A thread for what takes long, so that output never waits for a disk."""

import queue
import threading
from typing import Any, Callable, Optional, Tuple

from .loop import Loop

Work = Callable[[], Any]
Done = Callable[[Any, Optional[Exception]], None]


class Worker:
    """Does one piece of work after the other; the outcome comes back in the loop's thread."""

    def __init__(self, loop: Loop, name: str) -> None:
        self._loop = loop
        self._jobs: "queue.SimpleQueue[Tuple[Work, Done]]" = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work: Work, done: Done) -> None:
        """Have the thread call `work`, then the loop call `done(result, None)` or `done(None, error)`."""
        self._jobs.put((work, done))

    def _run(self) -> None:
        while True:
            work, done = self._jobs.get()
            self._finish(work, done)

    def _finish(self, work: Work, done: Done) -> None:
        try:
            result, failure = work(), None
        except Exception as error:  # noqa: BLE001 - whatever it is, `done` decides
            result, failure = None, error
        self._loop.post(lambda: done(result, failure))
