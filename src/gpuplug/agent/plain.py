"""Runs cells where there is no IPython: last expression shown, top-level await, tracebacks with source lines."""

import ast
import asyncio
import builtins
import inspect
import linecache
import sys
import traceback
import types
from typing import Any, Callable, Dict, Optional

from .display import Display, forms_of
from .outcome import Leave, Outcome, drop_our_end, outcome_of, text_of

_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class PlainShell:
    """Holds the variables and runs source in them.

    Args:
        display: where results go.
        ask: asks the user for a line; takes the prompt, and `password`: whether it is one.
    """

    def __init__(self, display: Display, ask: Callable[..., str]) -> None:
        self._display = display
        self.count = 1
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self.variables: Dict[str, Any] = vars(module)
        self.variables["__builtins__"] = builtins
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        builtins.input = lambda prompt="": ask(str(prompt), password=False)
        for name, value in (("display", self.display), ("exit", Leave()), ("quit", Leave())):
            setattr(builtins, name, value)

    def display(self, *values: object, display_id: Optional[str] = None, update: bool = False) -> None:
        """Show each value in the cell, in its richest forms."""
        for value in values:
            forms, metadata = forms_of(value)
            self._display.show("display", forms, metadata, display_id=display_id, update=update)

    def show(self, forms: Dict[str, Any]) -> None:
        """Show something whose forms are known."""
        self._display.show("display", forms)

    def run(self, source: str) -> Outcome:
        """Run one cell and say how it ended."""
        name = f"<cell {self.count}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            self._execute(source, name)
        except BaseException as error:  # noqa: BLE001 - whatever the cell raises is shown, not ours to handle
            return self.report(error)
        finally:
            self.count += 1
        return outcome_of(None)

    def _execute(self, source: str, name: str) -> None:
        tree = ast.parse(source, name)
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            self._evaluate(compile(tree, name, "exec", _AWAIT))
            return
        tree.body.pop()
        self._evaluate(compile(tree, name, "exec", _AWAIT))
        value = self._evaluate(compile(ast.Expression(last.value), name, "eval", _AWAIT))
        # A semicolon at the end keeps the value silent, as in IPython.
        if value is not None and not source.rstrip().endswith(";"):
            self.variables["_"] = value
            forms, metadata = forms_of(value)
            self._display.show("result", forms, metadata, count=self.count)

    def _evaluate(self, code: types.CodeType) -> Any:  # noqa: ANN401 - whatever the cell says
        value = eval(code, self.variables)  # noqa: S307 - running what the user typed is what this is for
        if code.co_flags & inspect.CO_COROUTINE:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                asyncio.set_event_loop(self._loop)
            return self._loop.run_until_complete(value)
        return value

    def report(self, error: BaseException) -> Outcome:
        """Show what was raised and say what it means."""
        found = outcome_of(error)
        if found.status != "exited":
            drop_our_end(error.__traceback__)
            lines = traceback.format_exception(type(error), error, _cells_part(error))
            self._display.error(type(error).__name__, text_of(error), "".join(lines).splitlines())
        return found


def _cells_part(error: BaseException) -> Optional[types.TracebackType]:
    """Return the traceback from the cell on: what called it is ours."""
    part = error.__traceback__
    while part is not None:
        if part.tb_frame.f_code.co_filename.startswith("<cell "):
            return part
        part = part.tb_next
    return None if isinstance(error, SyntaxError) else error.__traceback__
