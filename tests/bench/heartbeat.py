"""An extension of a Jupyter server for the bench: how long its event loop was held up, told and forgotten at each GET of `bench/held`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

BEAT_S = 0.002


class Heart:
    """Beats in the loop. The longest beat is noted; so is the longest one in which this process had the processor."""

    def __init__(self) -> None:
        self.longest_s = self.busy_s = 0.0

    async def beat(self) -> None:
        """Beat until the loop ends."""
        while True:
            began, worked = time.perf_counter(), time.process_time()
            await asyncio.sleep(BEAT_S)
            late = time.perf_counter() - began - BEAT_S
            self.longest_s = max(self.longest_s, late)
            self.busy_s = max(self.busy_s, min(late, time.process_time() - worked))

    def told(self) -> list[float]:
        """Return both in milliseconds and forget them."""
        found = [self.longest_s * 1000, self.busy_s * 1000]
        self.longest_s = self.busy_s = 0.0
        return found


class HeldHandler(APIHandler):  # type: ignore[misc]  # jupyter_server carries no types for mypy
    """Tells."""

    @web.authenticated
    async def get(self) -> None:
        """Answer with both figures."""
        self.finish(json.dumps(self.settings["bench_heart"].told()))


def _load_jupyter_server_extension(app: Any) -> None:  # noqa: ANN401 - jupyter_server carries no types
    heart = Heart()
    app.web_app.settings["bench_heart"] = heart
    app.web_app.add_handlers(".*$", [(url_path_join(app.base_url, "bench/held"), HeldHandler)])
    app.io_loop.add_callback(heart.beat)
