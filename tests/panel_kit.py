"""What a person does with the panel, and what a screen reader would stumble over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab_kit import Lab, command, settled
from sandbox_kit import ROOT

if TYPE_CHECKING:
    import re

    from playwright.sync_api import Locator, Page

PANEL = "#gpuplug-panel"
AXE = ROOT / "labextension" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")


def open_lab(page: Page, lab: Lab, book: str) -> None:
    """Open JupyterLab, on a notebook where one is named, and show the panel."""
    page.goto(lab.page(f"lab/tree/{book}?reset" if book else "lab?reset"))
    settled(page)
    if book:
        page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        )
    command(page, "gpuplug:open")
    page.locator(f"{PANEL} [role=tablist]").wait_for()


def tab(page: Page, name: str, root: str = PANEL) -> None:
    page.locator(f"{root} [data-tab={name}]").click()


def pod(page: Page, root: str = PANEL) -> Locator:
    return page.locator(f"{root} .gp-pod").first


def act(page: Page, name: re.Pattern[str], root: str = PANEL) -> None:
    """Press the first button in a list that is called so."""
    page.locator(f"{root} .gp-scroll").get_by_role("button", name=name).first.click()


def spent(page: Page, root: str = PANEL) -> int:
    """Return today's spend as the panel shows it, in micro-dollars; make-believe money here."""
    return int(page.locator(f"{root} [data-purse=simulated] [data-today]").get_attribute("data-today") or 0)


def faults(page: Page, root: str = PANEL) -> list[Any]:
    """Return what axe-core finds that keeps people from using the panel."""
    page.add_script_tag(path=AXE)
    found = page.evaluate(
        "root => axe.run(root, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa'] }).then(found => found.violations)", root
    )
    return [
        (each["id"], [(node["html"][:200], node["failureSummary"]) for node in each["nodes"][:3]])
        for each in found
        if each["impact"] in SERIOUS
    ]
