"""What the server knows of cells that run, and how they are cancelled; a kernel may be renamed, elsewhere, or crash."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from frontends_kit import kernel
from place_kit import Place, at

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 60.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with at(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_left(place: Place) -> Iterator[None]:
    yield
    place.destroy_all()


LOCAL = "%%remote_gpu -p local\nimport time\nprint('begun', flush=True)\nwhile True: time.sleep(0.1)"


COUNTING = LOCAL.replace("while True: ", "import itertools\nfor step in itertools.count(1): print(step, flush=True); ")


def steps(place: Place) -> int:
    """Return how far the cell is that counts its tenths of a second, as it was noted last."""
    (line,) = [each["progress"]["line"] for each in running(place, "late-")]
    return int(line)


def running(place: Place, notebook: str) -> list[dict[str, Any]]:
    """Return the jobs of a notebook that a kernel follows."""
    jobs = place.server.state()["jobs"]["items"] or []
    return [each for each in jobs if each["notebook"].startswith(notebook) and each["may"]["cancel"] is not None]


def test_a_cell_of_a_notebook_of_this_server_is_seen_to_run_and_is_cancelled(place: Place) -> None:
    kernel_id = place.server.notebook("job.ipynb")
    with ThreadPoolExecutor(1) as beside:
        said = beside.submit(place.server.execute, kernel_id, "%load_ext gpuplug", LOCAL)
        place.server.until(lambda: running(place, "job-") or said.done())
        (job,) = running(place, "job-")
        assert (job["state"], job["cost_usd"]) == ("running", None)
        assert place.server.post("actions/cancel", {"job": job["id"]}) == (200, {})
        (error,) = [each["content"] for each in said.result(WAIT_S) if each["msg_type"] == "error"]
    assert "KeyboardInterrupt" in json.dumps(error)
    jobs = place.server.state()["jobs"]["items"]
    assert next(each["state"] for each in jobs if each["id"] == job["id"]) not in {"running", "unknown"}
    assert place.server.post("actions/cancel", {"job": job["id"]})[0] == 404


def test_a_cell_that_takes_a_while_tells_how_far_it_is_and_is_cancelled_also_after_its_notebook_was_renamed(
    place: Place,
) -> None:
    (place.server.root / "deep").mkdir()
    kernel_id = place.server.notebook("deep/named.ipynb")
    with ThreadPoolExecutor(1) as beside:
        said = beside.submit(place.server.execute, kernel_id, "%load_ext gpuplug", LOCAL)
        place.server.until(lambda: said.done() or any(each["progress"] for each in running(place, "named-")))
        (job,) = running(place, "named-")
        assert (job["kernel"], job["path"]) == (kernel_id, "deep/named.ipynb")
        assert (job["progress"]["phase"], job["progress"]["line"]) == ("run", "begun")
        place.server.rename("deep/named.ipynb", "deep/other.ipynb")
        assert place.server.post("actions/cancel", {"job": job["id"]}) == (200, {})
        (error,) = [each["content"] for each in said.result(WAIT_S) if each["msg_type"] == "error"]
    assert "KeyboardInterrupt" in json.dumps(error)


def test_a_cancel_that_was_given_up_before_the_server_came_to_it_interrupts_nothing(place: Place) -> None:
    kernel_id = place.server.notebook("late.ipynb")
    with ThreadPoolExecutor(1) as beside:
        said = beside.submit(place.server.execute, kernel_id, "%load_ext gpuplug", COUNTING)
        place.server.until(lambda: said.done() or any(each["progress"] for each in running(place, "late-")))
        (job,) = running(place, "late-")
        place.server.process.send_signal(signal.SIGSTOP)
        try:
            with contextlib.suppress(httpx.ReadTimeout), httpx.Client(headers=place.server.http.headers) as gone:
                gone.post(f"{place.server.url}gpuplug/actions/cancel", json={"job": job["id"]}, timeout=0.2)
        finally:
            place.server.process.send_signal(signal.SIGCONT)
        before = steps(place)
        place.server.until(lambda: said.done() or steps(place) > before + 50)
        assert not said.done(), "it was interrupted"
        assert place.server.post("actions/cancel", {"job": job["id"]}) == (200, {})
        said.result(WAIT_S)


def test_a_cell_whose_kernel_died_and_was_started_anew_is_left_running_with_the_way_back_to_it(place: Place) -> None:
    with kernel(place.home, "anew", **place.shop.env) as notebook:
        notebook.begin(LOCAL.replace("begun", "busy"))
        place.server.until(lambda: running(place, "anew-"))
        (job,) = running(place, "anew-")
        notebook.start_anew()
        notebook.run("%load_ext gpuplug\n%gpu status")
        now = next(each for each in place.server.state()["jobs"]["items"] if each["id"] == job["id"])
        assert (now["state"], now["may"]["cancel"], now["ended"]) == ("left running", None, None)
        assert now["may"]["attach"]["command"].startswith("%gpu start ")


SAYING = "print('loaded', get_ipython().run_line_magic('load_ext', 'gpuplug'))"
PID = "import os\nprint(open('pid', 'w').write(str(os.getpid())))"


def test_a_cell_is_said_to_be_left_soon_after_its_kernel_has_crashed(place: Place) -> None:
    kernel_id = place.server.notebook("crash.ipynb")
    place.server.begin(kernel_id, PID, SAYING, LOCAL)
    place.server.until(lambda: running(place, "crash-"))
    (job,) = running(place, "crash-")
    os.kill(int((place.server.root / "pid").read_text()), signal.SIGKILL)
    place.server.until(lambda: not running(place, "crash-"))
    now = next(each for each in place.server.state()["jobs"]["items"] if each["id"] == job["id"])
    assert (now["state"], now["ended"]) == ("unknown", None)
    assert now["may"]["attach"]["command"].startswith("%gpu start ")
    assert place.server.post("actions/cancel", {"job": job["id"]})[0] == 404


def test_a_cell_of_no_kernel_of_this_server_is_said_to_be_elsewhere_and_goes_on(place: Place) -> None:
    with kernel(place.home, "far", **place.shop.env) as notebook:
        notebook.begin(LOCAL.replace("begun", "busy"))
        place.server.until(lambda: running(place, "far-"))
        (job,) = running(place, "far-")
        status, answer = place.server.post("actions/cancel", {"job": job["id"]})
        assert (status, answer["reason"]) == (409, "usage")
        assert "which this Jupyter server cannot interrupt" in answer["message"]
        assert "destroy the instance" in answer["hint"]
        assert [each["id"] for each in running(place, "far-")] == [job["id"]]
        notebook.interrupt()
        notebook.settle()
