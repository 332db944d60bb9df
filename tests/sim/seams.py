# ruff: noqa: SLF001 - there is no public place so low
"""Where the world is put below the engine: as low as can be without a socket.

The HTTP exchange below `HttpClient` is replaced (its pacing, retries, errors and redaction are the real ones), and the
ledger's transaction, the labels' chance and the retries' jitter are watched or seeded. Everything above is the real thing.
"""

from __future__ import annotations

import contextlib
import json
import random
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qsl

import httpx
from sim.dialects import Asked
from sim.market import KEY

from gpuplug.engine import renting
from gpuplug.ledger import Ledger
from gpuplug.providers import _calls, _http

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from sim.world import World


@contextlib.contextmanager
def wired(world: World) -> Generator[None, None, None]:
    """Put `world` below the engine: no socket, no chance but the plan's, no platform but the plan's."""
    chance = random.Random(world.plan.seed)  # noqa: S311 - to be repeated, not to be secret
    transaction = Ledger._write

    def fetch(_lines: object, request: Any, seconds: float, _limit: int, *, fresh: bool) -> object:  # noqa: ANN401, ARG001 - its own types are private
        message = request.message
        try:
            return _http._Raw(*world.exchange(message, _taken_apart(message, request.auth)))
        except httpx.HTTPError as error:
            raise _http._mapped(error, str(message.url), seconds, expired=False) from error

    @contextlib.contextmanager
    def watched(ledger: Ledger, *, durable: bool = True) -> Generator[sqlite3.Connection, None, None]:
        whole: AbstractContextManager[sqlite3.Connection] = world.transaction(transaction(ledger, durable=durable))
        with ledger._reading(), whole as connection:
            yield connection

    class Tokens:
        @staticmethod
        def token_hex(size: int) -> str:
            return chance.randbytes(size).hex()

    keys = {f"{name.upper()}_API_KEY": KEY for name in world.plan.platforms}
    standing = {} if world.plan.day is None else {"GPUPLUG_BUDGET": f"{world.plan.day.exact()}/day"}
    with (
        mock.patch.object(_http._Lines, "fetch", fetch),
        mock.patch.object(Ledger, "_write", watched),
        mock.patch.object(renting, "secrets", Tokens),
        mock.patch.object(_calls, "random", chance),
        mock.patch.dict("os.environ", {**keys, **standing, "HOME": str(world.home)}),
    ):
        yield


def _taken_apart(request: httpx.Request, auth: httpx.Auth | None) -> Asked:
    if auth is not None:
        request = next(auth.auth_flow(request))
    assert request.headers.get("Authorization") == f"Bearer {KEY}", f"{request.url} was asked without the key"
    body = json.loads(request.content) if request.content else {}
    return Asked(request.method, request.url.path, dict(parse_qsl(request.url.query.decode())), body)
