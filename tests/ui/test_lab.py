"""gpuplug's places in JupyterLab itself: palette, launcher, status bar, settings, notifications."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import httpx
import pytest
from lab_kit import Lab, command, settled
from panel_kit import PANEL, open_lab, tab
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = (
    "Remote GPUs: prices, pods and spend",
    "Remote GPUs: tell on the desktop when a long cell ends",
    "Run This Cell on a GPU",
)
LONG = "%%remote_gpu -p local\nimport time\ntime.sleep(6)"


@pytest.fixture
def settings(lab: Lab) -> Iterator[Lab]:
    """A person's own settings of gpuplug; gone afterwards, and what a cell ran on too."""
    own = {"cellOptions": "--gpu H100 --max-price 3", "notifyAfterSeconds": 1}
    keep(lab, own)
    yield lab
    lab.settle()
    keep(lab, {})


def keep(lab: Lab, own: dict[str, object]) -> None:
    headers = {"Authorization": f"token {lab.token}"}
    url = f"{lab.url}lab/api/settings/gpuplug:plugin"
    httpx.put(url, json={"raw": json.dumps(own)}, headers=headers, timeout=30).raise_for_status()


def test_palette_launcher_and_status_bar_lead_to_the_panel(page: Page, lab: Lab) -> None:
    page.goto(lab.page("lab?reset"))
    settled(page)
    tabs = page.locator(f"{PANEL} [role=tablist]")
    page.locator(".jp-LauncherCard").filter(has_text="Remote GPUs").click()
    expect(tabs).to_be_visible()
    command(page, "application:toggle-left-area")
    expect(tabs).to_be_hidden()
    page.locator("button.gp-status").click()
    expect(tabs).to_be_visible()
    command(page, "apputils:activate-command-palette")
    for words in COMMANDS:
        page.locator(".lm-CommandPalette-input").fill(words)
        expect(page.locator(".lm-CommandPalette-item").filter(has_text=words)).not_to_have_count(0)


def test_the_toolbar_button_writes_the_options_of_the_settings(page: Page, settings: Lab) -> None:
    open_lab(page, settings, settings.notebook("set.ipynb", "%load_ext gpuplug", "x = 1"))
    page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1 }")
    command(page, "gpuplug:toggle-cell")
    expect(page.locator(".jp-CodeCell").nth(1)).to_contain_text("%%remote_gpu --gpu H100 --max-price 3")


def test_the_end_of_a_long_cell_is_told_in_the_page_where_the_desktop_is_not_allowed(page: Page, settings: Lab) -> None:
    asked = (
        "() => { window.asked = 0; window.Notification.requestPermission = async () => (window.asked += 1, 'denied'); }"
    )
    open_lab(page, settings, settings.notebook("long.ipynb", "%load_ext gpuplug", LONG))
    page.evaluate(asked)
    tab(page, "jobs")
    command(page, "notebook:run-all-cells")
    expect(page.locator(f"{PANEL} .gp-job").first).to_contain_text("running", timeout=60_000)
    toast = page.locator(".jp-toastContainer")
    expect(toast).to_contain_text(re.compile(r"long.*: done after \d+ s, "), timeout=60_000)
    assert page.evaluate("() => window.asked") == 0
    command(page, "gpuplug:allow-notifications")
    expect(toast).to_contain_text("The browser does not allow it")
    assert page.evaluate("() => window.asked") == 1
