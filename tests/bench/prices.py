"""What a look at prices costs: over the slower market's own reply, when it was seen already, and with very many offers."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from providers_kit import Answer, access, serving
from vast_kit import BUNDLES, offer_row

from gpuplug import config
from gpuplug.engine import Engine
from gpuplug.frontends.prices import prices
from gpuplug.ledger import Ledger
from gpuplug.market import Market, Source
from gpuplug.providers.vast import VastProvider
from gpuplug.types import GpuWish, Query, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 7
SHOWN = 64
_REPLIES_S = (0.25, 0.4)
# Rows as the market sends them, all 98 fields. Two processes, so that the memory of making them does not hide that of reading.
_WRITE = """
import json, sys
from gpuplug.sandbox.catalogue import stock
from gpuplug.sandbox.clock import ScaledClock
from gpuplug.sandbox.offers import OfferBook

shown = [row for row in OfferBook(stock(7), 7, ScaledClock()).rows(20, bid=False)
         if row["verification"] == "verified" and row["direct_port_count"] and row["rentable"]]
with open(sys.argv[1], "w") as file:
    json.dump({"offers": [{**shown[i % len(shown)], "id": i + 1} for i in range(10_000)]}, file)
"""
_READ = """
import json, resource, sys, time
from pathlib import Path
from gpuplug.market import offers_table
from gpuplug.market.asking import ranked
from gpuplug.providers._reading import parse_json
from gpuplug.providers.vast import rows, search
from gpuplug.types import Query

query, peak, took = Query(), lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, []
before = peak()
for _ in range(5):
    body = Path(sys.argv[1]).read_bytes()
    began = time.process_time()
    found = parse_json(body.decode(), rows.OFFER_FIELDS)["offers"]
    offers, dropped = search.read(found, query, None, simulated=False)
    table = offers_table(ranked(search.rank(offers, dropped).offers, query)[:10], query)
    took.append(time.process_time() - began)
    assert len(offers) == 10_000 and len(table.splitlines()) == 11
    del body, found, offers
print(json.dumps([min(took), peak() - before]))
"""


def measure() -> dict[str, float]:
    """Return the figures; times of the machine's own work are CPU seconds, those of waiting are a ratio."""
    seconds, megabytes = _many()
    with _markets() as (sources, ledger):
        ratio = _over_the_slower(sources, ledger)
    return {
        "prices_over_the_slower_api": ratio,
        "warm_prices_ms": _warm(),
        "offers_10k_s": seconds,
        "offers_10k_mb": megabytes,
    }


@contextlib.contextmanager
def _markets() -> Iterator[tuple[list[Source], Ledger]]:
    """Serve two markets that take their time, as a service far away does."""
    with contextlib.ExitStack() as stack:
        sources = []
        for number, seconds in enumerate(_REPLIES_S):
            api = stack.enter_context(serving())
            api.on(BUNDLES, _slow(seconds))
            vast = VastProvider(access(api.url, SystemClock()))
            stack.callback(vast.close)
            sources.append(Source(vast, f"vast {number}"))
        ledger = Ledger(Path(stack.enter_context(tempfile.TemporaryDirectory())), SystemClock())
        stack.callback(ledger.close)
        yield sources, ledger


def _slow(seconds: float) -> Callable[[object], Answer]:
    body = Answer({"offers": [offer_row(id=number + 1) for number in range(SHOWN)]})

    def answer(_: object) -> Answer:
        threading.Event().wait(seconds)
        return body

    return answer


def _over_the_slower(sources: list[Source], ledger: Ledger) -> float:
    query = Query(gpus=(GpuWish("RTX_4090"),))
    market = Market(ledger, SystemClock())
    ratios = []
    for _ in range(ROUNDS):
        alone = max(_seconds(lambda source=source: source.provider.offers(query)) for source in sources)  # type: ignore[misc]
        ratios.append(_seconds(lambda: market.offers(sources, query)) / alone)
    return statistics.median(ratios)


def _seconds(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def _warm() -> float:
    """Return milliseconds of `%gpu prices` when the offers were seen a moment ago: from the line to the text."""
    with serving() as api, tempfile.TemporaryDirectory() as home:
        api.on(BUNDLES, Answer({"offers": [offer_row(id=number + 1, cuda_max_good=13) for number in range(SHOWN)]}))
        os.environ["VAST_URL"] = api.url
        engine = Engine("bench", Path(home), home=Path(home))
        try:
            _look(engine)
            return statistics.median(_seconds(lambda: _look(engine)) for _ in range(ROUNDS)) * 1000
        finally:
            engine.close()
            del os.environ["VAST_URL"]


def _look(engine: Engine) -> str:
    return prices(engine, config.parse("RTX_4090 -p vast", "prices"), print)


def _many() -> tuple[float, float]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with tempfile.TemporaryDirectory() as folder:
        for program in (_WRITE, _READ):
            done = subprocess.run(
                [sys.executable, "-c", program, f"{folder}/offers.json"],
                env=environ,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                timeout=120,
            )
    seconds, megabytes = json.loads(done.stdout)
    return float(seconds), float(megabytes)
