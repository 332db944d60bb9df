"""Pipes of a child process: a Python of this computer, or any client that runs commands elsewhere."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import threading
from typing import IO, TYPE_CHECKING

from gpuplug.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpuplug.streams import ByteStream

_PIPE_BYTES = 1 << 20
_SECRET = re.compile(r".*_(API_KEY|TOKEN|SECRET|PASSWORD)", re.IGNORECASE)
_KILL_AFTER_S = 2.0


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a child may inherit: those not named like a key."""
    return {name: value for name, value in environ.items() if not _SECRET.fullmatch(name)}


class ProcessStream:
    """Standard input and output of one child as a `ByteStream`."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self._output = _prepared(child.stdout)
        self._input = _prepared(child.stdin)
        self._wake_read, self._wake_write = os.pipe()
        self._closing = threading.Lock()
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._closed = False
        self._input_ended = False

    @property
    def pid(self) -> int:
        """Process id of the child, which leads a session of its own."""
        return self._child.pid

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def read(self, limit: int) -> bytes:
        """Block until the child wrote something; return 1 to `limit` bytes, or b"" at its end.

        Raises:
            LinkError: the stream was closed.
        """
        with self._reading:
            self._wait(self._output, select.POLLIN)
            return os.read(self._output.fileno(), limit)

    def write(self, data: bytes | memoryview) -> None:
        """Block until the pipe has taken all of `data`.

        Raises:
            LinkError: the child is gone, or the stream was closed.
        """
        rest = memoryview(data)
        with self._writing:
            self._check_writable()
            while rest:
                rest = rest[self._write_some(rest) :]

    def _write_some(self, data: memoryview) -> int:
        self._wait(self._input, select.POLLOUT)
        try:
            return os.write(self._input.fileno(), data)
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            msg = "the child process no longer reads"
            raise LinkError(msg) from error

    def _check_writable(self) -> None:
        if self._closed or self._input_ended:
            msg = "the stream is closed"
            raise LinkError(msg)

    def _wait(self, pipe: IO[bytes], events: int) -> None:
        if not self._closed:
            poll = select.poll()
            poll.register(pipe, events)
            poll.register(self._wake_read, select.POLLIN)
            poll.poll()
        if self._closed:
            msg = "the stream is closed"
            raise LinkError(msg)

    def close_write(self) -> None:
        """Close the child's standard input. May be repeated.

        Raises:
            LinkError: the stream was closed.
        """
        with self._writing:
            if self._closed:
                msg = "the stream is closed"
                raise LinkError(msg)
            self._input_ended = True
            self._input.close()

    def close(self) -> None:
        """End the child (TERM, after 2 s KILL) and reap it; wakes blocked readers and writers. May be repeated."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            os.write(self._wake_write, b"x")
            self._end_child()
            with self._reading, self._writing:
                self._output.close()
                self._input.close()
                os.close(self._wake_read)
                os.close(self._wake_write)

    def _end_child(self) -> None:
        self._signal(signal.SIGTERM)
        try:
            self._child.wait(_KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_KILL_AFTER_S)

    def _signal(self, number: signal.Signals) -> None:
        # The session may outlive its leader: what the command left behind must end with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)


def _prepared(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        msg = "the child was started without pipes"
        raise AssertionError(msg)
    os.set_blocking(pipe.fileno(), False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        # The kernel refuses when this user's pipes hold too much already; the default size is only slower.
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return pipe


class ProcessConnection:
    """A `Connection` that runs each command as a child in a session of its own.

    Args:
        argv_prefix: what the command is appended to as the last argument.
        env: the child's environment; None means this process's.
        cwd: the child's folder; None means this process's.
    """

    def __init__(
        self,
        argv_prefix: Sequence[str] = ("sh", "-c"),
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        self._argv_prefix = tuple(argv_prefix)
        self._env = env
        self._cwd = cwd
        self._lock = threading.Lock()
        self._streams: list[ProcessStream] = []
        self._closed = False

    @property
    def streams(self) -> tuple[ProcessStream, ...]:
        """Every stream that is open, oldest first. The pid of a closed one may be another process's by now."""
        with self._lock:
            self._streams = [stream for stream in self._streams if not stream.closed]
            return tuple(self._streams)

    def run(self, command: str) -> ByteStream:
        """Start `command`; its stderr is dropped.

        Raises:
            LinkError: the connection is closed, or the program cannot be started.
        """
        with self._lock:
            if self._closed:
                msg = "the connection is closed"
                raise LinkError(msg)
            stream = ProcessStream(self._start(command))
            self._streams.append(stream)
            return stream

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*self._argv_prefix, command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                bufsize=0,
                env=self._env,
                cwd=self._cwd,
            )
        except OSError as error:
            msg = f"cannot start {self._argv_prefix[0]!r}: {error.strerror}"
            raise LinkError(msg) from error

    def close(self) -> None:
        """End every child and wait for it. May be repeated."""
        with self._lock:
            self._closed = True
        for stream in self.streams:
            stream.close()
