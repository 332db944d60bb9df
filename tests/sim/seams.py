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
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
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
    from collections.abc import Generator, Mapping
    from contextlib import AbstractContextManager

    from sim.world import World

    from gpuplug.streams.keys import KeyPair

_AUTHORIZED = f"Bearer {KEY}"
_FREE: list[Kept] = []
_KEYS = 16  # more than one run rents, so that no two of its instances have the same


@contextlib.contextmanager
def wired(world: World) -> Generator[None, None, None]:
    """Put `world` below the engine: no socket, no chance but the plan's, no platform but the plan's."""
    chance = random.Random(world.plan.seed)  # noqa: S311 - to be repeated, not to be secret
    transaction = Ledger._write
    keys_in_turn = itertools.cycle(_keys())

    def fetch(_lines: object, request: Any, seconds: float, _limit: int, *, fresh: bool) -> object:  # noqa: ANN401, ARG001 - its own types are private
        message = request.message
        try:
            return _http._Raw(*world.exchange(message.url.host, _taken_apart(message, request.auth)))
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
        contextlib.nullcontext() if world.ledger is None else _light(world.ledger),
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


class Kept(sqlite3.Connection):
    """A ledger in memory. It outlives each process that has opened it, and is emptied for the next world."""

    def close(self) -> None:
        """Let one process go."""

    def empty(self) -> None:
        """Forget all that is written; the statements that were prepared stay, which is most of what a new ledger costs."""
        self.rollback()
        for (table,) in self.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            self.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table


def _nothing(_: Ledger) -> None:
    """Keep no copy of what lies in no file."""


class Message:
    """What is asked of a request by whoever answers it here: as the HTTP library's own, without what only a socket needs."""

    def __init__(self, method: str, url: httpx.URL, *, content: str | None) -> None:
        self.method = method
        self.url = url
        self.content = content or ""
        self.headers: dict[str, str] = {}


@contextlib.contextmanager
def _light(kept: Kept) -> Generator[None, None, None]:
    """Let the processes' ledger lie in memory and their requests be light: that is half of what a run costs.

    What is uncommitted is seen by whoever reads the ledger then, so nobody may read while a transaction is open.
    """
    opened = False

    def opening(_: Ledger) -> sqlite3.Connection:
        nonlocal opened
        opened = True
        return kept

    def build(_: object, method: str, url: httpx.URL, content: str | None, *, auth: httpx.Auth | None) -> object:
        return _http._Request(cast("httpx.Request", Message(method, url, content=content)), auth)

    with (
        mock.patch.object(_http._Lines, "build", build),
        mock.patch.object(Ledger, "_open", opening),
        mock.patch.object(Ledger, "exists", property(lambda _: opened)),
        mock.patch.object(Ledger, "keep_copy", _nothing),
    ):
        yield


@contextlib.contextmanager
def ledger_in_memory() -> Generator[Kept, None, None]:
    """Lend an empty ledger that lies in no file."""
    kept = _FREE.pop() if _FREE else _new_ledger()
    try:
        yield kept
    finally:
        kept.empty()
        _FREE.append(kept)


def _new_ledger() -> Kept:
    """Return what the real ledger makes at its first use."""
    kept = sqlite3.connect(":memory:", isolation_level=None, factory=Kept)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder), FakeClock())
        ledger._connection().backup(kept)
        ledger.close()
    return kept


def _taken_apart(request: httpx.Request, auth: httpx.Auth | None) -> Asked:
    if auth is not None:
        request = next(auth.auth_flow(request))
    assert request.headers.get("Authorization") == _AUTHORIZED, f"{request.url} was asked without the key"
    body = json.loads(request.content) if request.content else {}
    path, query = _address(request.url.raw_path)
    return Asked(request.method, path, query, body)


@functools.lru_cache(maxsize=1024)
def _address(raw_path: bytes) -> tuple[str, Mapping[str, str]]:
    path, _, query = raw_path.decode().partition("?")
    return unquote(path), dict(parse_qsl(query))
