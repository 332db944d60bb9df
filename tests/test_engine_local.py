"""One cell after the other on this computer: the real agent, the real kernel, the real files."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cell_kit import Notebook, notebook
from engine_kit import Quiet
from sandbox_kit import wait_until

from gpuplug import config
from gpuplug.errors import (
    DetachedError,
    MissingFileError,
    NoOfferError,
    RemoteError,
    TooLargeError,
    UnknownNameError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    with notebook(tmp_path_factory.mktemp("local")) as made:
        yield made


@pytest.fixture
def nb(shared: Notebook) -> Notebook:
    shared.names.clear()
    return shared


def test_prints_come_back_and_the_last_expression_is_the_result(nb: Notebook) -> None:
    nb.run("print('hello')\n6 * 7")
    assert nb.talk.text == "hello\n"
    assert nb.shown == "42"
    assert nb.talk.costs == [line for line in nb.talk.costs if line.startswith("local - ") and line.endswith("free")]


def test_state_persists_between_cells_and_stays_over_there(nb: Notebook) -> None:
    nb.run("kept = 5")
    nb.run("kept += 1; print(kept)")
    assert nb.talk.text == "6\n"
    assert "kept" not in nb.names


def test_variables_go_along_by_themselves_and_each_is_said(nb: Notebook) -> None:
    nb.names.update(table=np.arange(6.0).reshape(2, 3), label="x")
    nb.run("print(label, table.sum())")
    assert nb.talk.text == "x 15.0\n"
    assert any("table (" in note and "line 1" in note for note in nb.talk.notes)


def test_a_value_that_the_instance_changed_is_not_overwritten_by_the_old_one_here(nb: Notebook) -> None:
    nb.names["counter"] = 1
    nb.run("counter += 10")
    nb.run("print(counter)")
    assert nb.talk.text == "11\n"
    nb.names["counter"] = 100
    nb.run("print(counter)")
    assert nb.talk.text == "100\n"


def test_variables_come_home_by_name(nb: Notebook) -> None:
    nb.run("import numpy as np\nweights = np.ones((2, 2), dtype='float32'); done = {'a': (1, None)}", "-o weights,done")
    assert np.array_equal(nb.names["weights"], np.ones((2, 2)))  # type: ignore[arg-type]
    assert nb.names["done"] == {"a": (1, None)}


def test_a_module_that_the_notebook_imported_is_imported_there(nb: Notebook) -> None:
    nb.names["js"] = json
    nb.run("print(js.dumps([1]))")
    assert nb.talk.text == "[1]\n"


def test_files_and_local_modules_go_along_and_results_come_home(nb: Notebook) -> None:
    (nb.root / "data").mkdir(exist_ok=True)
    (nb.root / "data" / "x.csv").write_text("1,2\n")
    (nb.root / "helper_module.py").write_text("def double(x):\n    return 2 * x\n")
    nb.run(
        "import helper_module, os\nprint(helper_module.double(int(open('data/x.csv').read()[0])))\n"
        "os.makedirs('out', exist_ok=True); open('out/r.txt', 'w').write('result')\nopen('made.txt', 'w').write('m')"
    )
    assert nb.talk.text.startswith("2\n")
    assert (nb.root / "out" / "r.txt").read_text() == "result"
    assert (nb.root / "made.txt").read_text() == "m"


def test_a_file_that_the_user_changed_meanwhile_is_kept(nb: Notebook) -> None:
    nb.run("open('notes.txt', 'w').write('first')")
    (nb.root / "notes.txt").write_text("mine")
    nb.run("open('notes.txt', 'w').write('second')", "--no-files")
    assert (nb.root / "notes.txt").read_text() == "mine"
    assert (nb.root / "notes.txt.remote").read_text() == "second"


def test_an_error_there_is_raised_here_with_the_lines_of_the_cell(nb: Notebook) -> None:
    with pytest.raises(RemoteError, match="ZeroDivisionError") as caught:
        nb.run("a = 1\nb = a / 0")
    assert caught.value.ename == "ZeroDivisionError"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(caught.value.traceback))
    assert "a / 0" in plain
    nb.run("print(a)")
    assert nb.talk.text == "1\n"


def test_input_is_answered_here(nb: Notebook) -> None:
    talk = Quiet()
    talk.inputs = ["Ada"]
    nb.run("print('hi', input('name? '))", talk=talk)
    assert talk.text == "hi Ada\n"
    assert ("prompt", "name? ") in talk.out


def test_top_level_await_works(nb: Notebook) -> None:
    nb.run("import asyncio\nawait asyncio.sleep(0)\nprint('awaited')")
    assert nb.talk.text == "awaited\n"


def test_a_shell_cell_runs_in_the_working_folder(nb: Notebook) -> None:
    nb.run("echo $((6 * 7)); pwd", "--shell")
    assert nb.talk.text.startswith("42\n")
    with pytest.raises(RemoteError):
        nb.run("exit 3", "--shell")


def test_a_figure_is_shown_in_place(nb: Notebook) -> None:
    nb.run("import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()")
    assert "image/png" in nb.talk.shown[-1].data


@pytest.mark.parametrize(
    ("source", "ename"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
    ],
)
def test_a_killed_cell_says_how_it_died_and_the_next_one_starts_afresh(nb: Notebook, source: str, ename: str) -> None:
    with pytest.raises(RemoteError, match="KernelDied") as caught:
        nb.run("print('last words', flush=True)\n" + source)
    assert ename in caught.value.evalue
    assert nb.talk.text == "last words\n"
    nb.run("print('again')")
    assert nb.talk.text == "again\n"


def test_exit_ends_the_cell_and_keeps_the_state(nb: Notebook) -> None:
    nb.run("before = 1")
    nb.run("exit()")
    nb.run("print(before)")
    assert nb.talk.text == "1\n"


def test_binary_output_is_shown_as_text_without_harm(nb: Notebook) -> None:
    nb.run("import os; os.write(1, bytes(range(256))); print('end')")
    assert nb.talk.text.endswith("end\n")
    assert "\x1b]" not in nb.talk.text


def test_endless_output_is_cut_with_the_number_of_bytes_and_can_be_interrupted(nb: Notebook) -> None:
    with _Interrupt(3), pytest.raises(RemoteError, match="KeyboardInterrupt"):
        nb.run("while True: print('y' * 1000)")
    assert any("not kept" in note for note in nb.talk.notes) or len(nb.talk.text) < 21 << 20


class _Interrupt:
    """SIGINT to this process once, as a notebook front end sends it."""

    def __init__(self, after: float) -> None:
        self._timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


def test_an_interrupt_reaches_the_cell_and_the_state_is_kept(nb: Notebook) -> None:
    with _Interrupt(1.5), pytest.raises(RemoteError, match="KeyboardInterrupt"):
        nb.run("survives = 3\nimport time\ntime.sleep(60)")
    nb.run("print(survives)")
    assert nb.talk.text == "3\n"


def test_a_second_interrupt_leaves_the_cell_running(nb: Notebook) -> None:
    stubborn = (
        "import time\nfor _ in range(4):\n    try: time.sleep(0.7)\n    except KeyboardInterrupt: pass\nprint('done')"
    )
    with _Interrupt(0.7), _Interrupt(1.2), pytest.raises(DetachedError, match="left the cell running"):
        nb.run(stubborn)
    (lease,) = nb.engine.ledger.open_leases()
    assert lease.busy, "nobody may take the instance for left alone"
    nb.run("print('next')")
    assert nb.talk.text == "next\n"
    (lease,) = nb.engine.ledger.open_leases()
    assert not lease.busy


def test_a_gpu_that_this_computer_lacks_is_refused_with_the_way_to_rent_one(tmp_path: Path) -> None:
    with notebook(tmp_path) as fresh:
        with pytest.raises(NoOfferError, match="this computer has no H900"):
            fresh.run("pass", "-g H900")
        assert fresh.engine.ledger.leases() == []


def test_a_syntax_error_is_found_before_anything_starts(tmp_path: Path) -> None:
    with notebook(tmp_path) as fresh:
        with pytest.raises(UsageError, match="line 2"):
            fresh.run("x = 1\ny = = 2")
        assert fresh.engine.ledger.leases() == []


def test_a_missing_file_is_found_before_anything_starts(tmp_path: Path) -> None:
    with notebook(tmp_path) as fresh:
        (fresh.root / "train.csv").write_text("x")
        with pytest.raises(MissingFileError, match=r"trian.csv.*line 1") as caught:
            fresh.run("open('trian.csv').read()")
        assert "train.csv" in caught.value.hint
        assert fresh.engine.ledger.leases() == []


def test_files_over_the_guard_are_asked_about_and_not_sent_without_an_answer(tmp_path: Path) -> None:
    with notebook(tmp_path) as fresh:
        with (fresh.root / "big.bin").open("wb") as file:
            file.truncate(2 << 30)
        with pytest.raises(TooLargeError, match=r"2\.1 GB.*big\.bin"):
            fresh.run("open('big.bin', 'rb')")
        refused = Quiet(answer=False)
        with pytest.raises(TooLargeError):
            fresh.run("open('big.bin', 'rb')", talk=refused)
        assert len(refused.questions) == 1
        assert fresh.engine.ledger.leases() == []


def test_a_name_that_the_notebook_does_not_define_is_refused_with_the_nearest(nb: Notebook) -> None:
    nb.names["model"] = 1
    with pytest.raises(UnknownNameError, match="did you mean model"):
        nb.run("pass", "-i modle")


def test_a_type_that_cannot_be_sent_is_refused_when_asked_for_and_said_when_not(nb: Notebook) -> None:
    nb.names["lock"] = threading.Lock()
    with pytest.raises(UsageError, match="lock"):
        nb.run("pass", "-i lock")
    with pytest.raises(RemoteError, match="NameError"):
        nb.run("lock.acquire()")
    assert any(note.startswith("lock stays here") for note in nb.talk.notes)


def test_a_result_that_cannot_come_home_is_named_with_its_type(nb: Notebook) -> None:
    with pytest.raises(RemoteError, match="handle"):
        nb.run("import threading\nhandle = threading.Lock()", "-o handle")


def test_an_agent_that_nobody_is_in_touch_with_ends_itself_after_its_lease(tmp_path: Path) -> None:
    with notebook(tmp_path) as fresh:
        fresh.run("pass", "--for 1s")
        (pid_file,) = (tmp_path / "home" / "local").glob("*/state/daemon-*.pid")
        fresh.engine.close()
        wait_until(lambda: not pid_file.exists())


def test_an_idle_agent_beside_a_living_notebook_outlives_a_lease_of_a_second(tmp_path: Path) -> None:
    with notebook(tmp_path) as fresh:
        fresh.run("kept = 5", "--for 1s")
        (live,) = fresh.engine.sessions()
        beats, heard = live.session.on_beat, []

        def listen(health: Mapping[str, Any]) -> None:
            beats(health)
            heard.append(health)

        live.session.on_beat = listen
        wait_until(lambda: len(heard) >= 12)  # for three leases
        fresh.run("print(kept)", "--for 1s")
        assert fresh.talk.text == "5\n"


def test_a_dry_run_starts_nothing_and_gives_the_reason_of_each_file(tmp_path: Path) -> None:
    with notebook(tmp_path) as fresh:
        (fresh.root / "train.csv").write_text("x" * 1000)
        (fresh.root / ".env").write_text("KEY=1")
        options = config.parse("-n", config.CELL)
        text = fresh.engine.dry_run(fresh.engine.plan("open('train.csv'); open('.env')", options, {}))
        assert "train.csv" in text
        assert "open, line 1" in text
        assert "secret" in text
        assert "nothing was rented" in text
        assert fresh.engine.ledger.leases() == []


def test_a_local_module_from_a_folder_on_the_path_is_found_there_too(
    nb: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nb.root / "lib").mkdir(exist_ok=True)
    (nb.root / "lib" / "beside.py").write_text("where = 'lib'\n")
    monkeypatch.syspath_prepend(str(nb.root / "lib"))
    nb.run("import beside\nprint(beside.where)")
    assert nb.talk.text == "lib\n"
