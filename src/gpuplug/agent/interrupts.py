"""When SIGINT may raise KeyboardInterrupt: while a cell runs, and not in the middle of a message to the daemon."""

import contextlib
import signal
import threading
from types import FrameType
from typing import Iterator, Optional

NUDGE = signal.SIGWINCH


class Interrupts:
    """Puts handlers of SIGINT in place; the cell sees Python's own, so that its tracebacks end in the cell."""

    def __init__(self) -> None:
        self._pending = False
        # A signal that comes just before a system call is not seen until the call ends. A nudge ends the call: whatever
        # came before is handled then, and if nothing did, the call goes on. SIGWINCH means nothing without a terminal.
        signal.signal(NUDGE, self._pass)

    def ignore(self) -> None:
        """Ignore SIGINT from now on: no cell runs. A handler that the cell has set goes too."""
        # A function and not SIG_IGN, which programs that the kernel starts would inherit.
        signal.signal(signal.SIGINT, self._pass)

    def _pass(self, _number: int, _frame: Optional[FrameType]) -> None: ...

    def _note(self, _number: int, _frame: Optional[FrameType]) -> None:
        self._pending = True

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let SIGINT raise KeyboardInterrupt."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            self.ignore()

    @contextlib.contextmanager
    def shield(self) -> Iterator[None]:
        """Put SIGINT off to the end."""
        before = signal.getsignal(signal.SIGINT)
        # Only the main thread is ever interrupted; a handler that is not Python's could not be put back.
        if threading.current_thread() is not threading.main_thread() or before is None:
            yield
            return
        signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            if self._pending:
                self._pending = False
                signal.raise_signal(signal.SIGINT)
