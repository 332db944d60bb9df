"""Cells where there is no IPython, on old and new Pythons, and figures drawn in place."""

from __future__ import annotations

import json
import sys
import venv
from typing import TYPE_CHECKING

import pytest
from agent_kit import Control, installed
from interpreters_kit import find_python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PYTHONS = ("3.8", "3.12", "3.13")
PNG = b"\x89PNG\r\n\x1a\n"
ASK_TWICE = "a = input('one ')\nimport getpass\nprint(a, getpass.getpass())"


@pytest.fixture(scope="module", params=PYTHONS)
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    python = find_python(request.param)
    if python is None:
        pytest.skip(f"no Python {request.param} here")
    with installed(tmp_path_factory.mktemp("plain") / "home", python) as machine:
        yield machine.control()


def test_without_ipython_state_results_and_prints_work(plain: Control) -> None:
    plain.cell("x = 20")
    ran = plain.cell("print('out')\nx * 2")
    assert ran.kinds() == ["started", "stream", "result", "done"]
    assert ran.forms("result") == [{"text/plain": b"40"}]
    assert plain.cell("_ + 1").forms("result") == [{"text/plain": b"41"}]
    assert plain.cell("x;").kinds() == ["started", "done"]
    assert plain.cell("").kinds() == ["started", "done"]


def test_without_ipython_rich_forms_are_shown(plain: Control) -> None:
    source = (
        "class C:\n    def _repr_html_(self): return '<b>'\n    def _repr_png_(self): return b'png', {'width': 3}\n"
        "    def _repr_svg_(self): return 1 / 0\n    def __repr__(self): return 'C!'\n"
        "class B:\n    def _repr_mimebundle_(self, **k): return {'application/json': {'a': 1}}\n    def __repr__(self): return 'B'\n"
        "display(C(), B())"
    )
    ran = plain.cell(source)
    assert ran.forms() == [
        {"text/html": b"<b>", "image/png": b"png", "text/plain": b"C!"},
        {"application/json": b'{"a": 1}', "text/plain": b"B"},
    ]
    assert ran.only("display")[0].header["metadata"] == {"image/png": {"width": 3}}
    assert "ZeroDivisionError" in ran.text("stderr")


def test_without_ipython_tracebacks_show_the_cell_alone(plain: Control) -> None:
    ran = plain.cell("def f():\n    return {}['no']\n\nf()")
    lines = json.loads(ran.only("error")[0].payload)
    count = ran.events[0].header["count"]
    assert lines[:2] == ["Traceback (most recent call last):", f'  File "<cell {count}>", line 4, in <module>']
    assert "    return {}['no']" in lines
    assert lines[-1] == "KeyError: 'no'"
    broken = plain.cell("a = 1\nb = = 2")
    text = "\n".join(json.loads(broken.only("error")[0].payload))
    assert f'File "<cell {count + 1}>", line 2' in text
    assert "gpuplug_agent" not in text
    assert "ast.py" not in text


def test_without_ipython_an_exception_that_cannot_be_printed_does_no_harm(plain: Control) -> None:
    ran = plain.cell("class E(Exception):\n    def __str__(self): raise OSError\nraise E")
    assert (ran.status, ran.only("error")[0].header["ename"]) == ("error", "E")


def test_without_ipython_await_works(plain: Control) -> None:
    assert plain.cell("import asyncio\nawait asyncio.sleep(0, 'slept')").forms("result") == [{"text/plain": b"'slept'"}]
    ran = plain.cell("async def f():\n    raise OSError('inside')\n\nawait f()")
    lines = json.loads(ran.only("error")[0].payload)
    assert "asyncio" not in "".join(lines)
    assert lines[-1] == "OSError: inside"


def test_without_ipython_questions_and_exits_work(plain: Control) -> None:
    cell = plain.start(ASK_TWICE)
    for text in ("first", "second"):
        plain.until(lambda event: event.kind == "input_request")
        plain.send({"op": "input", "cell": cell, "text": text})
    assert plain.finish(cell).text() == "first second\n"
    assert plain.cell("kept = 1\nexit(5)").done["code"] == 5
    assert plain.cell("kept").status == "ok"


def test_without_ipython_interrupts_and_deaths_work(plain: Control) -> None:
    cell = plain.start("print(1, flush=True)\nimport time\ntime.sleep(60)")
    plain.until(lambda event: event.kind == "stream")
    plain.interrupt(cell)
    ran = plain.finish(cell)
    assert (ran.status, ran.only("error")[0].header["ename"]) == ("interrupted", "KeyboardInterrupt")
    assert plain.cell("import os\nos.abort()").done["signal"] == 6
    assert plain.cell("'x' in globals()").forms("result") == [{"text/plain": b"False"}]


