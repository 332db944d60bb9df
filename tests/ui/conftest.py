"""Run in a session of its own, after all others: Playwright keeps an event loop in the main thread, and both cores are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab_kit import ARGUMENTS, CHROMIUM, WAIT_MS, Lab, running_lab, why_not
from sandbox_kit import market

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if reason := why_not():
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with market(seed=7, pull=2) as source, running_lab(tmp_path_factory.mktemp("lab"), source) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415 - where there is no browser nothing is imported

    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        shown = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield shown
        shown.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown = context.new_page()
    shown.set_default_timeout(WAIT_MS)
    yield shown
    context.close()
