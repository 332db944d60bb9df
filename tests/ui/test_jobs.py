"""How far a cell is, and the way back to one that runs on without its notebook, in the sidebar."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lab_kit import Lab, command, shot
from panel_kit import PANEL, act, faults, open_lab, tab
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

BAR = (
    "%%remote_gpu -p vast\nimport time\nfor step in range(1, 90):\n"
    "    print(f'\\r{step:3}%|#####     | {step}/100', end='', flush=True)\n    time.sleep(1)"
)
STUBBORN = (
    "%%remote_gpu -p vast\nimport time\nwhile True:\n    try:\n        time.sleep(1)\n        print('goes on', flush=True)\n"
    "    except KeyboardInterrupt:\n        pass"
)
INTERRUPT = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()"


@pytest.fixture
def sidebar(page: Page, lab: Lab) -> Iterator[Page]:
    open_lab(page, lab, lab.notebook("jobs.ipynb", "%load_ext gpuplug", BAR, STUBBORN))
    yield page
    lab.settle()


def test_a_running_cell_shows_its_own_bar_and_one_that_was_left_the_way_back_to_it(sidebar: Page) -> None:
    command(sidebar, "notebook:run-all-cells")
    tab(sidebar, "jobs")
    job = sidebar.locator(f"{PANEL} .gp-job").first
    expect(job).to_contain_text(re.compile(r"[1-9]\d? %.*/100"), timeout=90_000)
    expect(job.get_by_role("meter", name="how far the cell is")).to_be_visible()
    shot(sidebar, "jobs-progress")
    assert faults(sidebar) == []
    act(sidebar, re.compile("^Cancel"))
    cells = sidebar.locator(".jp-CodeCell")
    expect(cells.nth(1)).to_contain_text("KeyboardInterrupt", timeout=60_000)

    sidebar.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 2")
    command(sidebar, "notebook:run-cell")
    shown = cells.nth(2).locator(".jp-OutputArea")
    expect(shown).to_contain_text("goes on", timeout=60_000)
    sidebar.evaluate(INTERRUPT)
    expect(shown).to_contain_text("interrupt again", timeout=30_000)
    sidebar.evaluate(INTERRUPT)
    expect(job).to_contain_text("left running", timeout=60_000)
    sidebar.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    command(sidebar, "application:close-all")
    act(sidebar, re.compile("^Attach"))
    dialog = sidebar.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(r"%gpu start \d+"))
    shot(sidebar, "jobs-attach")
    assert re.fullmatch(r"%gpu start \d+", sidebar.evaluate("() => navigator.clipboard.readText()"))
    dialog.get_by_role("button", name="Open the notebook").click()
    sidebar.wait_for_function("() => window.jupyterapp.shell.currentWidget?.context?.path === 'jobs.ipynb'")
