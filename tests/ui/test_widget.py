"""The same panel as a widget in a notebook: it agrees with the sidebar, and its buttons work while its kernel is busy."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from lab_kit import Lab, command, settled, shot
from panel_kit import PANEL, act, faults, open_lab, pod, tab
from playwright.sync_api import Page, expect
from sandbox_kit import wait_until

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


def saved_text(page: Page, lab: Lab, name: str) -> str:
    """Save the notebook and return the text that it keeps of the panel, in its second cell."""
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    outputs = json.loads((lab.work / name).read_text())["cells"][1]["outputs"]
    return "".join("".join(each.get("data", {}).get("text/plain", "")) for each in outputs)


def test_a_panel_that_is_scrolled_away_is_saved_with_the_last_state_and_keeps_what_was_chosen(
    page: Page, lab: Lab
) -> None:
    long = "\n".join(["print('a long cell')"] * 80)
    name = lab.notebook(
        "scrolled.ipynb", "%load_ext gpuplug", "%gpu panel", long, "%%remote_gpu -p vast\n6 * 7", "6 * 8"
    )
    open_lab(page, lab, name)
    go = "number => {{ const book = window.jupyterapp.shell.currentWidget.content; book.activeCellIndex = number; {} }}"
    for number in (0, 1):
        page.evaluate(go.format(""), number)
        command(page, "notebook:run-cell")
    expect(page.locator(f"{WIDGET} .gp-head")).to_contain_text("today", timeout=60_000)
    tab(page, "spend", WIDGET)
    page.evaluate(go.format("return book.scrollToItem(number)"), 3)
    expect(page.locator(WIDGET)).not_to_be_in_viewport()
    command(page, "notebook:run-cell")
    expect(page.locator(".jp-CodeCell").nth(3)).to_contain_text("42", timeout=60_000)
    page.evaluate(go.format(""), 4)

    def saved() -> bool:
        command(page, "notebook:run-cell")  # the page may have told only now that nobody sees the panel
        return "simulated: 1 instance billing" in saved_text(page, lab, name)

    wait_until(saved, 60.0)
    page.evaluate(go.format("return book.scrollToItem(number)"), 1)
    expect(page.locator(f"{WIDGET} [data-tab=spend]")).to_have_attribute("aria-selected", "true")
    expect(page.locator(WIDGET)).to_have_count(1)
    lab.settle()


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
    assert "0 instances" in saved_text(page, lab, name)
    lab.settle()