def test_without_ipython_an_interrupt_of_a_flood_shows_the_cell_alone(plain: Control) -> None:
    cell = plain.start("import sys\nwhile True: print('out', flush=True); print('err', file=sys.stderr)")
    plain.until(lambda event: event.kind == "stream")
    plain.interrupt(cell)
    lines = json.loads(plain.finish(cell).only("error")[0].payload)
    assert lines[-1] == "KeyboardInterrupt"
    assert [line for line in lines if line.startswith("  File ")] == [line for line in lines if '"<cell ' in line]


@pytest.fixture(scope="module")
def ipython(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with installed(tmp_path_factory.mktemp("figures") / "home") as machine:
        yield machine.control()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A kernel that has matplotlib and no IPython."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "venv", symlinks=True, with_pip=False)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "more.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")))
    (packages / "IPython.py").write_text("raise ImportError('none here')")
    python = folder / "venv" / "bin" / "python"
    with installed(folder / "home", str(python)) as machine:
        yield machine.control()


@pytest.fixture(params=["ipython", "bare"])
def cells(request: pytest.FixtureRequest) -> Control:
    found: Control = request.getfixturevalue(request.param)
    return found


def test_figures_are_drawn_where_show_stands(cells: Control) -> None:
    cells.cell("import matplotlib.pyplot as plt")
    ran = cells.cell("print('a'); plt.plot([1, 2]); plt.show(); print('b')")
    assert ran.kinds() == ["started", "stream", "display", "stream", "done"]
    assert ran.forms()[0]["image/png"].startswith(PNG)
    assert ran.forms()[0]["text/plain"].startswith(b"<Figure size 640x480")


def test_figures_left_open_are_drawn_at_the_end_and_closed(cells: Control) -> None:
    ran = cells.cell("import matplotlib.pyplot as plt\nfor i in range(2): plt.figure(); plt.plot([i])\nNone")
    assert [next(iter(forms)) for forms in ran.forms()] == ["image/png", "image/png"]
    assert cells.cell("plt.get_fignums()").forms("result") == [{"text/plain": b"[]"}]
    assert cells.cell("plt.plot([1]); raise ValueError").kinds() == ["started", "error", "display", "done"]


def test_a_figure_as_the_value_of_a_cell_is_an_image(cells: Control) -> None:
    cells.cell("import matplotlib.pyplot as plt\nfig = plt.figure(); plt.close(fig)")
    assert cells.cell("fig").forms("result")[0]["image/png"].startswith(PNG)


def test_a_figure_that_cannot_be_drawn_is_the_cells_error(cells: Control) -> None:
    ran = cells.cell("import matplotlib.pyplot as plt\nplt.title('$\\\\frac{$')\nNone")
    assert (ran.status, ran.only("error")[0].header["ename"]) == ("error", "ValueError")
    assert cells.cell("1").status == "ok"


def test_programs_of_the_cell_have_the_usual_backend(cells: Control) -> None:
    cells.cell("import matplotlib.pyplot")
    ran = cells.cell(
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import matplotlib.pyplot as p; p.figure(); print(p.get_backend().lower())'])"
    )
    assert "agg" in ran.text()


def test_the_inline_magic_changes_nothing_for_the_worse(ipython: Control) -> None:
    ran = ipython.cell("%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1])\nNone")
    assert ran.status == "ok"
    assert [form for forms in ran.forms() for form in forms if form == "image/png"] == ["image/png"]


def test_matplotlib_is_not_loaded_before_a_cell_does(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as machine, machine.control() as fresh:
        assert fresh.cell("import sys; print('matplotlib' in sys.modules)").text() == "False\n"


def test_a_backend_of_the_users_choice_stays(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as machine:
        machine.more["MPLBACKEND"] = "svg"
        ran = machine.control().cell("import matplotlib.pyplot as p; p.figure(); print(p.get_backend())")
        assert ran.text().strip().lower() == "svg"


def test_an_ipython_that_does_not_start_keeps_no_cell_from_running(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "IPython.py").write_text("raise ValueError('broken install')")
    with installed(tmp_path / "home") as machine:
        machine.more["PYTHONPATH"] = str(broken)
        ran = machine.control().cell("1 + 1")
        assert ran.forms("result") == [{"text/plain": b"2"}]
        assert "broken install" in ran.text("stderr")
