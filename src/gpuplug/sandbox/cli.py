"""`serve` a market in the foreground, or `run` one command against a fresh one."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gpuplug.sandbox.clock import ScaledClock
from gpuplug.sandbox.market import Settings
from gpuplug.sandbox.server import LOOPBACK, Addresses, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAILED = 1
MISUSED = 2
NOT_FOUND = 127
KILLED = 128
_PORTS = 1 << 16


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and what to type next."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISUSED, _complaint(message, f"{self.prog} --help"))


def _complaint(message: str, hint: str) -> str:
    return f"gpuplug sandbox: {message}\n\nhint: {hint}\n"


def _speed(text: str) -> float:
    return _amount(text, least=sys.float_info.min, meaning="a number above 0, such as 60")


def _seconds(text: str) -> float:
    return _amount(text, least=0, meaning="a number of seconds, 0 or more")


def _amount(text: str, *, least: float, meaning: str) -> float:
    with contextlib.suppress(ValueError):
        value = float(text)
        if math.isfinite(value) and value >= least:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} does not fit; write {meaning}")


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < _PORTS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; write 0 to {_PORTS - 1}, or leave it out for any free one")


def _parser() -> argparse.ArgumentParser:
    options = _Parser(add_help=False)
    options.add_argument("--seed", type=int, default=1, help="offers and prices repeat with it")
    options.add_argument("--speed", type=_speed, default=1.0, help="sandbox seconds per second")
    options.add_argument("--port", type=_port, default=0, help="of 127.0.0.1; 0 is any free one")
    options.add_argument("--sshd", choices=("asyncssh", "openssh"), default="asyncssh")
    options.add_argument("--pull", type=_seconds, metavar="SECONDS", help="of an image pull; else 1 to 3 by the seed")
    options.add_argument("--strict", action="store_true", help="enforce the service's rate limits")
    parser = _Parser(prog="gpuplug sandbox", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", parents=[options], help="until Ctrl-C")
    serve.add_argument("--json", action="store_true", help="one line of JSON instead of exports")
    run = verbs.add_parser("run", parents=[options], help="one command; its status is the exit status")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="what to run")
    return parser


def _server(options: argparse.Namespace, folder: str) -> Server:
    settings = Settings(
        folder=Path(folder) / "m",
        seed=options.seed,
        sshd=options.sshd,
        pull_s=options.pull,
        strict=options.strict,
    )
    return Server(settings, ScaledClock(options.speed))


def _environment(addresses: Addresses) -> dict[str, str]:
    return {
        "VAST_URL": addresses.vast_url,
        "VAST_API_KEY": addresses.vast_api_key,
        "RUNPOD_API_BASE_URL": addresses.runpod_api_base_url,
        "RUNPOD_API_KEY": addresses.runpod_api_key,
    }


def _announce(addresses: Addresses, *, as_json: bool) -> None:
    if as_json:
        text = json.dumps(addresses.facts())
    else:
        lines = [f"export {name}={shlex.quote(v)}" for name, v in _environment(addresses).items()]
        text = "\n".join([*lines, f"# meter: {addresses.meter_url}", f"# control: {addresses.control_url}"])
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _on_signals(act: Callable[[signal.Signals], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        # `nohup` has its commands ignore SIGHUP, and so it stays.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, act, number)


class _PortError(Exception):
    """The market cannot listen where it was told to."""


async def _open(server: Server, port: int) -> Addresses:
    try:
        return await server.open(port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise _PortError(f"port {port} of {LOOPBACK} cannot be opened: {reason}") from error


async def _serve(options: argparse.Namespace, folder: str) -> int:
    ended = asyncio.Event()
    _on_signals(lambda _number: ended.set())
    server = _server(options, folder)
    try:
        _announce(await _open(server, options.port), as_json=options.json)
        await ended.wait()
    finally:
        await server.close()
    return 0


class _Relay:
    """Passes signals on to the command, also those that come before it has started."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._early: list[signal.Signals] = []

    def pass_on(self, number: signal.Signals) -> None:
        if self._process is None:
            self._early.append(number)
            return
        # A terminal sends its interrupt to the command as well; a second one would mean something else.
        by_terminal = number == signal.SIGINT and sys.stdin.isatty()
        if self._process.returncode is None and not by_terminal:
            self._process.send_signal(number)

    def attach(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        for number in self._early:
            process.send_signal(number)


async def _run(options: argparse.Namespace, folder: str) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    relay = _Relay()
    _on_signals(relay.pass_on)
    server = _server(options, folder)
    try:
        addresses = await _open(server, options.port)
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        env = {**os.environ, **_environment(addresses), "GPUPLUG_HOME": str(home)}
        status = await _child(command, env, relay)
        with contextlib.suppress(OSError):  # the terminal may be gone
            sys.stderr.write(json.dumps(server.verdict()) + "\n")
    finally:
        await server.close()
    return status


async def _child(command: Sequence[str], env: dict[str, str], relay: _Relay) -> int:
    """Run `command` to its end; return its status as a shell would give it."""
    try:
        process = await asyncio.create_subprocess_exec(*command, env=env)
    except OSError as error:
        sys.stderr.write(f"gpuplug sandbox: cannot run {command[0]!r}: {error.strerror}\n")
        return NOT_FOUND
    relay.attach(process)
    status = await process.wait()
    return KILLED - status if status < 0 else status


def main(argv: list[str]) -> int:
    """Run `gpuplug sandbox ARGV`; return the exit status. Blocks until the market ends; costs nothing."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.verb == "run" and options.command in ([], ["--"]):
        parser.error("run needs a command after --")
    work = _serve if options.verb == "serve" else _run
    # Short, because unix sockets of the machines lie below it and their paths are limited to about 100 bytes.
    with tempfile.TemporaryDirectory(prefix="gpsb-", ignore_cleanup_errors=True) as folder:
        try:
            return asyncio.run(work(options, folder))
        except _PortError as error:
            sys.stderr.write(_complaint(str(error), "choose another --port, or leave it out for any free one"))
            return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
