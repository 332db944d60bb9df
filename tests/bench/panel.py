"""What an open panel costs its Jupyter server and its kernel: how long either is held up, and the processor's time.

A beat that came late is counted for as long as its process had the processor meanwhile: other programs of this computer
also make beats late. The whole lateness stands beside it.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontends_kit import Kernel, kernel
from jupyter_kit import JupyterServer, jupyter
from providers_kit import Answer, serving
from sandbox_kit import ROOT, market, wait_until
from vast_kit import BUNDLES, LIST, instance_row, offer_row

from gpuplug.ledger import Lease, Ledger, State
from gpuplug.types import Money, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OFFERS, PODS = 10_000, 200
_CODE = ROOT / "src" / "gpuplug" / "static" / "panel.js"
ROUNDS = 8
STARTS = 3
BEATS_S = 6.0
QUIET_S = 3.0
IDLE_S = 20.0
_LOOK_S = 10.0  # how often a page says that it still looks
_WAIT_S = 60.0
_PAUSE_S = 0.5
_BEAT = """
import time
def beat(seconds):
    longest = busy = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began, worked = time.perf_counter(), time.process_time()
        time.sleep(0.002)
        late = time.perf_counter() - began - 0.002
        longest, busy = max(longest, late), max(busy, min(late, time.process_time() - worked))
    print(longest * 1000, busy * 1000)
"""
_OPEN = """
began = time.perf_counter()
get_ipython().run_line_magic("gpu", "panel")
print((time.perf_counter() - began) * 1000)
"""


@dataclass(frozen=True)
class Crowd:
    """A platform that offers very much, and a home in whose ledger very much runs there."""

    home: Path
    env: dict[str, str]
    labels: list[str]


def why_not() -> str:
    """Return why nothing can be measured here; empty when it can."""
    return "" if _CODE.is_file() else "the front end is not built (make front)"


def measure() -> dict[str, float]:
    """Return milliseconds of being held up, and per cent of a core; nothing where there is no panel."""
    if why_not():
        return {}
    with _crowd() as crowd:
        figures = _server(crowd)
    with _crowd() as crowd:
        figures |= _kernel(crowd)
    return figures | _idle() | {"panel_js_gz_kb": len(gzip.compress(_CODE.read_bytes())) / 1024}


@contextlib.contextmanager
def _crowd() -> Iterator[Crowd]:
    with serving() as api, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        labels = [f"gp-{number:032x}" for number in range(PODS)]
        (home / "gp").mkdir()
        ledger = Ledger(home / "gp", SystemClock())
        for number, label in enumerate(labels):
            ledger.intend(_lease(label, str(number + 1), time.time()))
        ledger.close()
        rows = [instance_row(id=number + 1, label=label) for number, label in enumerate(labels)]
        listed = {"success": True, "instances_found": PODS, "total_instances": PODS, "next_token": None}
        api.on(LIST, _answer({**listed, "instances": rows}))
        offers = [
            offer_row(id=n + 1, machine_id=n + 1, dph_total=0.1 + n / 100_000, cuda_max_good=13) for n in range(OFFERS)
        ]
        api.on(BUNDLES, _answer({"offers": offers}))
        yield Crowd(home, {"VAST_URL": api.url, "VAST_API_KEY": "a-key-for-the-bench-0123456789"}, labels)


def _answer(body: object) -> Answer:
    """Written once: the bench's own work must not be measured."""
    return Answer(json.dumps(body).encode())


def _lease(label: str, number: str, now: float) -> Lease:
    return Lease(
        label=label,
        provider="vast",
        notebook="train",
        name="",
        state=State.READY,
        gpu="RTX 4090",
        gpu_count=1,
        machine=number,
        price=Money.dollars("0.31"),
        stopped_price=Money.dollars("0.01"),
        host_key="",
        nonce="",
        lease_s=900,
        hard_s=14_400,
        created=now - 600,
        instance_id=number,
        contact=now,
        begun=now - 500,
    )


def _server(crowd: Crowd) -> dict[str, float]:
    """Hold the loop's beats beside those of a server at which nobody looks, while pages read and buttons are pressed."""
    with jupyter(crowd.home, extension="bench.heartbeat", **crowd.env) as server:
        _held(server)
        time.sleep(QUIET_S)
        quiet, _ = _held(server)
        server.look()
        wait_until(lambda: server.get("prices")["total"] == OFFERS, _WAIT_S)
        _held(server)
        late, busy = zip(*(_round(server, crowd, each) for each in range(ROUNDS)), strict=True)
    return {
        "panel_server_loop_held_ms": max(busy),
        "panel_server_loop_late_ms": max(late),
        "panel_server_loop_late_with_nobody_looking_ms": quiet,
        "panel_server_loop_late_times_that_with_nobody_looking": max(late) / quiet,
    }


