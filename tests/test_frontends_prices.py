"""`%gpu prices` as a person sees it: without a key, with hours and data, from a moment ago, and as a figure."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from frontends_kit import Kernel, command, kernel
from sandbox_kit import RunningMarket, market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def place() -> Iterator[RunningMarket]:
    with market(seed=7) as made:
        yield made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("p")


@pytest.fixture(scope="module")
def page(place: RunningMarket, home: Path) -> Iterator[Kernel]:
    """A notebook of somebody who has no key."""
    with kernel(home, VAST_URL=place.vast_url) as made:
        yield made


def test_prices_need_no_key_and_are_sorted_by_the_true_total(page: Kernel) -> None:
    head, *rows = page.run("%gpu prices RTX_4090 --hours 2 --data 20GB -p vast").out.splitlines()
    assert head.split("  ")[0] == "offer"
    assert "2 h + 20 GB" in head
    at = head.index("2 h + 20 GB")
    totals = [float(row[at:].split()[0].lstrip("$")) for row in rows if row.startswith("vast ")]
    assert len(totals) == 10
    assert totals == sorted(totals)
    assert rows[-1].endswith("more: -v shows all")


def test_without_a_key_any_platform_whose_prices_can_be_read_is_shown(page: Kernel) -> None:
    assert "vast " in page.run("%gpu prices").out


def test_all_offers_are_shown_when_asked_for(page: Kernel) -> None:
    shown = page.run("%gpu prices T4 -v").out
    assert "more" not in shown
    assert len(shown.splitlines()) > 2


def test_prices_of_a_moment_ago_say_so_and_ask_nobody(page: Kernel, home: Path, place: RunningMarket) -> None:
    page.run("%gpu prices L40S")
    before = len(place.requests("search"))
    again = command(home, "prices", "l40s", VAST_URL=place.vast_url)
    assert again.returncode == 0
    assert len(place.requests("search")) == before
    assert again.stdout.startswith("offer ")


def test_a_floor_that_nobody_meets_is_explained_and_is_no_error(page: Kernel) -> None:
    shown = page.run("%gpu prices -p vast RTX_4090 --min-reliability 0.99999")
    assert shown.error == ""
    assert shown.out.startswith("no RTX_4090 with reliability >= 0.99999 on vast; the best has 0.99")
    assert "hint: --min-reliability 0.99" in shown.out


def test_what_the_cell_costs_without_a_key_is_still_refused_with_the_place_of_the_key(page: Kernel) -> None:
    assert "no key for vast: looked at VAST_API_KEY" in page.run("%%remote_gpu -p vast\npass").error


def test_the_history_is_a_figure_in_the_notebook_and_text_in_the_command(
    page: Kernel, home: Path, place: RunningMarket
) -> None:
    page.run("%gpu prices RTX_3090")
    shown = page.run("%gpu prices --history RTX_3090")
    (figure,) = shown.of("display_data")
    assert base64.b64decode(figure.content["data"]["image/png"]).startswith(b"\x89PNG")
    assert shown.out == ""
    text = command(home, "prices", "--history", "RTX_3090", VAST_URL=place.vast_url)
    assert text.stdout.rstrip() == figure.text.rstrip()
    assert text.stdout.splitlines()[1].startswith("RTX 3090 vast ")


def test_no_history_is_said_plainly(page: Kernel) -> None:
    assert page.run("%gpu prices --history H200").out.startswith("no prices of H200 were seen yet")


def test_drawing_leaves_the_users_own_figures_alone(page: Kernel) -> None:
    page.run("%gpu prices RTX_3090")
    cell = (
        "import matplotlib.pyplot as plt; mine = plt.figure()\n"
        "get_ipython().run_line_magic('gpu', 'prices --history RTX_3090')\n"
        "plt.gcf() is mine, plt.get_fignums()"
    )
    assert page.run(cell).result == "(True, [1])"
