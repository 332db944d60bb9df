# ruff: noqa: SLF001 - there is no public place so low
"""Where the world is put below the engine: as low as can be without a socket.

The HTTP exchange below `HttpClient` is replaced (its pacing, retries, errors and redaction are the real ones), and the
ledger's transaction, the labels' chance and the retries' jitter are watched or seeded. Everything above is the real thing.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qsl, unquote

import httpx
from sim.dialects import Asked
from sim.market import KEY

from gpuplug.engine import renting
from gpuplug.ledger import Ledger
from gpuplug.providers import _calls, _http
from gpuplug.streams import ssh
from gpuplug.testing import FakeClock

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Mapping
    from contextlib import AbstractContextManager

    from sim.world import World

    from gpuplug.streams.keys import KeyPair

_AUTHORIZED = (b"Authorization", f"Bearer {KEY}".encode())
_KEYS = 16  # more than one run rents, so that no two of its instances have the same


@contextlib.contextmanager
def wired(world: World) -> Generator[None, None, None]:
    """Put `world` below the engine: no socket, no chance but the plan's, no platform but the plan's."""
    chance = random.Random(world.plan.seed)  # noqa: S311 - to be repeated, not to be secret
    transaction, opening = Ledger._write, Ledger._open
    keys_in_turn, empty = itertools.cycle(_keys()), _empty_ledger()

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

    def opened(ledger: Ledger) -> sqlite3.Connection:
        if not ledger.exists:
            ledger.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            ledger.path.write_bytes(empty)
        return opening(ledger)

    class Tokens:
        @staticmethod
        def token_hex(size: int) -> str:
            return chance.randbytes(size).hex()

    keys = {f"{name.upper()}_API_KEY": KEY for name in world.plan.platforms}
    standing = {} if world.plan.day is None else {"GPUPLUG_BUDGET": f"{world.plan.day.exact()}/day"}
    with (
        mock.patch.object(_http._Lines, "fetch", fetch),
        mock.patch.object(Ledger, "_write", watched),
        mock.patch.object(Ledger, "_open", opened),
        mock.patch.object(ssh, "make_key", keys_in_turn.__next__),
        mock.patch.object(os, "getpid", _process),
        mock.patch.object(renting, "secrets", Tokens),
        mock.patch.object(_calls, "random", chance),
        _environment({**keys, **standing, "HOME": str(world.home)}),
    ):
        yield


def _process() -> int:
    """Stand for `os.getpid`: whichever process plays a run, its trace is the same."""
    return 4711


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None, None, None]:
    """Set some variables for a while: `mock.patch.dict` makes the whole environment anew, twice a run."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@functools.cache
def _keys() -> list[KeyPair]:
    """Make some keys, as real as any, once for all runs."""
    return [ssh.make_key() for _ in range(_KEYS)]


@functools.cache
def _empty_ledger() -> bytes:
    """Return the file that the real ledger makes at its first use."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder), FakeClock())
        ledger._connection()
        ledger.close()
        return ledger.path.read_bytes()


def _taken_apart(request: httpx.Request, auth: httpx.Auth | None) -> Asked:
    if auth is not None:
        request = next(auth.auth_flow(request))
    assert _AUTHORIZED in request.headers.raw, f"{request.url} was asked without the key"
    body = json.loads(request.content) if request.content else {}
    path, query = _address(request.url.raw_path)
    return Asked(request.method, path, query, body)


@functools.lru_cache(maxsize=1024)
def _address(raw_path: bytes) -> tuple[str, Mapping[str, str]]:
    path, _, query = raw_path.decode().partition("?")
    return unquote(path), dict(parse_qsl(query))
