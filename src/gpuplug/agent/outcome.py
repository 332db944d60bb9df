"""How a cell ended, told from what it raised."""

import os
import sys
from types import TracebackType
from typing import NamedTuple, Optional

_LIBRARY = os.path.dirname(os.__file__) + os.sep


class Outcome(NamedTuple):
    """Status `ok`, `error`, `interrupted` or `exited`; the last one with its exit code."""

    status: str
    code: Optional[int] = None


def outcome_of(error: Optional[BaseException]) -> Outcome:
    """Return what `error` means for the cell; words that SystemExit carries go to stderr, as Python does it."""
    if error is None:
        return Outcome("ok")
    if isinstance(error, KeyboardInterrupt):
        return Outcome("interrupted")
    if not isinstance(error, SystemExit):
        return Outcome("error")
    if error.code is None or isinstance(error.code, int):
        return Outcome("exited", int(error.code or 0))
    print(error.code, file=sys.stderr)  # noqa: T201 - the cell's stderr
    return Outcome("exited", 1)


def text_of(error: object) -> str:
    """Return the text of an exception, whatever its class makes of it."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the user's class may raise anything
        return "<exception str() failed>"


def drop_our_end(traceback: Optional[TracebackType]) -> None:
    """Take the agent's own frames off the end of `traceback`: what a cell calls there is, to it, the end of the world."""
    last = cut = None  # the last frame of others, and the same once one of ours is behind it
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals.get("__package__") == __package__:
            cut = cut or last
        elif cut is None or not _is_library(frame.f_code.co_filename):
            last, cut = traceback, None
        traceback = traceback.tb_next
    if cut is not None:
        cut.tb_next = None


def _is_library(file: str) -> bool:
    return file.startswith((_LIBRARY, "<frozen ")) and "-packages" not in file


class Leave:
    """`exit` and `quit` in a cell: end the cell and keep the state."""

    def __repr__(self) -> str:
        return "exit() ends this cell; what it defined stays"

    def __call__(self, code: object = None) -> None:
        """Raise SystemExit."""
        raise SystemExit(code)
