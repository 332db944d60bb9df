"""Several pages on one server show the same, whatever their clocks say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lab_kit import WAIT_MS, Lab, command
from panel_kit import PANEL, act, open_lab, pod, tab
from playwright.sync_api import Browser, Locator, Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBER = re.compile(r"#\d+")
LEFT = re.compile(r"ends by itself in (?:(\d+) h )?(\d+)(?: min|:(\d+))")
# The clock of a page, an hour or so off; timers go on as they do.
WRONG_CLOCK = """() => {
  const Right = Date;
  window.Date = class extends Right {
    constructor(...parts) { parts.length ? super(...parts) : super(Right.now() + OFF); }
    static now() { return Right.now() + OFF; }
  };
}"""


@pytest.fixture
def pages(browser: Browser, lab: Lab) -> Iterator[list[Page]]:
    """Three browsers beside one another with the panel open: one whose clock is right, one an hour late, one an hour early."""
    contexts = [browser.new_context(viewport={"width": 1280, "height": 800}) for _ in range(3)]
    shown = [context.new_page() for context in contexts]
    for page, off in zip(shown, (0, -3_600_000, 3_600_000), strict=True):
        page.set_default_timeout(WAIT_MS)
        page.add_init_script(f"({WRONG_CLOCK.replace('OFF', str(off))})()")
    open_lab(shown[0], lab, lab.notebook("tabs.ipynb", "%load_ext gpuplug", "%%remote_gpu -p vast\nprint('ran')"))
    for page in shown[1:]:
        open_lab(page, lab, "")
    yield shown
    for context in contexts:
        context.close()
    lab.settle()


def minutes_left(page: Page) -> float:
    """Return how long the machine lasts, as the page says it."""
    found = LEFT.search(pod(page).inner_text())
    assert found, pod(page).inner_text()
    hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return 60 * hours + minutes + seconds / 60


def lease_bar(page: Page) -> Locator:
    return pod(page).get_by_role("meter", name="time left")


def test_pages_agree_on_what_runs_how_old_it_is_and_how_long_it_lasts_also_where_a_clock_is_an_hour_off(
    pages: list[Page], lab: Lab
) -> None:
    right, late, early = pages
    command(right, "notebook:run-all-cells")
    expect(right.locator(".jp-CodeCell .jp-OutputArea").nth(1)).to_contain_text("ran", timeout=60_000)
    for page in pages:
        tab(page, "pods")
        expect(pod(page)).to_contain_text("ends by itself", timeout=60_000)
        expect(pod(page)).to_contain_text(re.compile("made (just now|[1-9]0 s ago|[1-9] min ago)"))
        expect(page.locator(PANEL)).not_to_contain_text("Not confirmed")
    assert len({NUMBER.search(pod(page).inner_text())[0] for page in pages}) == 1  # type: ignore[index]  # a number is there
    for wrong in (late, early):
        assert abs(minutes_left(wrong) - minutes_left(right)) < 5
        bars = [float(lease_bar(page).get_attribute("aria-valuenow") or -1) for page in (wrong, right)]
        assert abs(bars[0] - bars[1]) < 20, bars

    act(late, re.compile("^Destroy"))
    late.get_by_role("dialog").get_by_role("button", name="Destroy").click()
    for page in pages:
        expect(pod(page)).to_contain_text("gone (verified)", timeout=60_000)
    assert lab.market.meter()["billing_now"] == 0
    early.reload()
    expect(pod(early)).to_contain_text("gone (verified)", timeout=60_000)
