from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpuplug.errors import LinkError
from gpuplug.streams.process import ProcessConnection, ProcessStream
from gpuplug.testing import StreamSuite
from gpuplug.testing.streams import read_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.streams import ByteStream, Connection


def _child(stream: ByteStream) -> int:
    assert isinstance(stream, ProcessStream)
    return stream.pid


def _open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


class TestProcess(StreamSuite):
    @pytest.fixture
    def another(self) -> Iterator[Callable[[], Connection]]:
        made: list[ProcessConnection] = []

        def make() -> Connection:
            made.append(ProcessConnection())
            return made[-1]

        yield make
        for connection in made:
            connection.close()

    @pytest.fixture
    def connection(self, another: Callable[[], Connection]) -> Connection:
        return another()

    @pytest.fixture
    def cut(self) -> Callable[[Connection], None]:
        def kill(connection: Connection) -> None:
            assert isinstance(connection, ProcessConnection)
            for stream in connection.streams:
                os.killpg(stream.pid, signal.SIGKILL)

        return kill


@pytest.fixture
def connection() -> Iterator[ProcessConnection]:
    made = ProcessConnection()
    yield made
    made.close()


def test_the_child_sees_the_environment_and_folder_that_were_given(tmp_path: Path) -> None:
    made = ProcessConnection(env={"WHO": "me", "PATH": os.environ["PATH"]}, cwd=str(tmp_path))
    assert read_all(made.run('echo "$WHO $PWD"')) == f"me {tmp_path}\n".encode()
    made.close()


def test_the_command_is_the_last_argument_of_the_prefix() -> None:
    made = ProcessConnection(argv_prefix=("printf", "%s|%s", "first"))
    assert read_all(made.run("a b")) == b"first|a b"
    made.close()


def test_a_program_that_does_not_exist_is_a_lost_link() -> None:
    made = ProcessConnection(argv_prefix=("/nonexistent/shell",))
    with pytest.raises(LinkError, match="/nonexistent/shell"):
        made.run("true")


def test_close_reaps_the_child(connection: ProcessConnection) -> None:
    stream = connection.run("exec sleep 60")
    stream.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(_child(stream), os.WNOHANG)


def test_close_kills_a_child_that_ignores_the_request(connection: ProcessConnection) -> None:
    stream = connection.run("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    assert stream.read(6) == b"ready\n"
    stream.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(_child(stream), os.WNOHANG)


def test_a_write_to_a_dead_child_is_a_lost_link(connection: ProcessConnection) -> None:
    stream = connection.run("exit 0")
    assert stream.read(1) == b""
    with pytest.raises(LinkError):
        stream.write(b"x" * (1 << 21))


def test_no_descriptor_is_left_open_after_close(connection: ProcessConnection) -> None:
    before = _open_descriptors()
    for _ in range(5):
        stream = connection.run("cat")
        stream.write(b"x")
        assert stream.read(1) == b"x"
        stream.close()
    assert _open_descriptors() == before
