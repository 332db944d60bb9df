"""IPython without a notebook: in a terminal and in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

from frontends_kit import CELL_S, environment

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in sys.argv[1:]:
    shell.run_cell(cell, store_history=True)
shell.run_cell('%gpu down')
"""
LOAD = "%load_ext gpuplug"


def piped(home: Path, *cells: str) -> tuple[str, str]:
    """Run cells with stdin, stdout and stderr that are no terminal; return what the last two got."""
    command = [sys.executable, "-c", PROGRAM, LOAD, *cells]
    done = subprocess.run(
        command,
        env=environment(home),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CELL_S,
        check=True,
    )
    return done.stdout, done.stderr


def typed(home: Path, answers: str, *cells: str, **more: str) -> str:
    """Run cells in a terminal and return its screen's text, line ends as the program wrote them."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, LOAD, *cells]
    environ = environment(home, TERM="xterm", **more)
    with subprocess.Popen(
        command, env=environ, cwd=home, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ):
        os.close(theirs)
        os.write(ours, answers.encode())
        seen = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    return seen.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that nobody holds the other end any more
        return b""


def test_in_a_pipe_output_is_on_stdout_and_talk_on_stderr_without_any_control_code(tmp_path: Path) -> None:
    out, err = piped(tmp_path, "%%remote_gpu\nprint('hello')\n6 * 7", "_ ", "%%remote_gpu\n1 / 0", "%gpu lss")
    assert "hello\nOut[2]: 42\n" in out
    assert "Out[3]: 42\n" in out
    assert "ZeroDivisionError: division by zero" in out
    assert "UsageError: %gpu has no verb 'lss'\n\nhint: did you mean %gpu ls?\n" in out
    assert "agent " in err
    assert "local - " in err
    assert not set("\x1b\r\b") & set(out + err)
    assert "Traceback (most recent call last)" in out
    assert "gpuplug/" not in out


def test_in_a_pipe_nobody_can_be_asked(tmp_path: Path) -> None:
    out, _ = piped(tmp_path, "%%remote_gpu\ntry:\n    input('name? ')\nexcept EOFError:\n    print('nobody')")
    assert "nobody\n" in out


def test_in_a_terminal_the_wait_is_redrawn_and_questions_are_answered(tmp_path: Path) -> None:
    seen = typed(tmp_path, "Ada\n", "%%remote_gpu\nprint('hi', input('name? '))")
    assert "agent ..." in seen
    assert "\r" in seen
    assert "name? " in seen
    # Some builds of readline show an answer that was typed ahead a second time.
    assert "hi Ada\n" in seen
    assert "local - " in seen


def test_in_a_terminal_our_own_lines_begin_at_the_left_and_the_line_of_phases_ends(tmp_path: Path) -> None:
    seen = typed(tmp_path, "", "%%remote_gpu\nprint('x', end='')")
    assert "\nx\nlocal - " in seen
    assert "run ..." not in seen


def test_a_terminal_that_cannot_redraw_shows_what_was_sent_below_the_phases(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    seen = typed(tmp_path, "", "%%remote_gpu\nprint(open('a.txt').read(), end='')", NO_COLOR="1")
    lines = seen.splitlines()
    sent = lines.index("sent 1 of 1 files, 1 B")
    assert "agent " in lines[sent - 1]
    assert lines[sent + 1] == "x"
    assert lines[sent + 2].startswith("local - ")
    assert "..." not in seen


def test_in_a_pipe_no_empty_line_is_added_to_the_talk(tmp_path: Path) -> None:
    out, err = piped(tmp_path, "%%remote_gpu\nprint('x', end='')")
    assert "x" in out
    assert "" not in err.splitlines()


def test_no_color_means_plain_lines_in_a_terminal_too(tmp_path: Path) -> None:
    seen = typed(tmp_path, "", "%%remote_gpu\nprint('hello')\n1 / 0", NO_COLOR="1")
    assert "hello\n" in seen
    assert "ZeroDivisionError" in seen
    assert not set("\x1b\r\b") & set(seen)
