"""What the magics do once they are used: the engine over one notebook, drawn into its cells."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.engine.recording import left_behind
from gpuplug.engine.watching import Watch
from gpuplug.errors import GpuplugError, LedgerError, RemoteError
from gpuplug.frontends import verbs
from gpuplug.frontends.magics.drawing import Drawing
from gpuplug.frontends.magics.lines import takes_codes, without_colour
from gpuplug.frontends.notebooks import notebook_name
from gpuplug.frontends.prices import NothingError
from gpuplug.frontends.wording import as_command
from gpuplug.ledger import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from gpuplug.config import Options


_NO_THREADS_AT_EXIT = (3, 12)


class Interrupted(KeyboardInterrupt):
    """An interrupt that found no cell running there; shown as what bills, not as lines of gpuplug."""

    def _render_traceback_(self) -> list[str]:
        return [f"KeyboardInterrupt: {self}"]


class Commands:
    """The two magics over one engine."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self.engine = Engine(notebook_id(shell), Path.cwd())
        self.engine.caller = Caller(kernel_id(), str(notebook_file(shell) or ""))
        left_behind(self.engine.ledger, self.engine.caller.kernel)
        self.watch = Watch(config.home())
        self.engine.beside = self._look_after_what_bills  # a first cell may run for hours
        self._told_where = False

    def close(self) -> bool:
        """Close sessions, say what still bills, and tell whether anything does."""
        self.watch.end()
        if panels := sys.modules.get("gpuplug.frontends.magics.panels"):  # who has none does not load it
            panels.close()
        bills = bool(self.engine.billing())
        if bills:
            print(verbs.bill(self.engine))  # noqa: T201 - a cell's output
        self.engine.close()
        return bills

    def leave(self) -> None:
        """Do the same at the end of the process, for whoever sits at a terminal; raises nothing and ends soon."""
        self.watch.end()
        with contextlib.suppress(GpuplugError, OSError, ValueError):  # no ledger any more, no terminal any more
            if getattr(self._shell, "kernel", None) is None and self.engine.billing():
                print(as_command(verbs.bill(self.engine)), flush=True)  # noqa: T201 - the last words in a terminal
        # From Python 3.12 on no thread can start any more, and without one no hanging peer is waited for in bounded
        # time: the end of the process closes the connections then.
        if sys.version_info < _NO_THREADS_AT_EXIT:
            with contextlib.suppress(GpuplugError, OSError):
                self.engine.close()

    def remote_gpu(self, line: str, cell: str) -> None:
        """Run one cell: what `%%remote_gpu` and `%%gpu` do."""
        options = config.parse(line, config.CELL)
        if options.help:
            print(config.help_text(config.CELL))  # noqa: T201 - a cell's output
            return
        with self._interruptible():
            plan = self.engine.plan(cell, options, self._shell.user_ns)
            if options.dry_run:
                print(self.engine.dry_run(plan))  # noqa: T201 - a cell's output
                return
            drawing = self._drawing(options)
            try:
                ran = self.engine.run_cell(plan, drawing)
            finally:
                drawing.finish()
        self._shell.push(ran.values)
        self._take_arrived()
        if ran.failure is not None:
            raise self._showable(ran.failure)

    def gpu(self, line: str) -> None:
        """Run one verb: what `%gpu` does."""
        verb, rest = config.verb_of(line)
        options = config.parse(rest, verb)
        if options.help:
            print(overview() if line.split()[:1] == ["--help"] else config.help_text(verb))  # noqa: T201 - a cell's output
            return
        if verb == "panel":
            self._panel()
            return
        with self._interruptible():
            text = self._talk(verb, options) if verb in verbs.TALKING_VERBS else self._tell(verb, options)
            self._take_arrived()
        drawn = options.history or (options.by == "day" and not options.csv)
        if not (drawn and self._charted(options, text)):
            print(text)  # noqa: T201 - a cell's output

    def _take_arrived(self) -> None:
        """Bind variables that had waited on an instance; what has the same name here stays, as a changed file does."""
        for live in self.engine.sessions():
            for name in list(live.arrived):
                free = f"{name}_remote" if name in self._shell.user_ns else name
                self._shell.push({free: live.arrived.pop(name)})
                print(f"home: variable {name}" + ("" if free == name else f", as {free}"))  # noqa: T201 - a cell's output

    def _panel(self) -> None:
        from IPython.display import display  # noqa: PLC0415 - only when something is drawn

        from gpuplug.frontends.magics.panels import Panel  # noqa: PLC0415 - only who asks pays for it

        display(Panel())

    def _tell(self, verb: str, options: Options) -> str:
        try:
            return verbs.VERBS[verb](self.engine, options, print)
        except NothingError as nothing:  # a look that finds nothing is no reason to end "Run all"
            return nothing.shown

    def _charted(self, options: Options, text: str) -> bool:
        """Draw the history of prices, or of spend, where there is a page to draw on, and something to draw."""
        if getattr(self._shell, "kernel", None) is None:
            return False
        from gpuplug.frontends.magics import charts  # noqa: PLC0415 - only when something is drawn

        if options.by:
            spent = [line for line in self.engine.budgets.spend(options.since, options.by) if not line.simulated]
            return bool(spent) and charts.draw_spend(spent, text)
        found = self.engine.price_history(options)
        return bool(found) and charts.draw(found, text)

    def _talk(self, verb: str, options: Options) -> str:
        drawing = self._drawing(options)
        try:
            return verbs.TALKING_VERBS[verb](self.engine, options, drawing)
        finally:
            drawing.finish()

    def _drawing(self, options: Options) -> Drawing:
        """Return the cell's output area; the first one says so when no platform can be rented from."""
        drawing = Drawing(self._shell, self.engine.clock, quiet=options.quiet)
        fallen_back = config.choose_platforms(options.platform) == ("local",) and "local" not in options.platform
        if fallen_back and not self._told_where:
            self._told_where = True
            drawing.note("no key found: cells run on this computer (platform local, free)")
        return drawing

    def _showable(self, failure: Exception) -> Exception:
        """Return what the cell raised, without colours where no code may be shown."""
        in_terminal = getattr(self._shell, "kernel", None) is None
        if isinstance(failure, RemoteError) and in_terminal and not takes_codes(sys.stdout):
            failure.traceback = tuple(without_colour(line) for line in failure.traceback)
        return failure

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(verbs.bill(self.engine)) from None
        finally:
            self._look_after_what_bills()

    def _look_after_what_bills(self) -> None:
        with contextlib.suppress(LedgerError):  # what needs the ledger has said what is wrong with it
            if not self.watch.running and self.engine.billing():
                self.watch.begin()


