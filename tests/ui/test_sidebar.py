"""The sidebar in a real JupyterLab below a base URL, against the live sandbox: what a person does from rent to gone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lab_kit import Lab, command, settled, shot
from panel_kit import PANEL, act, faults, open_lab, pod, spent, tab
from playwright.sync_api import Page, expect
from sandbox_kit import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TRAIN = "%%remote_gpu -p vast\nimport time\nfor step in range({steps}):\n    print('step', step, flush=True)\n    time.sleep(1)"


@pytest.fixture
def sidebar(page: Page, lab: Lab) -> Iterator[Page]:
    """JupyterLab with a notebook and the panel open; whatever was rented is gone afterwards, and no kernel runs."""
    open_lab(
        page, lab, lab.notebook("train.ipynb", "%load_ext gpuplug", TRAIN.format(steps=2), TRAIN.format(steps=600))
    )
    yield page
    lab.settle()


def rent_the_cheapest(page: Page) -> None:
    tab(page, "prices")
    act(page, re.compile("^Rent "))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("at worst")
    expect(dialog).to_contain_text("Make-believe market")
    dialog.get_by_role("button", name=re.compile("^Rent at")).click()


def test_a_machine_is_rented_used_paid_and_ended_from_the_sidebar(sidebar: Page, lab: Lab) -> None:
    tab(sidebar, "prices")
    expect(sidebar.locator(f"{PANEL} .gp-offer").first).to_be_visible()
    shot(sidebar, "prices-light")
    assert faults(sidebar) == []
    rent_the_cheapest(sidebar)
    expect(pod(sidebar)).to_contain_text("running", timeout=60_000)
    assert lab.market.meter()["billing_now"] == 1
    expect(sidebar.locator(".gp-status")).to_contain_text("1 pod")

    before = spent(sidebar)
    command(sidebar, "notebook:run-all-cells")
    expect(sidebar.locator(".jp-CodeCell").nth(1)).to_contain_text("step 1", timeout=60_000)
    tab(sidebar, "jobs")
    jobs = sidebar.locator(f"{PANEL} .gp-job").filter(has_text="train")
    expect(jobs.last).to_contain_text("done")
    expect(jobs.first).to_contain_text("running", timeout=30_000)
    assert lab.market.meter()["billing_now"] == 1, "the cell did not run on the machine that the sidebar rented"
    wait_until(lambda: spent(sidebar) > before, 30)

    tab(sidebar, "pods")
    shot(sidebar, "pods-light")
    assert faults(sidebar) == []
    command(sidebar, "apputils:change-theme", theme="JupyterLab Dark")
    sidebar.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    sidebar.wait_for_selector("#jupyterlab-splash", state="detached")
    shot(sidebar, "pods-dark")
    assert faults(sidebar) == []
    command(sidebar, "apputils:change-theme", theme="JupyterLab Light")
    sidebar.wait_for_function("() => document.body.dataset.jpThemeLight === 'true'")
    sidebar.wait_for_selector("#jupyterlab-splash", state="detached")

    tab(sidebar, "jobs")
    act(sidebar, re.compile("^Cancel"))
    expect(sidebar.locator(".jp-CodeCell").nth(2)).to_contain_text("KeyboardInterrupt", timeout=60_000)
    expect(jobs.first).not_to_contain_text("running", timeout=30_000)

    tab(sidebar, "pods")
    act(sidebar, re.compile("^Destroy"))
    sidebar.get_by_role("dialog").get_by_role("button", name="Destroy").click()
    expect(pod(sidebar)).to_contain_text("gone (verified)", timeout=60_000)
    assert lab.market.meter()["billing_now"] == 0
    tab(sidebar, "spend")
    expect(sidebar.locator(PANEL)).to_contain_text("Make-believe money")
    shot(sidebar, "spend-light")
    assert faults(sidebar) == []


def saved_sidebars(lab: Lab) -> list[str]:
    """Return what stands in front on the left in each layout that JupyterLab has saved; it does so a while after a change."""
    spaces = lab.ask("GET", "lab/api/workspaces")["workspaces"]["values"]
    return [each["data"].get("layout-restorer:data", {}).get("left", {}).get("current", "") for each in spaces]


def test_the_panel_is_where_it_was_after_a_reload(sidebar: Page, lab: Lab) -> None:
    tab(sidebar, "prices")
    sidebar.get_by_label("GPU", exact=True).fill("4090")
    wait_until(lambda: "gpuplug-panel" in saved_sidebars(lab), 30)
    sidebar.goto(sidebar.url.replace("reset", "again"))
    settled(sidebar)
    expect(sidebar.locator(f"{PANEL} .gp-offer").first).to_contain_text("4090")


def test_the_toolbar_button_puts_the_magic_on_a_cell_and_takes_it_off(page: Page, lab: Lab) -> None:
    open_lab(page, lab, lab.notebook("plain.ipynb", "x = 1"))
    button = page.locator(".jp-NotebookPanel-toolbar [data-command='gpuplug:toggle-cell']").first
    source = "() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map(cell => cell.source)"
    page.locator(".jp-CodeCell .cm-content").click()
    button.click()
    assert page.evaluate(source) == ["%load_ext gpuplug", "%%remote_gpu\nx = 1"]
    button.click()
    assert page.evaluate(source) == ["%load_ext gpuplug", "x = 1"]


def test_every_step_of_renting_can_be_done_by_keys_alone(sidebar: Page, lab: Lab) -> None:
    keys = sidebar.keyboard
    sidebar.locator(f"{PANEL} [role=tab][aria-selected=true]").focus()
    keys.press("ArrowRight")
    expect(sidebar.locator(f"{PANEL} [role=tab]:focus")).to_have_text("Prices")
    sidebar.locator(f"{PANEL} .gp-offer").first.wait_for()
    sidebar.locator(f"{PANEL} .gp-scroll li").first.focus()
    keys.press("ArrowDown")
    expect(sidebar.locator(f"{PANEL} li:focus")).to_have_attribute("aria-posinset", "2")
    keys.press("End")
    expect(sidebar.locator(f"{PANEL} li:focus")).to_have_attribute("aria-posinset", re.compile("[0-9]{2}"))
    keys.press("Enter")
    dialog = sidebar.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    keys.press("Escape")
    expect(dialog).to_have_count(0)
    expect(sidebar.locator(f"{PANEL} li:focus, {PANEL} li :focus")).to_have_count(1)
    assert lab.market.meter()["billing_now"] == 0


def test_a_price_that_changes_at_the_source_is_seen_without_asking(sidebar: Page, lab: Lab) -> None:
    tab(sidebar, "prices")
    price = sidebar.locator(f"{PANEL} .gp-offer .gp-price").first
    before = price.inner_text()
    model = sidebar.locator(f"{PANEL} .gp-offer strong").first.inner_text()
    lab.market.action("set_price", price=7.77, gpu=re.sub(r" \d+ GB$", "", model))
    expect(price).not_to_have_text(before, timeout=60_000)


def test_offers_come_by_what_they_cost_for_the_stated_hours_and_data(sidebar: Page) -> None:
    tab(sidebar, "prices")
    sidebar.locator(f"{PANEL} summary").click()
    sidebar.get_by_label("Hours", exact=True).fill("2")
    sidebar.get_by_label("Data sent, GB", exact=True).fill("20")
    rows = sidebar.locator(f"{PANEL} .gp-offer")
    expect(rows.first).to_contain_text(re.compile(r"\$\d+\.\d\d for 2 h, 20 GB"))
    shot(sidebar, "prices-for-a-task")
    assert faults(sidebar) == []
    told = [re.search(r"\$(\d+\.\d\d) for 2 h", text) for text in rows.all_inner_texts()]
    costs = [float(each[1]) for each in told if each]
    assert len(costs) > 3
    assert costs == sorted(costs)
    sidebar.get_by_label("Hours", exact=True).fill("soon")
    expect(sidebar.get_by_label("Hours", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(rows.first).to_contain_text("for 1 h, 20 GB")