def _round(server: JupyterServer, crowd: Crowd, number: int) -> tuple[float, float]:
    server.look()
    assert len(server.get("state")["pods"]["items"]) >= PODS
    assert server.get("prices")["total"] == OFFERS
    for action, body in (("extend", {"seconds": 60}), ("destroy", {})):
        status, _ = server.post(f"actions/{action}", {"id": crowd.labels[number], **body})
        assert status in {202, 429}
    time.sleep(_PAUSE_S)
    return _held(server)


def _held(server: JupyterServer) -> tuple[float, float]:
    late, busy = server.http.get(f"{server.url}bench/held").json()
    return late, busy


def _kernel(crowd: Crowd) -> dict[str, float]:
    """Beat in a cell while the panel of its kernel reads all this; opening the panel is a cell of its own."""
    opened = []
    for _ in range(STARTS):
        with _notebook(crowd) as running:
            running.run(_BEAT)
            quiet, _ = _beats(running)
            running.run("import ipywidgets, anywidget")  # what a notebook with widgets has anyway
            shown = running.run(_OPEN)
            opened.append(float(shown.out))
            _look(running, _comm(shown.messages))
            late, busy = _beats(running, BEATS_S)
    return {
        "panel_kernel_held_ms": busy,
        "panel_kernel_late_ms": late,
        "panel_kernel_late_with_no_panel_ms": quiet,
        "panel_kernel_late_times_that_with_no_panel": late / quiet,
        "panel_widget_opens_ms": statistics.median(opened[1:]),
    }


@contextlib.contextmanager
def _notebook(crowd: Crowd) -> Iterator[Kernel]:
    """Run a kernel, compiled once as an installed one is; it leaves what runs, since the bench's platform ends nothing."""
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(crowd.home / "compiled")}
    made = Kernel(crowd.home, crowd.home / "notebook", **crowd.env, **compiled)
    try:
        made.run("%load_ext gpuplug")
        yield made
    finally:
        made.kill()
        made.close()


def _beats(running: Kernel, seconds: float = QUIET_S) -> tuple[float, float]:
    late, busy = running.run(f"beat({seconds})").out.split()
    return float(late), float(busy)


def _comm(messages: list[Any]) -> str:
    made = [message.content for message in messages if message.kind == "comm_open"]
    return next(str(each["comm_id"]) for each in made if each["data"]["state"]["_model_name"] == "AnyModel")


def _look(running: Kernel, comm: str) -> None:
    body = {"client": "bench", "parts": ["pods", "prices"], "gpus": []}
    running.send(comm, {"request": 1, "route": "looking", "body": body})


def _idle() -> dict[str, float]:
    """Look on at a machine that rests, and at prices, each second, as the panel does at a market of this computer."""
    with (
        market(seed=7) as shop,
        tempfile.TemporaryDirectory() as folder,
        jupyter(Path(folder), **shop.env) as server,
        kernel(Path(folder), **shop.env) as running,
    ):
        assert running.run("%%remote_gpu -p vast\n1").reply["status"] == "ok"
        comm = _comm(running.run("%gpu panel").messages)

        def look() -> None:
            server.look()
            _look(running, comm)

        look()
        wait_until(lambda: server.get("prices")["items"], _WAIT_S)
        processes = {"server": server.process.pid, "kernel": running.pid}
        return {f"panel_idle_{name}_percent": each for name, each in _percent(processes, look).items()}


def _percent(processes: dict[str, int], look: Callable[[], None]) -> dict[str, float]:
    """Return how much of a core each process takes while somebody looks, after it has settled."""
    look()
    time.sleep(_LOOK_S / 2)
    began, before = time.monotonic(), {name: _seconds(pid) for name, pid in processes.items()}
    while time.monotonic() - began < IDLE_S:
        look()
        time.sleep(_LOOK_S)
    took = time.monotonic() - began
    return {name: 100 * (_seconds(pid) - before[name]) / took for name, pid in processes.items()}


def _seconds(pid: int) -> float:
    """Return the processor's time of all threads that live."""
    return sum(int((each / "schedstat").read_text().split()[0]) for each in Path(f"/proc/{pid}/task").iterdir()) / 1e9