def overview() -> str:
    """Return the help of `%gpu` as a whole."""
    verb_lines = [f"  %gpu {verb:<8} {text}" for verb, text in config.VERBS.items()]
    return "\n".join(["%gpu VERB [options]", "", *verb_lines, "", "%gpu VERB --help tells the options of one."])


def notebook_id(shell: Any) -> str:  # noqa: ANN401 - IPython carries no types
    """Return a stable name for the notebook: its file where the front end tells it, else the working folder."""
    return notebook_name(notebook_file(shell) or Path.cwd())


def notebook_file(shell: Any) -> Path | None:  # noqa: ANN401 - IPython carries no types
    """Return the notebook's file as the front end tells it; None where it does not."""
    told = os.environ.get("JPY_SESSION_NAME") or shell.user_ns.get("__vsc_ipynb_file__")
    path = Path.cwd() / str(told or "")
    return None if path.is_dir() else path  # nbclassic tells the folder


def kernel_id() -> str:
    """Return the id by which the Jupyter server of this kernel knows it; "" where there is no such thing."""
    connect = sys.modules.get("ipykernel.connect")
    if connect is None:
        return ""
    try:
        name = Path(connect.get_connection_file()).stem
    except RuntimeError:  # no kernel, or one of another make
        return ""
    return name.removeprefix("kernel-") if name.startswith("kernel-") else ""
