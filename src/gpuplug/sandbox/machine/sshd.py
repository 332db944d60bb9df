"""The SSH server of a machine, as a process of its own: `python -I sshd.py CONFIG`.

Each exec channel is one `sh -c` whose pipes are read and written by the event loop directly. Host key and authorized
keys are files; the host key is read again on SIGHUP, which touches no open connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ_BYTES = 256 * 1024
_PIPE_BYTES = 1024 * 1024
_HIGH_WATER = 1024 * 1024
_COULD_NOT_RUN = 255


class SshdConfig(TypedDict):
    """How this server runs; paths are as the machine sees them."""

    port: int
    host_key: str
    keeps_host_key: bool
    pid_file: str
    authorized_keys_files: list[str]
    env: dict[str, str]


class _Output:
    """Carries one output of a process into the channel until its end."""

    def __init__(self, session: _Session, source: int, datatype: int | None) -> None:
        self._session = session
        self._source = source
        self._datatype = datatype
        self._loop = asyncio.get_running_loop()
        self.open = True
        os.set_blocking(source, False)
        self.resume()

    def resume(self) -> None:
        if self.open:
            self._loop.add_reader(self._source, self._read)

    def pause(self) -> None:
        if self.open:
            self._loop.remove_reader(self._source)

    def close(self) -> None:
        if self.open:
            self._loop.remove_reader(self._source)
            os.close(self._source)
            self.open = False

    def _read(self) -> None:
        try:
            data = os.read(self._source, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal whose last process ended says EIO
        if data:
            self._session.send(data, self._datatype)
            return
        self.close()
        self._session.finish_if_over()


class _Input:
    """Carries the channel's data into a process; holds the client back while the pipe is full."""

    def __init__(self, session: _Session, sink: int) -> None:
        self._session = session
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._ended = False
        self._open = True
        os.set_blocking(sink, False)

    def write(self, data: bytes) -> None:
        if not self._open:
            return
        if not self._waiting:
            data = data[self._write_some(data) :]
        if data and self._open:
            if not self._waiting:
                self._session.hold_client()
                self._loop.add_writer(self._sink, self._flush)
            self._waiting += data

    def end(self) -> None:
        """Close once everything is written."""
        self._ended = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        if self._open:
            self._loop.remove_writer(self._sink)
            os.close(self._sink)
            self._open = False

    def _write_some(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._sink, data)
        except BlockingIOError:
            return 0
        except OSError:
            # Nobody reads any more; what the client still sends is dropped, as by a real server.
            self._waiting.clear()
            self.close()
            return len(data)

    def _flush(self) -> None:
        del self._waiting[: self._write_some(self._waiting)]
        if not self._waiting:
            if self._open:
                self._loop.remove_writer(self._sink)
            self._session.release_client()
            if self._ended:
                self.close()


class _Session(asyncssh.SSHServerSession[bytes]):
    """One exec or shell channel and its process."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._channel: asyncssh.SSHServerChannel[bytes]
        self._command: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._outputs: list[_Output] = []
        self._input: _Input | None = None
        self._terminal: int | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan
        chan.set_write_buffer_limits(high=_HIGH_WATER)

    def pty_requested(self, *_: object) -> bool:
        return True

    def shell_requested(self) -> bool:
        self._command = [self._server.env["SHELL"], "-l"]
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = ["/bin/sh", "-c", command]
        return True

    def session_started(self) -> None:
        try:
            if self._channel.get_terminal_type():
                self._start_with_terminal()
            else:
                self._start_with_pipes()
        except OSError as error:
            self._channel.write_stderr(f"cannot run: {error}\n".encode())
            self._channel.exit(_COULD_NOT_RUN)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype
        if self._input:
            self._input.write(data)

    def eof_received(self) -> bool:
        if self._input and self._terminal is None:
            self._input.end()
        return True

    def pause_writing(self) -> None:
        for output in self._outputs:
            output.pause()

    def resume_writing(self) -> None:
        for output in self._outputs:
            output.resume()

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if any(output.open for output in self._outputs):
            self._resize(width, height, pixwidth, pixheight)

    def _resize(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._terminal is not None:
            size = struct.pack("HHHH", height, width, pixwidth, pixheight)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the pipes; the process may live on, as under a real server."""
        del exc
        for output in self._outputs:
            output.close()
        if self._input:
            self._input.close()

    def send(self, data: bytes, datatype: int | None) -> None:
        """Write to the client."""
        self._channel.write(data, datatype)

    def hold_client(self) -> None:
        """Let the client's window run dry."""
        self._channel.pause_reading()

    def release_client(self) -> None:
        """Take more from the client."""
        self._channel.resume_reading()

    def finish_if_over(self) -> None:
        """Send the exit status once the process ended and nobody holds its outputs."""
        if not self._process or any(output.open for output in self._outputs):
            return
        self._channel.write_eof()
        code = self._process.poll()
        if code is None:
            return
        self._server.running.discard(self)
        if code < 0:
            self._channel.exit_with_signal(signal.Signals(-code).name[3:])
        else:
            self._channel.exit(code)

    def _start_with_pipes(self) -> None:
        process = self._spawn(subprocess.PIPE, subprocess.PIPE, subprocess.PIPE, self._server.env)
        descriptors = []
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is None:  # pragma: no cover - all three were asked for
                continue
            descriptors.append(os.dup(pipe.fileno()))
            pipe.close()
        into, out, err = descriptors
        for pipe_end in (into, out):
            _widen(pipe_end)
        self._input = _Input(self, into)
        self._outputs = [_Output(self, out, None), _Output(self, err, asyncssh.EXTENDED_DATA_STDERR)]

    def _start_with_terminal(self) -> None:
        master, slave = os.openpty()
        self._terminal = master
        self._resize(*self._channel.get_terminal_size())
        env = {**self._server.env, "TERM": self._channel.get_terminal_type() or "dumb"}
        try:
            self._spawn(slave, slave, slave, env)
        finally:
            os.close(slave)
        self._input = _Input(self, os.dup(master))
        self._outputs = [_Output(self, master, None)]

    def _spawn(self, stdin: int, stdout: int, stderr: int, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command = self._command
        if self._terminal is not None:
            command = [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *command]
        self._process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            env=env,
            cwd=env["HOME"],
            start_new_session=True,
        )
        self._server.running.add(self)
        return self._process


