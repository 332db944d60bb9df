"""One market behind one port of 127.0.0.1."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gpuplug.sandbox.control import CONTROL_PATH, METER_PATH, Control
from gpuplug.sandbox.market import Market, Settings
from gpuplug.sandbox.vast import add_routes
from gpuplug.sandbox.vast.door import Door

if TYPE_CHECKING:
    from gpuplug.sandbox.clock import ScaledClock

LOOPBACK = "127.0.0.1"
SHUTDOWN_S = 1.0
MAX_BODY = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running market is found."""

    vast_url: str
    vast_api_key: str
    meter_url: str
    control_url: str

    def facts(self) -> dict[str, str]:
        """Return them as JSON."""
        return asdict(self)


class Server:
    """A market that serves; `open` and `close` belong to the same event loop."""

    def __init__(self, settings: Settings, clock: ScaledClock) -> None:
        self.market = Market(settings, clock)
        app = web.Application(client_max_size=MAX_BODY)
        door = Door(self.market)
        add_routes(app, self.market, door)
        Control(self.market, door).add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)

    async def open(self, port: int = 0) -> Addresses:
        """Listen on `port` (0: any free one) and say where.

        Raises:
            OSError: the port is in use.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, port).start()
        base = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        key = self.market.account.key
        return Addresses(base, key, base + METER_PATH, base + CONTROL_PATH)

    def verdict(self) -> dict[str, Any]:
        """Return what the meter endpoint would say."""
        return self.market.verdict()

    async def close(self) -> None:
        """Stop listening and end every machine."""
        await self._runner.cleanup()
        await self.market.close()
