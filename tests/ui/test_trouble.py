"""What the panel shows when the other side is silent, hostile or very large."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lab_kit import Address, Lab, running_lab, shot
from panel_kit import PANEL, faults, open_lab, tab
from panel_rows_kit import offers, state
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("status", "says"),
    [(404, "pip install 'gpuplug[lab]'"), (403, "refuses"), (500, "does not answer"), (200, "does not answer")],
)
def test_a_server_that_has_nothing_to_say_leaves_no_blank_panel(status: int, says: str, page: Page, lab: Lab) -> None:
    page.route(re.compile("/ada/gpuplug/"), lambda route: route.fulfill(status=status, body="<html>no</html>"))
    open_lab(page, lab, "")
    expect(page.locator(PANEL)).to_contain_text(says)
    shot(page, f"trouble-{status}")
    assert faults(page) == []


SCROLL = """async () => {
  const box = document.querySelector('#gpuplug-panel .gp-scroll');
  for (let step = 0; step < 120; step += 1) {
    box.scrollTop = (step / 119) * box.scrollHeight;
    await new Promise(requestAnimationFrame);
  }
}"""


def scroll_to_the_end(page: Page, count: int) -> None:
    """Scroll in steps as a hand does; of a long list only what is in sight may exist."""
    page.evaluate(SCROLL)
    expect(page.locator(f"{PANEL} .gp-scroll li").last).to_have_attribute("aria-posinset", str(count))
    assert page.locator(f"{PANEL} .gp-scroll li").count() < 60


def test_ten_thousand_hostile_offers_are_text_and_scroll(page: Page, lab: Lab) -> None:
    page.route(re.compile("/ada/gpuplug/prices"), lambda route: route.fulfill(json=offers(10_000)))
    open_lab(page, lab, lab.notebook("many.ipynb", ""))
    tab(page, "prices")
    expect(page.locator(f"{PANEL} .gp-count")).to_contain_text("10000 offers")
    scroll_to_the_end(page, 10_000)
    assert page.locator(f"{PANEL} img, {PANEL} script").count() == 0
    assert page.evaluate("() => window.hurt") is None
    page.get_by_label("GPU", exact=True).fill("rtx_4090")
    expect(page.locator(f"{PANEL} .gp-count")).to_contain_text("6666 of 10000 offers")
    shot(page, "ten-thousand")


def test_two_hundred_pods_with_an_alert_that_stays_are_shown_and_scroll(page: Page, lab: Lab) -> None:
    page.route(re.compile("/ada/gpuplug/state"), lambda route: route.fulfill(json=state(200)))
    open_lab(page, lab, "")
    expect(page.locator(f"{PANEL} [data-tab=pods]")).to_contain_text("200")
    expect(page.locator(PANEL)).to_contain_text("vast does not answer")
    alert = page.locator(f"{PANEL} .gp-alerts")
    expect(alert).to_contain_text("it still bills $0.31/h")
    expect(alert.get_by_role("button", name="Destroy")).to_be_visible()
    assert alert.locator("a").count() == 0, "only https becomes a link"
    shot(page, "two-hundred-pods")
    scroll_to_the_end(page, 200)
    assert page.evaluate("() => window.hurt") is None
    assert faults(page) == []


def test_the_panel_says_that_the_server_is_gone_and_lives_again_when_it_is_back(
    page: Page, lab: Lab, tmp_path: Path
) -> None:
    address = Address.free()
    with running_lab(tmp_path / "one", lab.market, address) as first:
        open_lab(page, first, "")
        expect(page.locator(PANEL)).to_contain_text("Nothing is rented", timeout=60_000)
    expect(page.locator(PANEL)).to_contain_text("does not answer since", timeout=60_000)
    with running_lab(tmp_path / "two", lab.market, address):
        expect(page.locator(PANEL)).not_to_contain_text("does not answer since", timeout=90_000)
        expect(page.locator(PANEL)).to_contain_text("Nothing is rented", timeout=60_000)
