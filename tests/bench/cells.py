"""Cells over SSH on loopback against a local ipykernel, interleaved in one run."""

from __future__ import annotations

import contextlib
import secrets
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import KernelManager

from gpuplug.session import CellRequest

from .place import rented

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpuplug.session import Session

BLOCKS = 8
BLOCK = 10
PRINT_ROUNDS = 5
PRINTS = "for i in range(100_000): print(i)"
FLUSHED = "for i in range(20_000): print(i, flush=True)"
# Not flushed by the cell, which goes on: that the line comes soon is what is claimed.
STAMPED = "print(time.time())\ntime.sleep(0.1)"
FAR_S = 0.03
FAR_ROUNDS = 15
STARTS = 3


def measure() -> dict[str, float]:
    """Return ratios of medians; the two sides take turns."""
    ready = statistics.median(_ready_s() for _ in range(STARTS))
    with rented() as place, place.session("bench") as session, _ipykernel() as kernel:
        session.open(30.0)
        empty_remote, empty_local = _blocks(session, kernel)
        prints = [(_timed(_remote, session, PRINTS), _timed(_local, kernel, PRINTS)) for _ in range(PRINT_ROUNDS)]
        with _load():
            flushed = _remote(session, FLUSHED)
        _remote(session, "import time")
        first = statistics.median(_first_line_ms(session) for _ in range(9))
        with place.behind(FAR_S) as far_place, far_place.session("far") as far_session:
            far_session.open(30.0)
            _remote(far_session, "pass")
            far = statistics.median(_timed(_remote, far_session, "pass") for _ in range(FAR_ROUNDS))
    remote, local = statistics.median(empty_remote), statistics.median(empty_local)
    remote_prints, local_prints = (statistics.median(side) for side in zip(*prints, strict=True))
    return {
        "empty_cell_over_local_ipykernel": remote / local,
        "empty_cell_ms": remote * 1000,
        "empty_cell_ipykernel_ms": local * 1000,
        "prints_100k_times_faster_than_ipykernel": local_prints / remote_prints,
        "prints_100k_ms": remote_prints * 1000,
        "prints_100k_ipykernel_ms": local_prints * 1000,
        "flushed_prints_lost_or_doubled": float(flushed != "".join(f"{i}\n" for i in range(20_000))),
        "first_line_seen_after_ms": first,
        "empty_cell_at_30_ms_ms": far * 1000,
        "agent_ready_s": ready,
    }


def _blocks(session: Session, kernel: Any) -> tuple[list[float], list[float]]:  # noqa: ANN401 - jupyter_client carries no types
    """Time empty cells in turns of ten: what a side still does after a cell falls into its own turn, whose first is left out."""
    remote: list[float] = []
    local: list[float] = []
    for _ in range(BLOCKS):
        for run, where, times in ((_remote, session, remote), (_local, kernel, local)):
            times.extend([_timed(run, where, "pass") for _ in range(BLOCK)][1:])
    return remote, local


def _ready_s() -> float:
    """From a connection to the agent's welcome, on a machine that has never seen the agent."""
    with rented() as place, place.session("bench") as session:
        began = time.perf_counter()
        session.open(30.0)
        return time.perf_counter() - began


@contextlib.contextmanager
def _ipykernel() -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        # Over TCP, as a notebook has it and as it is quickest here; the kernel's warning that others may listen is its own.
        manager = KernelManager()
        manager.start_kernel(cwd=str(Path(folder)))
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        try:
            yield client
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def _remote(session: Session, source: str) -> str:
    cell = secrets.token_hex(8)
    session.submit(CellRequest(cell, source))
    text: list[bytes] = []
    while True:
        event = session.next_event(60.0)
        assert event is not None
        if event.kind == "stream":
            text.append(event.payload)
        if event.kind == "done" and event.cell == cell:
            return b"".join(text).decode()


def _local(client: Any, source: str) -> str:  # noqa: ANN401 - jupyter_client carries no types
    text: list[str] = []

    def hook(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            text.append(message["content"]["text"])

    client.execute_interactive(source, timeout=60, output_hook=hook)
    return "".join(text)


def _timed(run: Any, where: Any, source: str) -> float:  # noqa: ANN401 - either side
    began = time.perf_counter()
    run(where, source)
    return time.perf_counter() - began


def _first_line_ms(session: Session) -> float:
    cell = secrets.token_hex(8)
    session.submit(CellRequest(cell, STAMPED))
    delay = 0.0
    while True:
        event = session.next_event(60.0)
        assert event is not None
        if event.kind == "stream" and not delay:
            delay = (time.time() - float(event.payload.split()[0])) * 1000
        if event.kind == "done" and event.cell == cell:
            return delay


@contextlib.contextmanager
def _load() -> Iterator[None]:
    """Keep a core busy, as a laptop in use does."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(10_000))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
