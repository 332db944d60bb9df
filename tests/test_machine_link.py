"""The network in front of a sandbox machine: it forwards, and it breaks exactly as told."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest
from machine_kit import LoopThread, machine, until

from gpuplug.sandbox.machine.link import Link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from typing_extensions import Self

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    with LoopThread.running() as one:
        yield one


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


class Wire:
    """A link to an echo server, and connections through it."""

    def __init__(self) -> None:
        self.link = Link()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(echo, "127.0.0.1", 0)
        self.link.open(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.close()
        self._server.close()
        await asyncio.sleep(0)

    async def connect(self, *, proxy: bool = False) -> Streams:
        port = self.link.proxy_port if proxy else self.link.direct_port
        return await asyncio.open_connection("127.0.0.1", port)


async def ask(streams: Streams, data: bytes) -> bytes:
    reader, writer = streams
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), 10)


async def leave(*all_streams: Streams) -> None:
    for _, writer in all_streams:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            continue


def test_both_ports_forward_megabytes_and_the_end(thread: LoopThread) -> None:
    async def play() -> None:
        data = os.urandom(3_000_000)
        async with Wire() as wire:
            for proxy in (False, True):
                reader, writer = streams = await wire.connect(proxy=proxy)
                answer = asyncio.create_task(reader.read(-1))
                rest = asyncio.create_task(read_all(reader, answer))
                writer.write(data)
                writer.write_eof()
                assert await asyncio.wait_for(rest, 10) == data
                await leave(streams)

    async def read_all(reader: asyncio.StreamReader, first: asyncio.Task[bytes]) -> bytes:
        return await first + await reader.read()

    thread.run(play())


def test_a_cut_resets_every_connection_and_the_next_one_works(thread: LoopThread) -> None:
    async def play() -> None:
        async with Wire() as wire:
            old = [await wire.connect() for _ in range(3)]
            for streams in old:
                assert await ask(streams, b"hello") == b"hello"
            wire.link.cut()
            for reader, _ in old:
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(reader.read(1), 5)
            new = await wire.connect()
            assert await ask(new, b"again") == b"again"
            await leave(*old, new)

    thread.run(play())


def test_a_cut_after_so_many_bytes_lets_exactly_those_pass(thread: LoopThread) -> None:
    async def play() -> None:
        async with Wire() as wire:
            streams = await wire.connect()
            assert await ask(streams, b"12345") == b"12345"
            wire.link.cut(after_bytes=7)
            assert await ask(streams, b"abc") == b"abc"
            streams[1].write(b"xyz")
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(streams[0].readexactly(1), 5)
            new = await wire.connect()
            assert await ask(new, b"more than seven bytes") == b"more than seven bytes"
            await leave(streams, new)

    thread.run(play())


def test_a_black_hole_is_silent_and_gives_everything_back_afterwards(thread: LoopThread) -> None:
    async def play() -> None:
        async with Wire() as wire:
            old = await wire.connect()
            assert await ask(old, b"before") == b"before"
            begin = time.monotonic()
            wire.link.black_hole(0.3)
            new = await wire.connect()
            answers = await asyncio.gather(ask(old, b"into"), ask(new, b"the dark"))
            assert list(answers) == [b"into", b"the dark"]
            assert time.monotonic() - begin >= 0.3
            await leave(old, new)

    thread.run(play())


def test_refusing_spares_open_connections_and_ends_in_time(thread: LoopThread) -> None:
    async def play() -> None:
        async with Wire() as wire:
            old = await wire.connect()
            ports = (wire.link.direct_port, wire.link.proxy_port)
            begin = time.monotonic()
            wire.link.refuse(0.2)
            for proxy in (False, True):
                with pytest.raises(ConnectionRefusedError):
                    await wire.connect(proxy=proxy)
            assert await ask(old, b"still") == b"still"
            new = await connect_at_last(wire)
            assert time.monotonic() - begin >= 0.2
            assert (wire.link.direct_port, wire.link.proxy_port) == ports
            await leave(old, new)

    async def connect_at_last(wire: Wire) -> Streams:
        async for streams in attempts(wire):
            return streams
        raise AssertionError

    async def attempts(wire: Wire) -> AsyncIterator[Streams]:
        for _ in range(200):
            try:
                yield await wire.connect()
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)

    thread.run(play())


def test_nobody_behind_the_link_is_a_reset(thread: LoopThread) -> None:
    async def play() -> None:
        link = Link()
        link.open(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", link.direct_port)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), 5)
        await leave((reader, writer))
        await link.close()

    thread.run(play())


def test_ssh_survives_a_black_hole_and_feels_a_cut() -> None:
    with machine(isolation="variables") as one:

        async def run_through() -> str:
            async with one.connect() as connection:
                one.machine.link.black_hole(0.3)
                done = await connection.run("echo through", timeout=10)
            return str(done.stdout)

        assert one.run(run_through()) == "through\n"
        one.link.cut(after_bytes=100_000)
        cut_off = one.ssh("head -c 1000000 /dev/zero")
        assert cut_off.exit_status is None
        assert cut_off.stdout is not None
        assert len(cut_off.stdout) < 100_000
        one.link.refuse(0.2)
        with pytest.raises(ConnectionRefusedError):
            one.ssh("true")
        until(one.answers)
