"""The same panel as a widget in a notebook: it agrees with the sidebar, and its buttons work while its kernel is busy."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from lab_kit import Lab, command, settled, shot
from panel_kit import PANEL, act, faults, open_lab, pod
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDGET = ".jp-Notebook .gp-panel"
BUSY = (
    "%%remote_gpu -p vast\nimport time\nfor step in range(600):\n    print('step', step, flush=True)\n    time.sleep(1)"
)


@pytest.fixture
def book(lab: Lab) -> Iterator[str]:
    yield lab.notebook("widget.ipynb", "%load_ext gpuplug", "%gpu panel", BUSY)
    lab.settle()


def test_the_widget_agrees_with_the_sidebar_and_ends_a_machine_while_its_kernel_is_busy(
    page: Page, lab: Lab, book: str
) -> None:
    open_lab(page, lab, book)
    command(page, "notebook:run-all-cells")
    expect(page.locator(".jp-CodeCell").nth(2)).to_contain_text("step 1", timeout=60_000)
    for root in (WIDGET, PANEL):
        expect(pod(page, root)).to_contain_text("running", timeout=60_000)
        expect(pod(page, root)).to_contain_text("a cell runs", timeout=30_000)
        expect(page.locator(f"{root} .gp-head")).to_contain_text("make-believe")
    number = re.compile(r"#\d+")
    seen = [number.findall(pod(page, root).inner_text()) for root in (WIDGET, PANEL)]
    assert seen[0] == seen[1] != []
    page.locator(WIDGET).scroll_into_view_if_needed()
    shot(page, "widget")
    assert faults(page, WIDGET) == []

    act(page, re.compile("^Destroy"), WIDGET)
    page.get_by_role("dialog").get_by_role("button", name="Destroy").click()
    for root in (WIDGET, PANEL):
        expect(pod(page, root)).to_contain_text("gone (verified)", timeout=60_000)
    assert lab.market.meter()["billing_now"] == 0


def test_a_saved_notebook_shows_the_panel_as_text_and_notebook_7_shows_it_alive(page: Page, lab: Lab) -> None:
    name = lab.notebook("saved.ipynb", "%load_ext gpuplug", "%gpu panel")
    page.goto(lab.page(f"notebooks/{name}"))
    settled(page)
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )
    command(page, "notebook:run-all-cells")
    expect(page.locator(f"{WIDGET} .gp-head")).to_contain_text("today", timeout=60_000)
    shot(page, "widget-notebook-7")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    outputs = json.loads((lab.work / name).read_text())["cells"][1]["outputs"]
    assert any("0 instances" in "".join(each.get("data", {}).get("text/plain", "")) for each in outputs), outputs
    lab.settle()
