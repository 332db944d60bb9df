"""Interrupts, questions, and kernels that die: every cell gets its `done`, exact, and nothing written is lost."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest
from agent_kit import Agent, Control, installed, lives, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

CAP = 20 << 20
FLOODS = [
    "while True: print('x' * 1000)",
    "while True: print('out', flush=True); print('err', file=sys.stderr)",
    "while True: sys.stderr.write('x')",
    "while True: display(1)",
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with installed(tmp_path_factory.mktemp("kernel") / "home") as found:
        yield found


@pytest.fixture(scope="module")
def used(machine: Agent) -> list[Control]:
    return [machine.control()]


@pytest.fixture
def cells(machine: Agent, used: list[Control]) -> Control:
    if used[-1].stuck:  # the kernel of a test that failed is not for the next one
        used.append(machine.control(f"k{len(used)}"))
    return used[-1]


@pytest.mark.parametrize(
    "source",
    [
        "print('on', flush=True)\nimport time\ntime.sleep(60)",
        "print('on', flush=True)\nwhile True: pass",
        "print('on', flush=True)\nimport subprocess; subprocess.run(['sleep', '60'])",
        "print('on', flush=True)\nimport threading; threading.Event().wait()",
        "print('on', flush=True)\nimport asyncio\nawait asyncio.sleep(60)",
        "print('on', flush=True)\nimport select; select.select([], [], [])",
        "print('on', flush=True)\nfor i in range(10**9): display(i) if i % 100 == 0 else None",
    ],
)
def test_an_interrupt_ends_the_cell_and_keeps_the_state(cells: Control, source: str) -> None:
    cells.cell("kept = 1")
    cell = cells.start(source)
    cells.until(lambda event: event.kind == "stream" and event.cell == cell)
    cells.interrupt(cell)
    ran = cells.finish(cell)
    assert (ran.status, ran.done["restarted"]) == ("interrupted", False)
    assert ran.only("error")[0].header["ename"] == "KeyboardInterrupt"
    assert cells.cell("print(kept)").text() == "1\n"


def test_an_interrupt_that_no_system_call_of_the_cell_notices_ends_it_all_the_same(cells: Control) -> None:
    # Another thread takes the signal, so the call in the main thread goes on: as when it came just before the call.
    cell = cells.start(
        "import select, signal, threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "try:\n"
        "    print('on', flush=True)\n"
        "    select.select([], [], [])\n"
        "finally:\n"
        "    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)"
    )
    cells.until(lambda event: event.kind == "stream" and event.cell == cell)
    cells.interrupt(cell)
    assert cells.finish(cell).status == "interrupted"


def test_an_interrupt_right_after_a_print_does_not_print_it_twice(cells: Control) -> None:
    for _ in range(30):  # each at another moment
        cell = cells.start("import time\nprint('on', flush=True)\ntime.sleep(60)")
        seen = cells.until(lambda event, cell=cell: event.kind == "stream" and event.cell == cell)  # type: ignore[misc]
        cells.interrupt(cell)
        assert seen[-1].payload + cells.finish(cell).data() == b"on\n"


def test_an_interrupt_that_the_cell_deals_with_comes_once(cells: Control) -> None:
    cell = cells.start(
        "import time\n"
        "try:\n"
        "    print('on', flush=True)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    time.sleep(1.5)\n"
        "    print('saved')"
    )
    cells.until(lambda event: event.kind == "stream" and event.cell == cell)
    cells.interrupt(cell)
    ran = cells.finish(cell)
    assert (ran.status, ran.text()) == ("ok", "saved\n")


@pytest.mark.parametrize("source", FLOODS)
def test_an_interrupt_in_the_midst_of_a_flood_of_output_shows_no_line_of_the_agent(cells: Control, source: str) -> None:
    for _ in range(5):  # each at another moment
        cell = cells.start("import sys\nprint('on', flush=True)\n" + source)
        cells.until(lambda event, cell=cell: event.kind == "stream" and event.cell == cell)  # type: ignore[misc]
        cells.interrupt(cell)
        lines = json.loads(cells.finish(cell).only("error")[0].payload)
        text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))
        assert text.rstrip().endswith("KeyboardInterrupt:")
        assert "gpuplug_agent" not in text


def test_endless_output_is_capped_counted_and_interrupted(cells: Control) -> None:
    cell = cells.start("import sys\nwhile True: sys.stdout.write('x' * 65536)")
    got = 0
    while got < CAP:
        event = cells.event()
        got += len(event.payload) if event.kind == "stream" else 0
    cells.interrupt(cell)
    ran = cells.finish(cell)
    assert got == CAP
    assert ran.status == "interrupted"
    assert ran.kinds()[-2:] == ["truncated", "done"]
    assert ran.only("truncated")[0].header["name"] == "stdout"
    assert ran.only("truncated")[0].header["bytes"] >= 0


def test_the_cap_counts_every_byte(cells: Control) -> None:
    ran = cells.cell(
        f"import sys\nfor i in range(3): sys.stdout.write('y' * {10 << 20})\nprint('end', file=sys.stderr)"
    )
    assert len(ran.data()) == CAP
    assert ran.only("truncated")[0].header["bytes"] == 10 << 20
    assert (ran.text("stderr"), ran.status) == ("end\n", "ok")


def test_a_queued_cell_is_dropped_and_the_running_one_goes_on(cells: Control) -> None:
    running = cells.start("answer = input('go?')")
    queued = cells.start("print('never')")
    cells.until(lambda event: event.kind == "input_request")
    cells.interrupt(queued)
    dropped = cells.finish(queued)
    assert (dropped.kinds(), dropped.status) == (["done"], "interrupted")
    cells.send({"op": "input", "cell": running, "text": "yes"})
    assert cells.finish(running).status == "ok"


def test_an_interrupt_of_a_finished_cell_does_nothing(cells: Control) -> None:
    cell = cells.start("1")
    cells.finish(cell)
    other = cells.start("import time\nfor _ in range(20): time.sleep(0.005)")
    cells.interrupt(cell)
    assert cells.finish(other).status == "ok"


def test_interrupts_at_any_moment_never_break_the_kernel(cells: Control) -> None:
    outcomes = set()
    for _ in range(25):
        cell = cells.start("for i in range(30):\n    print(i); display(i)")
        cells.interrupt(cell)
        cells.interrupt(cell)
        outcomes.add(cells.finish(cell).status)
        assert cells.cell("print('well')").text() == "well\n"
    assert outcomes <= {"ok", "interrupted"}


def test_an_interrupt_while_the_kernel_still_starts_counts(machine: Agent) -> None:
    with machine.control("starting") as fresh:
        cell = fresh.start("import time\ntime.sleep(60)")
        fresh.interrupt(cell)
        assert fresh.finish(cell).status == "interrupted"


def test_a_handler_of_the_cells_own_lasts_as_long_as_the_cell(cells: Control) -> None:
    cells.cell("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)")
    cell = cells.start("import time\ntime.sleep(60)")
    cells.until(lambda event: event.kind == "started" and event.cell == cell)
    cells.interrupt(cell)
    assert cells.finish(cell).status == "interrupted"


def test_questions_are_answered(cells: Control) -> None:
    cell = cells.start("name = input('name? ')\nimport getpass\nword = getpass.getpass('word? ')\nprint(name, word)")
    asked = cells.until(lambda event: event.kind == "input_request")[-1]
    assert (asked.header["prompt"], asked.header["password"]) == ("name? ", False)
    cells.send({"op": "input", "cell": cell, "seq": asked.header["seq"], "text": "Zoë"})
    again = cells.until(lambda event: event.kind == "input_request")[-1]
    assert (again.header["prompt"], again.header["password"]) == ("word? ", True)
    for text in ("late answer to the first", "secret"):
        seq = asked.header["seq"] if text.startswith("late") else again.header["seq"]
        cells.send({"op": "input", "cell": cell, "seq": seq, "text": text})
    assert cells.finish(cell).text() == "Zoë secret\n"


def test_what_was_printed_stands_before_the_question(cells: Control) -> None:
    cell = cells.start("print('first', end='')\ninput('?')")
    kinds = [event.kind for event in cells.until(lambda event: event.kind == "input_request")]
    assert kinds == ["started", "stream", "input_request"]
    cells.send({"op": "input", "cell": cell, "eof": True})
    assert cells.finish(cell).only("error")[0].header["ename"] == "EOFError"


def test_a_question_can_be_interrupted_and_asked_again(cells: Control) -> None:
    cell = cells.start("input('never answered')")
    cells.until(lambda event: event.kind == "input_request")
    cells.interrupt(cell)
    assert cells.finish(cell).status == "interrupted"
    cells.send({"op": "input", "cell": cell, "text": "too late"})
    cell = cells.start("print(input('again'))")
    cells.until(lambda event: event.kind == "input_request")
    cells.send({"op": "input", "cell": cell, "text": "in time"})
    assert cells.finish(cell).text() == "in time\n"


def test_a_thread_that_asks_when_its_cell_is_over_gets_the_end_of_input(cells: Control) -> None:
    source = (
        "import threading\nsaid = []\ndef ask():\n"
        "    try: input('?')\n    except EOFError: said.append('eof')\n"
        "t = threading.Thread(target=ask); t.start()"
    )
    cells.cell(source)
    assert cells.cell("t.join(10); print(said)").text() == "['eof']\n"


@pytest.mark.parametrize(
    ("source", "code", "signal"),
    [
        ("import os; os._exit(3)", 3, None),
        ("import os; os._exit(0)", 0, None),
        ("import os; os.kill(os.getpid(), 9)", None, 9),
        ("import os; os.kill(os.getpid(), 15)", None, 15),
        ("import ctypes; ctypes.string_at(0)", None, 11),
        ("import os; os.closerange(3, 4096); print(1, flush=True); display(1)", 1, None),
    ],
)
def test_a_kernel_that_dies_is_reported_and_replaced(
    cells: Control, source: str, code: int | None, signal: int | None
) -> None:
    cells.cell("kept = 1")
    ran = cells.cell("import sys\nfor i in range(3000): print('line', i)\nsys.stdout.flush()\n" + source)
    assert (ran.status, ran.done["code"], ran.done["signal"]) == ("died", code, signal)
    assert ran.done["restarted"] is True
    assert ran.text().startswith("".join(f"line {i}\n" for i in range(3000)))
    after = cells.cell("print('kept' in globals())")
    assert (after.text(), after.done["restarted"]) == ("False\n", False)
    assert after.events[0].header["count"] == 1


def test_a_crash_shows_where_it_was(cells: Control) -> None:
    ran = cells.cell("import ctypes\nctypes.string_at(0)")
    assert "Segmentation fault" in ran.text("stderr")
    assert "<cell " in ran.text("stderr")


def test_what_the_dead_kernel_started_is_ended_too(cells: Control) -> None:
    ran = cells.cell(
        "import os, subprocess\nc = subprocess.Popen(['sleep', '600'])\nprint(c.pid, flush=True)\nos._exit(1)"
    )
    wait_until(lambda: not lives(int(ran.text())))


def test_a_kernel_that_dies_between_cells_is_told_with_the_next(machine: Agent, cells: Control) -> None:
    pid = int(cells.cell("import os; print(os.getpid())").text())
    assert (machine.state / "kernels" / "k" / "pid").read_text() == f"{pid}\n"
    os.kill(pid, 9)
    wait_until(lambda: not lives(pid))
    ran = cells.cell("print('fresh')")
    if ran.status == "died":  # the request was on its way when the kernel died
        ran = cells.cell("print('fresh')")
    else:
        assert ran.done["restarted"] is True
    assert ran.text() == "fresh\n"
    assert cells.cell("1").done["restarted"] is False


def test_queued_cells_survive_the_death_of_the_one_before(cells: Control) -> None:
    first, second = cells.start("import os; os._exit(1)"), cells.start("print('alive')")
    assert cells.finish(first).status == "died"
    assert cells.finish(second).text() == "alive\n"


def test_scripts_run_by_bash(cells: Control) -> None:
    ran = cells.finish(cells.script("a=(x y)\nfalse\necho ${a[1]}; echo err >&2"))
    assert (ran.text(), ran.text("stderr"), ran.status) == ("y\n", "err\n", "ok")


def test_a_failed_script_is_an_error_with_its_status(cells: Control) -> None:
    ran = cells.finish(cells.script("nonesuch\nexit 7"))
    header = ran.only("error")[0].header
    assert (ran.status, header["ename"], header["evalue"]) == (
        "error",
        "CalledProcessError",
        "the script returned non-zero exit status 7",
    )
    assert f"cell {ran.events[0].header['count']}: line 1: nonesuch: command not found" in ran.text("stderr")


def test_a_script_is_interrupted_with_its_children(cells: Control) -> None:
    cell = cells.script("echo $$; sleep 600; sleep 600")
    cells.until(lambda event: event.kind == "stream" and event.cell == cell)
    cells.interrupt(cell)
    assert cells.finish(cell).status == "interrupted"


def test_python_in_a_script_prints_as_it_goes(cells: Control) -> None:
    cell = cells.script("python -c 'print(1); input()' <<(sleep 600)")
    if cells.until(lambda event: event.cell == cell and event.kind in {"stream", "done"})[-1].kind == "stream":
        cells.interrupt(cell)
        cells.finish(cell)