# A terminal becomes the controlling one only by a call of the session's leader itself.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


def _widen(pipe_end: int) -> None:
    """Let a pipe hold more, where the system can: bulk transfers wake both sides less often."""
    if sys.platform == "linux":
        # An ordinary user may have used up the share of pipe memory that the system grants.
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(pipe_end, 1031, _PIPE_BYTES)  # F_SETPIPE_SZ, named in Python 3.10 only


class _Login(asyncssh.SSHServer):
    """Lets root in with a key that the files name at this moment."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    def begin_auth(self, username: str) -> bool:
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "root" and self._server.authorizes(key)

    def session_requested(self) -> _Session:
        return _Session(self._server)


class _Server:
    """The listening server and the processes that its channels run."""

    def __init__(self, config: SshdConfig) -> None:
        self._config = config
        self.running: set[_Session] = set()
        self.env = config["env"]

    async def serve(self) -> None:
        """Listen until ended by a signal; the pid file appears once connections are taken."""
        loop = asyncio.get_running_loop()
        acceptor = await asyncssh.listen(
            "127.0.0.1",
            self._config["port"],
            server_factory=lambda: _Login(self),
            server_host_keys=[self._host_key()],
            encoding=None,
            reuse_address=True,
            allow_scp=False,
            password_auth=False,
            kbdint_auth=False,
            gss_host=None,
        )
        loop.add_signal_handler(signal.SIGHUP, self._read_host_key, acceptor)
        loop.add_signal_handler(signal.SIGCHLD, self._see_ended)
        _write_whole(Path(self._config["pid_file"]), f"{os.getpid()}\n")
        await acceptor.wait_closed()

    def authorizes(self, key: asyncssh.SSHKey) -> bool:
        """Tell whether `key` may log in now."""
        offered = key.export_public_key("openssh").split()[:2]
        for name in self._config["authorized_keys_files"]:
            # A file that is not there authorizes nobody.
            with contextlib.suppress(OSError):
                lines = Path(name).read_bytes().splitlines()
                if any(_names_key(line, offered) for line in lines):
                    return True
        return False

    def _see_ended(self) -> None:
        for session in list(self.running):
            session.finish_if_over()

    def _host_key(self) -> asyncssh.SSHKey:
        # By its name asyncssh would believe the .pub file beside it, which may be of an older key.
        return asyncssh.read_private_key(self._config["host_key"])

    def _read_host_key(self, acceptor: asyncssh.SSHAcceptor) -> None:
        if self._config["keeps_host_key"]:
            return
        try:
            acceptor.update(server_host_keys=[self._host_key()])
        except (OSError, asyncssh.KeyImportError) as error:
            sys.stderr.write(f"the host key stays as it is: {error}\n")


def _names_key(line: bytes, offered: list[bytes]) -> bool:
    words = line.split()
    return not line.startswith(b"#") and any(words[at : at + 2] == offered for at in range(len(words)))


def _write_whole(path: Path, text: str) -> None:
    """Write so that nobody ever reads half of it."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)


def main() -> None:
    """Run with the configuration file named in argv."""
    config: SshdConfig = json.loads(Path(sys.argv[1]).read_text())
    # Started by hand from the start command it must not end with the shell that started it.
    with contextlib.suppress(PermissionError):
        os.setsid()
    asyncio.run(_Server(config).serve())


if __name__ == "__main__":
    main()
