"""Stop always works: from the sidebar, whatever has become of the notebook's kernel."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from lab_kit import Lab, command
from panel_kit import act, open_lab, pod, tab
from playwright.sync_api import Locator, Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

LOAD = "%load_ext gpuplug\nimport os, pathlib\n_ = pathlib.Path('kernel.pid').write_text(str(os.getpid()))"
LONG = (
    "%%remote_gpu -p vast\nimport time\nfor step in range(600):\n    print('step', step, flush=True)\n    time.sleep(1)"
)


@pytest.fixture
def busy(page: Page, lab: Lab) -> Iterator[Page]:
    """JupyterLab with the panel open beside a notebook whose kernel waits for a long cell on a machine that it rented."""
    open_lab(page, lab, lab.notebook("stop.ipynb", LOAD, LONG))
    command(page, "notebook:run-all-cells")
    expect(cell(page)).to_contain_text("step 1", timeout=60_000)
    tab(page, "pods")
    expect(pod(page)).to_contain_text("a cell runs", timeout=60_000)
    yield page
    lab.settle()


def cell(page: Page) -> Locator:
    return page.locator(".jp-CodeCell").nth(1)


def destroy(page: Page) -> None:
    act(page, re.compile("^Destroy"))
    page.get_by_role("dialog").get_by_role("button", name="Destroy").click()
    expect(pod(page)).to_contain_text("gone (verified)", timeout=60_000)


def test_a_machine_is_ended_from_the_sidebar_while_its_kernel_is_busy_with_a_cell_there(busy: Page, lab: Lab) -> None:
    destroy(busy)
    assert lab.market.meter()["billing_now"] == 0
    expect(cell(busy)).to_contain_text("Error", timeout=60_000)


def test_a_machine_is_ended_from_the_sidebar_after_its_kernel_was_killed_in_mid_cell(busy: Page, lab: Lab) -> None:
    os.kill(int((lab.work / "kernel.pid").read_text()), signal.SIGKILL)
    assert lab.market.meter()["billing_now"] == 1, "the machine was to outlive its kernel"
    destroy(busy)
    assert lab.market.meter()["billing_now"] == 0
    tab(busy, "jobs")
    expect(busy.locator("#gpuplug-panel .gp-job").first).not_to_contain_text("running", timeout=60_000)


def test_cancel_interrupts_the_kernel_itself_when_the_servers_extension_does_not_answer(busy: Page, lab: Lab) -> None:
    busy.route(re.compile("/gpuplug/actions/cancel"), lambda route: route.fulfill(status=404, body="<html>no</html>"))
    tab(busy, "jobs")
    act(busy, re.compile("^Cancel"))
    expect(cell(busy)).to_contain_text("KeyboardInterrupt", timeout=60_000)
    expect(busy.locator("#gpuplug-panel .gp-job").first).not_to_contain_text("running", timeout=60_000)
    assert lab.market.meter()["billing_now"] == 1, "an interrupt ends the cell, not the machine"
