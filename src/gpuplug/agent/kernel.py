"""The process that runs cells: its variables live as long as it does."""

import faulthandler
import getpass
import os
import sys
from typing import TYPE_CHECKING, List, Tuple, Union

from . import figures, variables, wire
from .capture import Capture
from .channel import Channel, Pipes, give_up
from .display import Display
from .interrupts import Interrupts
from .outcome import Outcome
from .plain import PlainShell
from .script import run_script

if TYPE_CHECKING:
    from .shell import IPythonShell


def main(arguments: List[str]) -> None:
    """Run cells until the daemon is gone. `arguments`: private folder, working folder, three descriptors."""
    folder, work = arguments[:2]
    os.umask(0o022)
    interrupts = Interrupts()
    interrupts.ignore()
    channel = Channel(Pipes(*map(int, arguments[2:])), interrupts)
    capture = Capture(channel)
    faulthandler.enable(file=2, all_threads=False)
    _look_like_a_program(work)
    Kernel((folder, work), channel, capture, interrupts).serve()


def _look_like_a_program(work: str) -> None:
    """Let the cells find themselves in a program that was started in the working folder."""
    bundle = os.path.abspath(sys.argv[0])
    sys.path[:] = [work, *(path for path in sys.path if path and os.path.abspath(path) not in (bundle, work))]
    sys.argv = [""]


class Kernel:
    """Takes one cell after the other.

    Args:
        folders: the kernel's private folder, shared with the daemon, and the working folder.
        channel: the way to the daemon.
        capture: the streams.
        interrupts: when SIGINT counts.
    """

    def __init__(self, folders: Tuple[str, str], channel: Channel, capture: Capture, interrupts: Interrupts) -> None:
        self._folder, self._work = folders
        self._channel = channel
        self._capture = capture
        self._interrupts = interrupts
        self._display = Display(channel, capture.flush)
        self._shell = self._make_shell()
        figures.install(self._shell.show)
        getpass.getpass = lambda prompt="Password: ", stream=None: self._ask(prompt, password=True)  # noqa: ARG005

    def _make_shell(self) -> "Union[PlainShell, IPythonShell]":
        try:
            from .shell import IPythonShell  # noqa: PLC0415 - the image may have no IPython

            return IPythonShell(self._display, self._ask)
        except ImportError:
            pass
        except Exception as error:  # noqa: BLE001 - an IPython that does not start must not keep cells from running
            print(f"IPython does not start: {error!r}", file=sys.stderr)  # noqa: T201 - the first cell's stderr
        return PlainShell(self._display, self._ask)

    def _ask(self, prompt: str, *, password: bool) -> str:
        self._capture.flush()
        return self._channel.ask(prompt, password=password)

    def serve(self) -> None:
        """Run cells until the daemon is gone."""
        while True:
            frame = self._channel.request()
            if frame is None:
                give_up()
            self._run(*frame)

    def _run(self, header: wire.Header, source: bytes) -> None:
        self._capture.begin()
        outcome = self._guarded(header, source.decode("utf-8", "replace"))
        self._capture.end()
        self._capture.flush()
        if self._channel.forked:
            os._exit(0)  # the cell has forked and its copy has come to the end: cells are the original's
        self._channel.send({"kind": "done", "status": outcome.status, "code": outcome.code})

    def _guarded(self, header: wire.Header, source: str) -> Outcome:
        try:
            with self._interrupts.allowed():
                return self._attempt(header, source)
        except BaseException as error:  # noqa: BLE001 - what the user's classes raise while we handle them is the cell's
            self._interrupts.ignore()  # a second one may have come before the first was dealt with
            return self._shell.report(error)

    def _attempt(self, header: wire.Header, source: str) -> Outcome:
        cell = header["cell"]
        self._channel.send({"kind": "started", "count": self._shell.count})
        variables.find_modules(self._work, header)
        variables.load(self._folder, cell, header, self._shell.variables)
        outcome = self._execute(source, shell=bool(header.get("shell")))
        figures.flush()
        if outcome.status == "ok":
            self._capture.flush()
            variables.save(self._folder, cell, header.get("outputs") or [], self._shell.variables, self._channel.send)
        return outcome

    def _execute(self, source: str, *, shell: bool) -> Outcome:
        if not shell:
            return self._shell.run(source)
        count = self._shell.count
        self._shell.count = count + 1
        return run_script(source, count, self._display)
