from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from gpuplug.errors import LinkError
from gpuplug.streams import ByteStream, Connection
from gpuplug.streams.memory import MemoryConnection, pair
from gpuplug.testing import StreamSuite
from gpuplug.testing.streams import DEAF, ECHO, NOISY, SINK, pattern, read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_END_OF_TEST = threading.Event()


def _program(command: str, far: ByteStream) -> None:
    if command == ECHO:
        while data := far.read(1 << 16):
            far.write(data)
    elif command == NOISY:
        far.write(b"said\n")
    elif command == DEAF:
        _END_OF_TEST.wait(5)
    elif command == SINK:
        read_all(far)
    else:
        far.write(pattern(int(command.partition("head -c ")[2].partition(";")[0])))
        read_all(far)


class TestMemory(StreamSuite):
    @pytest.fixture
    def another(self) -> Iterator[Callable[[], Connection]]:
        made: list[MemoryConnection] = []

        def make() -> Connection:
            made.append(MemoryConnection(_program))
            return made[-1]

        _END_OF_TEST.clear()
        yield make
        _END_OF_TEST.set()
        for connection in made:
            connection.close()

    @pytest.fixture
    def connection(self, another: Callable[[], Connection]) -> Connection:
        return another()

    @pytest.fixture
    def cut(self) -> Callable[[Connection], None]:
        def break_link(connection: Connection) -> None:
            assert isinstance(connection, MemoryConnection)
            connection.cut()

        return break_link


def test_the_end_comes_after_what_was_written_before_close() -> None:
    near, far = pair()
    far.write(b"abc")
    far.close()
    assert read_all(near) == b"abc"


def test_a_write_to_a_closed_far_end_raises() -> None:
    near, far = pair()
    far.close()
    with pytest.raises(LinkError):
        near.write(b"x")


def test_a_cut_loses_what_is_on_the_way() -> None:
    near, far = pair()
    far.write(b"abc")
    near.cut()
    with pytest.raises(LinkError):
        near.read(1)


def test_the_pair_keeps_the_contract() -> None:
    near, _ = pair()
    assert isinstance(near, ByteStream)
    assert isinstance(MemoryConnection(_program), Connection)
