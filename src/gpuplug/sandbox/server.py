"""The markets of both dialects behind one port of 127.0.0.1."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox import runpod, vast
from gpuplug.sandbox.control import CONTROL_PATH, METER_PATH, Control
from gpuplug.sandbox.market import Market, Settings
from gpuplug.sandbox.meter import verdict
from gpuplug.sandbox.runpod.cloud import Cloud
from gpuplug.sandbox.runpod.door import Door as RunpodDoor
from gpuplug.sandbox.vast.door import Door as VastDoor
from gpuplug.sandbox.wire import Wire

if TYPE_CHECKING:
    from gpuplug.sandbox.clock import ScaledClock

LOOPBACK = "127.0.0.1"
SHUTDOWN_S = 1.0
MAX_BODY = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the running markets are found."""

    vast_url: str
    vast_api_key: str
    runpod_api_base_url: str
    runpod_api_key: str
    meter_url: str
    control_url: str

    def facts(self) -> dict[str, str]:
        """Return them as JSON."""
        return asdict(self)


class Server:
    """Markets that serve; `open` and `close` belong to the same event loop."""

    def __init__(self, settings: Settings, clock: ScaledClock) -> None:
        self.market = Market(settings, clock)
        self.cloud = Cloud(settings, clock, self.market.faults, self.market.pull_s)
        app = web.Application(client_max_size=MAX_BODY)
        wire = Wire(self.market.faults, clock)
        vast.add_routes(app, self.market, VastDoor(self.market, wire))
        runpod.add_routes(app, self.cloud, RunpodDoor(self.cloud, wire))
        Control(self.market, self.cloud, wire).add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)

    async def open(self, port: int = 0) -> Addresses:
        """Listen on `port` (0: any free one) and say where.

        Raises:
            OSError: the port is in use.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, port).start()
        base = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        keys = self.market.account.key, self.cloud.account.key
        return Addresses(base, keys[0], base, keys[1], base + METER_PATH, base + CONTROL_PATH)

    def verdict(self) -> dict[str, Any]:
        """Return what the meter endpoint would say."""
        return verdict([*self.market.rows(), *self.cloud.rows()])

    async def close(self) -> None:
        """Stop listening and end every machine."""
        await self._runner.cleanup()
        await self.cloud.close()
        await self.market.close()
