"""The sidebar in a real browser: how soon it is seen, and how long a frame takes when very much is scrolled."""

from __future__ import annotations

import re
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import lab_kit
from lab_kit import ARGUMENTS, CHROMIUM, WAIT_MS, Lab, running_lab
from panel_kit import PANEL, tab
from panel_rows_kit import offers, state
from sandbox_kit import market

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROUNDS = 4
OFFERS, PODS = 10_000, 200
# From the moment at which JupyterLab says that it stands, to the frame after the one with the sidebar and its state in it.
_READY = """() => {
  window.seen = new Promise(tell => {
    const frame = () => new Promise(requestAnimationFrame);
    const wait = async () => {
      while (!window.jupyterapp?.restored) await frame();
      await window.jupyterapp.restored;
      const began = performance.now();
      window.jupyterapp.commands.execute('gpuplug:open');
      const shown = () => {
        const panel = document.querySelector('#gpuplug-panel');
        return panel?.offsetParent && panel.textContent.includes('Nothing is rented');
      };
      while (!shown()) await frame();
      await frame();
      tell(performance.now() - began);
    };
    void wait();
  });
}"""
_SCROLL = """async moving => {
  const box = document.querySelector('#gpuplug-panel .gp-scroll');
  const frames = [], height = box.scrollHeight;
  let before = await new Promise(requestAnimationFrame);
  for (let step = 0; step < 120; step += 1) {
    if (moving) box.scrollTop = (step / 119) * height;
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - before);
    before = now;
  }
  return Math.max(...frames);
}"""


def why_not() -> str:
    """Return why nothing can be measured here; empty when it can."""
    return lab_kit.why_not()


def measure() -> dict[str, float]:
    """Return medians of several pages; nothing where there is no browser or no built front end."""
    if why_not():
        return {}
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - where there is no browser nothing is imported

    with (
        market(seed=7) as source,
        tempfile.TemporaryDirectory() as folder,
        running_lab(Path(folder) / "lab", source) as lab,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            visible = [_visible_ms(browser, lab) for _ in range(ROUNDS)]
            resting, scrolling = _longest_frames_ms(browser, lab)
        finally:
            browser.close()
    return {
        "sidebar_visible_ms": statistics.median(visible[1:]),
        "sidebar_visible_at_first_ms": visible[0],
        "sidebar_longest_frame_ms": scrolling,
        "sidebar_longest_frame_at_rest_ms": resting,
        "sidebar_longest_frame_times_that_at_rest": scrolling / resting,
    }


def _page(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(WAIT_MS)
    page.add_init_script(f"({_READY})()")
    return page


def _visible_ms(browser: Browser, lab: Lab) -> float:
    page = _page(browser)
    page.goto(lab.page("lab?reset"))
    took = page.evaluate("() => window.seen")
    page.context.close()
    return float(took)


def _longest_frames_ms(browser: Browser, lab: Lab) -> tuple[float, float]:
    """Return the longest frame of a page that rests, and of one where a hand scrolls through all offers and all pods."""
    page = _page(browser)
    page.route(re.compile("/ada/gpuplug/prices"), lambda route: route.fulfill(json=offers(OFFERS)))
    page.goto(lab.page("lab?reset"))
    page.evaluate("() => window.seen")
    tab(page, "prices")
    page.locator(f"{PANEL} .gp-count", has_text=f"{OFFERS} offers").wait_for()
    resting, through_offers = _longest(page, moving=False), _longest(page, moving=True)
    page.route(re.compile("/ada/gpuplug/state"), lambda route: route.fulfill(json=state(PODS)))
    page.reload()
    page.locator(f"{PANEL} [data-tab=pods]", has_text=str(PODS)).wait_for()
    tab(page, "pods")
    page.locator(f"{PANEL} .gp-pod").first.wait_for()
    through_pods = _longest(page, moving=True)
    page.context.close()
    return resting, max(through_offers, through_pods)


def _longest(page: Page, *, moving: bool) -> float:
    """Return the median of the longest frames of several passes through the list: other programs make frames long too."""
    return statistics.median(float(page.evaluate(_SCROLL, arg=moving)) for _ in range(ROUNDS + 1))
