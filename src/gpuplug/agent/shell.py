"""Runs cells in IPython's InteractiveShell, whose output goes to the journal instead of a terminal."""

import builtins
import contextlib
import sys
import warnings
from typing import Any, Callable, Dict, List, Optional, Tuple

from IPython.core.autocall import ExitAutocall
from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from .display import Display
from .outcome import Leave, Outcome, drop_our_end, outcome_of, text_of


class _Compiler(CachingCompiler):  # type: ignore[misc]  # IPython is not here when types are checked
    """Names cells as the notebook counts them."""

    def get_code_name(self, _raw_code: str, _transformed_code: str, number: int) -> str:
        return f"<cell {number}>"

    def format_code_name(self, name: str) -> Optional[Tuple[str, str]]:
        return ("cell", name[6:-1]) if name.startswith("<cell ") else None


class _Hook(DisplayHook):  # type: ignore[misc]  # likewise
    """Turns the value of the last expression into a `result`."""

    def start_displayhook(self) -> None: ...

    def write_output_prompt(self) -> None: ...

    def write_format_data(self, format_dict: Dict[str, Any], md_dict: Optional[Dict[str, Any]] = None) -> None:
        self.shell.gp_display.show("result", format_dict, md_dict, count=self.prompt_count)

    def finish_displayhook(self) -> None: ...


class _Publisher(DisplayPublisher):  # type: ignore[misc]  # likewise
    """Turns what is displayed into a `display`."""

    def publish(
        self,
        data: Dict[str, Any],
        metadata: Optional[Dict[str, Any]] = None,
        source: object = None,  # noqa: ARG002 - likewise
        *,
        transient: Optional[Dict[str, Any]] = None,
        update: bool = False,
        **_more: object,
    ) -> None:
        display_id = (transient or {}).get("display_id")
        self.shell.gp_display.show("display", data, metadata, display_id=display_id, update=update)

    def clear_output(self, wait: bool = False) -> None:  # noqa: FBT001, FBT002 - IPython's signature
        self.shell.gp_display.clear(wait=bool(wait))


class _Leave(Leave, ExitAutocall):  # type: ignore[misc]  # likewise
    """IPython calls it even when the parentheses are missing."""


class _Shell(InteractiveShell):  # type: ignore[misc]  # likewise
    """IPython without a terminal, a history file, and a copy of everything that is printed."""

    gp_display: Display
    displayhook_class = _Hook
    display_pub_class = _Publisher
    compiler_class = _Compiler

    def _tee(self, *_: object, **__: object) -> "contextlib.nullcontext[None]":
        return contextlib.nullcontext()

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **more: Any) -> None:  # noqa: ANN401 - IPython's
        """Show what was raised, without what the agent has added to it."""
        drop_our_end((exc_tuple or sys.exc_info())[2])
        super().showtraceback(exc_tuple, *args, **more)

    def _showtraceback(self, etype: type, evalue: object, stb: List[str]) -> None:
        if not issubclass(etype, SystemExit):
            self.gp_display.error(etype.__name__, text_of(evalue), "\n".join(stb).splitlines())

    def enable_gui(self, gui: Optional[str] = None) -> None:
        """There is no window here; `%matplotlib inline` asks for none."""

    def init_user_ns(self) -> None:
        """Fill the namespace, at the start and after `%reset`."""
        super().init_user_ns()
        leave = _Leave(self)
        for name in ("exit", "quit"):
            self.user_ns[name] = self.user_ns_hidden[name] = leave


class IPythonShell:
    """The same as `PlainShell`, by IPython.

    Args:
        display: where results go.
        ask: asks the user for a line; takes the prompt, and `password`: whether it is one.
    """

    def __init__(self, display: Display, ask: Callable[..., str]) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        config.HistoryManager.hist_file = ":memory:"
        self._display = display
        # IPython's advice how to leave means the program, and this is a cell.
        warnings.filterwarnings("ignore", message="To exit: use")
        _Shell.gp_display = display
        self._shell = _Shell.instance(config=config)
        builtins.input = lambda prompt="": ask(str(prompt), password=False)

    @property
    def count(self) -> int:
        """The number of the next cell."""
        return int(self._shell.execution_count)

    @count.setter
    def count(self, number: int) -> None:
        self._shell.execution_count = number

    @property
    def variables(self) -> Dict[str, Any]:
        """What cells have defined."""
        found: Dict[str, Any] = self._shell.user_ns
        return found

    def show(self, forms: Dict[str, Any]) -> None:
        """Show something whose forms are known."""
        self._display.show("display", forms)

    def run(self, source: str) -> Outcome:
        """Run one cell and say how it ended."""
        before = self._display.errors
        result = self._shell.run_cell(source, store_history=True)
        error = result.error_before_exec or result.error_in_exec
        found = outcome_of(error)
        # IPython only prints some: unknown magics, groups of exceptions.
        if found.status not in ("ok", "exited") and self._display.errors == before:
            self._display.error(type(error).__name__, text_of(error), [])
        return found

    def report(self, error: BaseException) -> Outcome:
        """Show what was raised and say what it means."""
        found = outcome_of(error)
        if found.status != "exited":
            self._shell.showtraceback((type(error), error, error.__traceback__))
        return found
