# ruff: noqa: S101, D102 - asserts are the product, and a test's name is its sentence
"""Promises that every byte stream must keep: subclass `StreamSuite` in a test module and pytest runs them."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, ClassVar, TypeVar

import pytest

from gpuplug.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpuplug.streams import ByteStream, Connection

PATTERN = b"0123456789abcdef"
ECHO = "cat"
SINK = "cat >/dev/null"
DEAF = "exec sleep 5"
NOISY = "head -c 5000000 /dev/zero >&2; echo said"
DEADLINE_S = 10.0

T = TypeVar("T")


def source(count: int) -> str:
    """Return the command that writes the first `count` bytes of the repeated `PATTERN`, then waits for input's end."""
    return f"yes {PATTERN[:-1].decode()} | tr '\\n' f | head -c {count}; {SINK}"


def pattern(count: int) -> bytes:
    """Return the bytes that `source(count)` writes."""
    return (PATTERN * (count // len(PATTERN) + 1))[:count]


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a daemon thread; its result or error is the future's."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def read_all(stream: ByteStream, limit: int = 1 << 16) -> bytes:
    """Read until the end of `stream`."""
    pieces = []
    while piece := stream.read(limit):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(stream: ByteStream, count: int) -> bytes:
    """Read `count` bytes, or what comes before the end."""
    data = b""
    while len(data) < count and (piece := stream.read(count - len(data))):
        data += piece
    return data


class StreamSuite:
    """What a `Connection` and its streams promise, seen from outside.

    A subclass gives the fixtures `connection` (it must run POSIX commands, or understand `ECHO`, `SINK`, `DEAF`, `NOISY`
    and `source`) and `cut` (break the link under the connection without closing it on this side).
    `cut_points` are the byte counts after which the link is cut, `large` the size of a large write.
    """

    cut_points: ClassVar[Iterable[int]] = range(40)
    large: ClassVar[int] = 3_000_000

    @pytest.fixture
    def connection(self) -> Connection:
        """Return a fresh connection; the subclass closes it afterwards."""
        raise NotImplementedError

    @pytest.fixture
    def cut(self, connection: Connection) -> Callable[[Connection], None]:
        """Return what breaks the link under a connection."""
        raise NotImplementedError

    @pytest.fixture
    def another(self) -> Callable[[], Connection]:
        """Return what makes further connections of the same kind; the subclass closes them."""
        raise NotImplementedError

    def test_every_byte_comes_back_when_both_directions_run_at_once(self, connection: Connection) -> None:
        stream = connection.run(ECHO)
        sent = pattern(self.large)
        reading = in_thread(lambda: read_all(stream))
        stream.write(memoryview(sent))
        stream.close_write()
        assert reading.result(DEADLINE_S * 3) == sent

    def test_a_read_returns_no_more_than_its_limit(self, connection: Connection) -> None:
        stream = connection.run(ECHO)
        stream.write(PATTERN)
        assert stream.read(1) == PATTERN[:1]
        assert 1 <= len(stream.read(5)) <= 5  # noqa: PLR2004 - the limit above

    def test_reading_goes_on_after_close_write_and_the_end_repeats(self, connection: Connection) -> None:
        stream = connection.run(ECHO)
        stream.write(b"last words")
        stream.close_write()
        stream.close_write()
        assert read_all(stream) == b"last words"
        assert stream.read(1) == b""

    def test_nothing_can_be_written_after_close_write(self, connection: Connection) -> None:
        stream = connection.run(ECHO)
        stream.close_write()
        with pytest.raises(LinkError):
            stream.write(b"x")

    def test_an_empty_write_does_nothing(self, connection: Connection) -> None:
        stream = connection.run(ECHO)
        stream.write(b"")
        stream.write(b"x")
        assert stream.read(10) == b"x"

    def test_every_verb_raises_after_close_which_may_be_repeated(self, connection: Connection) -> None:
        stream = connection.run(ECHO)
        stream.close()
        stream.close()
        with pytest.raises(LinkError):
            stream.read(1)
        with pytest.raises(LinkError):
            stream.write(b"x")
        with pytest.raises(LinkError):
            stream.close_write()

    def test_close_wakes_a_blocked_reader(self, connection: Connection) -> None:
        stream = connection.run(SINK)
        reading = in_thread(lambda: stream.read(1))
        _let_it_block(connection)
        closing = in_thread(stream.close)
        with pytest.raises(LinkError):
            reading.result(DEADLINE_S)
        closing.result(DEADLINE_S)

    def test_close_wakes_a_blocked_writer(self, connection: Connection) -> None:
        stream = connection.run(DEAF)
        writing = in_thread(lambda: _write_for_ever(stream))
        _let_it_block(connection)
        closing = in_thread(stream.close)
        with pytest.raises(LinkError):
            writing.result(DEADLINE_S)
        closing.result(DEADLINE_S)

    def test_a_blocked_stream_does_not_hold_up_another(self, connection: Connection) -> None:
        deaf = connection.run(DEAF)
        writing = in_thread(lambda: _write_for_ever(deaf))
        stream = connection.run(ECHO)
        stream.write(b"through")
        assert stream.read(10) == b"through"
        assert not writing.done()
        deaf.close()
        with pytest.raises(LinkError):
            writing.result(DEADLINE_S)

    def test_what_goes_to_stderr_is_dropped_and_blocks_nothing(self, connection: Connection) -> None:
        stream = connection.run(NOISY)
        assert in_thread(lambda: read_all(stream)).result(DEADLINE_S) == b"said\n"

    def test_the_connection_closes_its_streams_and_runs_nothing_more(self, connection: Connection) -> None:
        stream = connection.run(SINK)
        reading = in_thread(lambda: stream.read(1))
        _let_it_block(connection)
        connection.close()
        connection.close()
        with pytest.raises(LinkError):
            reading.result(DEADLINE_S)
        with pytest.raises(LinkError):
            connection.run(ECHO)

    def test_a_cut_at_any_byte_leaves_a_true_beginning_and_hangs_nobody(
        self, another: Callable[[], Connection], cut: Callable[[Connection], None]
    ) -> None:
        for count in self.cut_points:
            connection = another()
            stream = connection.run(source(count))
            begun = in_thread(lambda s=stream, n=count: read_exactly(s, n))  # type: ignore[misc]
            assert begun.result(DEADLINE_S) == pattern(count)
            reading = in_thread(lambda s=stream: s.read(1))  # type: ignore[misc]
            cut(connection)
            with contextlib.suppress(LinkError):
                assert reading.result(DEADLINE_S) == b""
            connection.close()

    def test_a_cut_wakes_a_blocked_writer(self, connection: Connection, cut: Callable[[Connection], None]) -> None:
        stream = connection.run(DEAF)
        writing = in_thread(lambda: _write_for_ever(stream))
        _let_it_block(connection)
        cut(connection)
        with pytest.raises(LinkError):
            writing.result(DEADLINE_S)


def _let_it_block(connection: Connection) -> None:
    # Round trips on another stream take longer than a thread needs to reach its wait.
    stream = connection.run(ECHO)
    for _ in range(20):
        stream.write(PATTERN)
        read_exactly(stream, len(PATTERN))
    stream.close()


def _write_for_ever(stream: ByteStream) -> None:
    piece = bytes(1 << 16)
    while True:
        stream.write(piece)
