"""What a cell shows: every kind of event, in the order in which it happened."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from agent_kit import Control, Ran, installed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with installed(tmp_path_factory.mktemp("cells") / "home") as machine:
        yield machine.control()


def lines(ran: Ran) -> str:
    return "\n".join(json.loads(ran.only("error")[0].payload))


def test_a_cell_begins_with_started_and_ends_with_done(cells: Control) -> None:
    first, second = cells.cell("x = 1"), cells.cell("x += 1")
    assert first.kinds() == second.kinds() == ["started", "done"]
    assert second.events[0].header["count"] == first.events[0].header["count"] + 1
    assert (second.status, second.done["restarted"], second.done["signal"]) == ("ok", False, None)
    assert 0 <= second.done["seconds"] < 5


def test_the_numbers_of_events_have_no_gap(cells: Control) -> None:
    events = cells.cell("print(1)\ndisplay(2)\n3").events
    numbers = [event.header["seq"] for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_the_last_expression_is_the_result_and_state_stays(cells: Control) -> None:
    cells.cell("y = {'a': 1}")
    ran = cells.cell("y")
    assert ran.forms("result") == [{"text/plain": b"{'a': 1}"}]
    assert ran.only("result")[0].header["count"] == ran.events[0].header["count"]


def test_prints_and_displays_stay_in_order(cells: Control) -> None:
    ran = cells.cell(
        "import sys\nfor i in range(50):\n    print('a', i); display(i); print('b', i, file=sys.stderr); print('c', i)"
    )
    shown = []
    for event in ran.events[1:-1]:
        if event.kind == "stream":
            shown += event.payload.decode().splitlines()
        else:
            shown.append(f"d {event.payload.decode()}")
    assert shown == [f"{word} {i}" for i in range(50) for word in "adbc"]


def test_output_of_children_and_of_the_kernel_stay_in_order(cells: Control) -> None:
    ran = cells.cell(
        "import os\nfor i in range(5):\n    print('p', i, flush=True); os.system(f'echo c {i}'); display(i)"
    )
    shown = [event.payload.decode() for event in ran.only("stream")]
    assert "".join(shown) == "".join(f"p {i}\nc {i}\n" for i in range(5))
    assert len(ran.only("display")) == 5


def test_twenty_thousand_flushed_prints_are_all_there(cells: Control) -> None:
    ran = cells.cell("for i in range(20000): print(i, flush=True)")
    assert ran.text() == "".join(f"{i}\n" for i in range(20000))


def test_binary_output_passes_through(cells: Control) -> None:
    ran = cells.cell("import sys; sys.stdout.flush(); sys.stdout.buffer.write(bytes(range(256)) * 100); None")
    assert ran.data() == bytes(range(256)) * 100


def test_a_progress_bar_passes_through_as_it_is_drawn(cells: Control) -> None:
    ran = cells.cell("import sys\nfor i in range(3): sys.stderr.write(f'\\r{i}/3'); sys.stderr.flush()")
    assert ran.text("stderr") == "\r0/3\r1/3\r2/3"


def test_displays_carry_ids_metadata_and_updates(cells: Control) -> None:
    ran = cells.cell(
        "from IPython.display import display, clear_output\n"
        "h = display({'text/html': '<b>'}, raw=True, display_id='q', metadata={'isolated': True})\n"
        "h.update({'text/html': '<i>'}, raw=True)\n"
        "clear_output(wait=True)"
    )
    first, second = ran.only("display")
    assert (first.header["display_id"], first.header["update"], first.header["metadata"]) == (
        "q",
        False,
        {"isolated": True},
    )
    assert (second.header["display_id"], second.header["update"], second.payload) == ("q", True, b"<i>")
    assert ran.only("clear")[0].header["wait"] is True


def test_images_travel_as_raw_bytes(cells: Control) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
    ran = cells.cell(f"from IPython.display import Image\nImage(data={png!r}, format='png')")
    assert ran.forms("result")[0]["image/png"] == png


def test_a_large_display_arrives_whole(cells: Control) -> None:
    ran = cells.cell("display({'application/x': bytes(range(256)) * 40_000}, raw=True)")
    assert ran.forms()[0]["application/x"] == bytes(range(256)) * 40_000


def test_a_display_that_is_too_large_is_the_cells_error(cells: Control) -> None:
    ran = cells.cell("display({'application/x': bytes((1 << 26) + 1)}, raw=True)")
    assert (ran.status, ran.only("error")[0].header["ename"]) == ("error", "WireError")


def test_an_error_names_the_cell_and_the_line(cells: Control) -> None:
    ran = cells.cell("def f():\n    return 1 / 0\n\nf()")
    header = ran.only("error")[0].header
    assert (ran.status, header["ename"], header["evalue"]) == ("error", "ZeroDivisionError", "division by zero")
    plain = _without_colour(lines(ran))
    assert f"cell {ran.events[0].header['count']}, line 4" in plain
    assert "return 1 / 0" in plain
    assert "\x1b[" in lines(ran)


def _without_colour(text: str) -> str:
    return "".join(part.partition("m")[2] if index else part for index, part in enumerate(text.split("\x1b[")))


def test_a_syntax_error_is_shown_where_it_is(cells: Control) -> None:
    ran = cells.cell("a = 1\nb = = 2")
    assert ran.only("error")[0].header["ename"] == "SyntaxError"
    assert "line 2" in _without_colour(lines(ran))


def test_await_works_at_the_top_and_tasks_live_on(cells: Control) -> None:
    cells.cell("import asyncio\nasync def f():\n    await asyncio.sleep(0.001)\n    return 7")
    assert cells.cell("await f()").forms("result") == [{"text/plain": b"7"}]
    assert cells.cell("task = asyncio.ensure_future(f())").status in {"ok", "error"}


def test_commands_and_magics_work(cells: Control) -> None:
    assert cells.cell("!echo a$((1+1))").text() == "a2\r\n"
    assert cells.cell("n = 5\nx = !echo {n}\nprint(x)").text() == "['5']\n"
    assert "Wall time" in cells.cell("%%time\npass").text()
    assert cells.cell("%%bash\necho in bash").text() == "in bash\n"


def test_captured_output_is_the_cells_own_business(cells: Control) -> None:
    assert cells.cell("%%capture c\nprint('no'); display('no')").kinds() == ["started", "done"]
    assert cells.cell("print(c.stdout, end='')").text() == "no\n"


@pytest.mark.parametrize(("source", "code"), [("exit()", 0), ("exit", 0), ("quit(3)", 3), ("raise SystemExit(4)", 4)])
def test_leaving_ends_the_cell_and_keeps_the_state(cells: Control, source: str, code: int) -> None:
    cells.cell("kept = 'yes'")
    ran = cells.cell(source + "\nprint('not reached')" if source != "exit" else source)
    assert (ran.status, ran.done["code"], ran.kinds()) == ("exited", code, ["started", "done"])
    assert cells.cell("print(kept)").text() == "yes\n"


def test_words_of_an_exit_are_shown(cells: Control) -> None:
    ran = cells.cell("raise SystemExit('enough')")
    assert (ran.done["code"], ran.text("stderr")) == (1, "enough\n")


def test_the_cell_finds_itself_in_a_program_in_the_working_folder(cells: Control) -> None:
    cells.cell("open('near.py', 'w').write('value = 8')")
    source = (
        "import os, sys, near, pickle\nclass C: pass\n"
        "print(os.getcwd(), __name__, near.value, type(pickle.loads(pickle.dumps(C()))) is C)"
    )
    assert cells.cell(source).text() == f"{cells.welcome['work']} __main__ 8 True\n"
    assert cells.cell("import inspect\ndef f(): pass\nprint(inspect.getsource(f))").text() == "def f(): pass\n\n"
    assert cells.cell(
        "print([p for p in sys.path if 'gpuplug_agent' in p or p.endswith('.pyz')], sys.argv)"
    ).text() == ("[] ['']\n")


def test_nothing_of_ours_is_inherited_by_programs_of_the_cell(cells: Control) -> None:
    ran = cells.cell(
        "import os, subprocess\n"
        "found = subprocess.run(['ls', '/proc/self/fd'], capture_output=True, text=True).stdout.split()\n"
        "print('MPLBACKEND' in os.environ, found)"
    )
    assert ran.text() == "False ['0', '1', '2', '3']\n"


def test_forked_children_repeat_nothing_and_hang_nowhere(cells: Control) -> None:
    ran = cells.cell(
        "import os\nprint('once', end=' ')\npid = os.fork()\n"
        "if not pid:\n    print('child'); display('shown'); os._exit(0)\n"
        "os.waitpid(pid, 0); print('parent')"
    )
    assert ran.text() == "once child\n'shown'\nparent\n"


def test_a_fork_that_runs_to_the_end_of_the_cell_leaves_one_kernel(cells: Control) -> None:
    ran = cells.cell("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('here', flush=True)")
    assert sorted(ran.text().split()) == ["here", "here"]
    assert cells.cell("print(1)").text() == "1\n"


def test_multiprocessing_works(cells: Control) -> None:
    ran = cells.cell(
        "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))"
    )
    assert ran.text() == "[1, 2]\n"


def test_output_between_cells_comes_with_the_next(cells: Control) -> None:
    cells.cell(
        "import threading\ngo = threading.Event()\n"
        "t = threading.Thread(target=lambda: (go.wait(), print('late', flush=True)))\nt.start()"
    )
    ran = cells.cell("go.set(); t.join()")
    assert ran.text() == "late\n"
    cells.cell(
        "import subprocess\nc = subprocess.Popen(['sh', '-c', 'read x; echo idle'], stdin=subprocess.PIPE)\n"
        "threading.Timer(0.02, lambda: c.communicate(b'\\n')).start()"
    )
    assert cells.cell("c.wait(); None").text() == "idle\n"


def test_endless_children_do_not_hold_up_events(cells: Control) -> None:
    ran = cells.cell(
        "import subprocess\nc = subprocess.Popen(['yes'])\nfor i in range(20): display(i)\nc.kill(); c.wait(); None"
    )
    assert [event.payload for event in ran.only("display")] == [b"%d" % i for i in range(20)]
    cells.cell("")


def test_queued_cells_run_in_order_and_an_id_runs_once(cells: Control) -> None:
    ids = [cells.start(f"print({i})") for i in range(5)]
    cells.start("print('again')", cell=ids[0])
    assert [cells.finish(each).text() for each in ids] == [f"{i}\n" for i in range(5)]
    assert cells.cell("print('next')").text() == "next\n"


def test_a_warning_points_at_the_cell(cells: Control) -> None:
    ran = cells.cell("import warnings\nwarnings.warn('careful')")
    assert f"<cell {ran.events[0].header['count']}>:2: UserWarning: careful" in ran.text("stderr")


def test_the_python_is_the_one_that_was_announced(cells: Control) -> None:
    assert cells.cell("import platform; print(platform.python_version())").text() == cells.welcome["python"] + "\n"
    assert cells.cell("import sys; print(sys.executable)").text() == sys.executable + "\n"


@pytest.mark.parametrize(
    ("source", "ename"),
    [
        ("%nonesuch", "UsageError"),
        ("raise BaseException('base')", "BaseException"),
        ("def f(): f()\nf()", "RecursionError"),
        ("import sys\nsys.exit = 1 / 0", "ZeroDivisionError"),
    ],
)
def test_whatever_goes_wrong_there_is_one_error(cells: Control, source: str, ename: str) -> None:
    ran = cells.cell(source)
    assert (ran.status, [event.header["ename"] for event in ran.only("error")]) == ("error", [ename])


def test_a_cell_cannot_cut_the_streams_of_the_next(cells: Control) -> None:
    assert cells.cell("import sys\nsys.stdout.close(); sys.stderr.close()\nsys.stdout = None").status == "ok"
    ran = cells.cell("import sys\nprint('out'); print('err', file=sys.stderr)")
    assert (ran.text(), ran.text("stderr")) == ("out\n", "err\n")


def test_the_debugger_asks_and_is_answered(cells: Control) -> None:
    cell = cells.start("def f():\n    inside = 5\n    breakpoint()\n    return inside\n\nf()")
    for command in ("p inside * 2", "c"):
        cells.until(lambda event: event.kind == "input_request")
        cells.send({"op": "input", "cell": cell, "text": command})
    ran = cells.finish(cell)
    assert (ran.status, ran.text()) == ("ok", "")
    assert ran.forms("result") == [{"text/plain": b"5"}]


def test_what_is_printed_shows_up_while_the_cell_runs(cells: Control) -> None:
    cell = cells.start("import time\nprint('soon', end='')\nwhile True: time.sleep(0.01)")
    events = cells.until(lambda event: event.cell == cell and event.kind == "stream")
    assert events[-1].payload == b"soon"
    cells.interrupt(cell)
    assert cells.finish(cell).status == "interrupted"


def test_the_traceback_of_an_interrupt_ends_in_the_cell(cells: Control) -> None:
    cell = cells.start("import time\nprint(1)\ntime.sleep(60)")
    cells.until(lambda event: event.cell == cell and event.kind == "stream")
    cells.interrupt(cell)
    text = _without_colour(lines(cells.finish(cell)))
    assert "----> 3 time.sleep(60)" in text
    assert "interrupts.py" not in text
