"""`%%remote_gpu` and `%gpu`: the door to IPython. Loading it is cheap; what a magic needs is loaded when it is used."""

from __future__ import annotations

import atexit
import os
import re
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from gpuplug.config import places
from gpuplug.errors import LedgerError
from gpuplug.frontends import opening
from gpuplug.frontends.magics import tab
from gpuplug.ledger import nothing_today

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gpuplug.frontends.magics.commands import Commands

_MAGICS = (("cell", "remote_gpu"), ("cell", "gpu"), ("line", "gpu"))
# In which cell of a shell `unload` has told what bills: `%reload_ext` loads in the same one.
_TOLD: WeakKeyDictionary[InteractiveShell, int] = WeakKeyDictionary()
_ASKS_FOR_HELP = re.compile(r"%%(remote_gpu|gpu)\b.*\s--help\s*")


class Door:
    """Makes the commands of one shell when they are first needed."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._commands: Commands | None = None
        self._process = os.getpid()
        atexit.register(self._leave)

    @property
    def commands(self) -> Commands:
        """The commands; the first use loads the engine."""
        if self._commands is None:
            from gpuplug.frontends.magics.commands import Commands  # noqa: PLC0415 - `%load_ext` must not pay for it

            self._commands = Commands(self._shell)
        return self._commands

    def greet(self, *, told: bool = False) -> None:
        """Print what runs and what it costs; asks no provider, and looks closely only when there is something to see.

        `told` says that this cell has shown already what bills.
        """
        if told:
            _ = self.commands  # something bills: leaving has to say so once more
            print(opening.line(places.enabled(), "loaded again"))  # noqa: T201 - a cell's output
            return
        try:
            bill = opening.NOTHING_BILLS if nothing_today(places.home()) else self._bill()
        except LedgerError as error:
            bill = str(error)
        print(opening.line(places.enabled(), bill))  # noqa: T201 - a cell's output

    def _bill(self) -> str:
        from gpuplug.frontends import verbs  # noqa: PLC0415 - `%load_ext` must not pay for it

        bill = verbs.bill(self.commands.engine)
        self.commands.watch.begin()  # it asks the providers, beside the cells
        return bill

    def close(self) -> bool:
        """Close sessions; rented instances stay and are named with what they cost. Tell whether any was named."""
        atexit.unregister(self._leave)
        return self._commands is not None and self._commands.close()

    def _leave(self) -> None:
        # A copy of this process that user code forked has the same sessions, and they are not its own.
        if self._commands is not None and os.getpid() == self._process:
            self._commands.leave()


class Magic:
    """One magic as IPython calls it; its help is made from the option table when somebody asks."""

    def __init__(self, door: Door, kind: str) -> None:
        self.door = door
        self._kind = kind

    def __call__(self, line: str, cell: str | None = None) -> None:
        """Do what was typed."""
        if cell is None:
            self.door.commands.gpu(line)
        else:
            self.door.commands.remote_gpu(line, cell)

    @property
    def __doc__(self) -> str:  # type: ignore[override]  # a text that is made when it is read
        from gpuplug import config  # noqa: PLC0415 - `%load_ext` must not pay for it
        from gpuplug.frontends.magics.commands import overview  # noqa: PLC0415 - likewise

        return config.help_text(config.CELL) if self._kind == "cell" else overview()


def _with_body(lines: list[str]) -> list[str]:
    """Give a cell that only asks for help the body without which IPython calls no cell magic."""
    return [*lines, "\n"] if len(lines) == 1 and _ASKS_FOR_HELP.fullmatch(lines[0]) else lines


def load(shell: InteractiveShell) -> None:
    """Register the magics once and print what runs and what it costs; asks no provider."""
    unload(shell)
    told = _TOLD.pop(shell, None) == shell.execution_count
    door = Door(shell)
    for kind, name in _MAGICS:
        shell.register_magic_function(Magic(door, kind), kind, name)
    shell.input_transformers_cleanup.append(_with_body)
    tab.attach(shell, lambda: door.commands.engine)
    door.greet(told=told)


def unload(shell: InteractiveShell) -> None:
    """Close sessions and take the magics away; rented instances stay and are named with what they cost."""
    registered = shell.magics_manager.magics
    ours = {name: registered[kind].get(name) for kind, name in _MAGICS}
    if not isinstance(magic := ours["remote_gpu"], Magic):
        return
    if magic.door.close():
        _TOLD[shell] = shell.execution_count
    shell.input_transformers_cleanup.remove(_with_body)
    tab.detach(shell)
    for kind, name in _MAGICS:
        registered[kind].pop(name, None)
