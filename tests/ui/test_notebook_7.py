"""The same sidebar in Notebook 7."""

from __future__ import annotations

from lab_kit import Lab, command, settled, shot
from panel_kit import PANEL, faults, tab
from playwright.sync_api import Page, expect


def test_notebook_7_has_the_sidebar_and_the_button(page: Page, lab: Lab) -> None:
    page.goto(lab.page(f"notebooks/{lab.notebook('seven.ipynb', 'x = 1')}"))
    settled(page)
    command(page, "gpuplug:open")
    tab(page, "prices")
    expect(page.locator(f"{PANEL} .gp-offer").first).to_be_visible()
    expect(page.locator(".jp-NotebookPanel-toolbar [data-command='gpuplug:toggle-cell']")).to_have_count(1)
    shot(page, "notebook-7")
    assert faults(page) == []
