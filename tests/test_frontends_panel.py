"""`%gpu panel` in a real kernel: which form it takes, what a saved notebook keeps, and that a busy cell holds nothing up."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from frontends_kit import ROOT, Kernel, Shown, command, kernel
from sandbox_kit import RunningMarket, market, wait_until
from widget_kit import VIEW, answer, opened, until_offers, until_pods

from gpuplug.frontends.magics.commands import notebook_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMPONENT = "export default { render({ model, el }) { el.textContent = model.get('state'); } };"


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningMarket]:
    with market(seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with a component in its place, however small: what the page draws is not tested here."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(
        ROOT / "src" / "gpuplug", folder / "gpuplug", ignore=shutil.ignore_patterns("__pycache__", "static")
    )
    static = folder / "gpuplug" / "static"
    static.mkdir()
    (static / "panel.js").write_text(COMPONENT, encoding="utf-8")
    (static / "panel.css").write_text(".gpuplug { color: inherit }", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def live(shop: RunningMarket, built: Path, home: Path) -> Iterator[Kernel]:
    with kernel(home, PYTHONPATH=str(built), **shop.env) as running:
        yield running


@pytest.fixture(scope="module")
def widget(live: Kernel) -> dict[str, Any]:
    shown = live.run("%gpu panel")
    model = opened(shown.messages)["AnyModel"]
    (display,) = shown.of("display_data")
    assert display.content["data"][VIEW]["model_id"] == model["comm"]
    assert display.text.startswith("gpuplug panel, ")
    return model


def test_the_widget_carries_the_component_and_the_state_and_nothing_secret(
    widget: dict[str, Any], shop: RunningMarket
) -> None:
    assert widget["_esm"] == COMPONENT
    state = json.loads(widget["state"])
    assert (state["version"], state["source"]) == (1, "kernel")
    for key in (shop.vast_api_key, shop.runpod_api_key):
        assert key not in json.dumps(widget)


def test_who_looks_is_shown_prices_and_may_ask_for_a_quote_and_rent_and_destroy(
    live: Kernel, widget: dict[str, Any], shop: RunningMarket
) -> None:
    assert answer(live, widget, 1, "looking", {"client": "w", "parts": ["pods", "prices"], "gpus": []})[0] == 200
    offers = until_offers(live)
    assert 0 < len(offers) <= 200
    status, quote = answer(live, widget, 2, "quote", {"offer": offers[0]["id"]})
    assert status == 200, quote
    assert answer(live, widget, 3, "actions/rent", {"quote": quote["quote"]})[0] == 202
    (pod,) = until_pods(live, "running")
    assert pod["usd_per_hour"] == offers[0]["usd_per_hour"]
    assert "is ready" not in live.run("%gpu status").out
    assert pod["number"] in live.run("%gpu status").out
    assert answer(live, widget, 4, "actions/destroy", {"id": pod["id"]})[0] == 202
    until_pods(live, "gone")
    assert shop.meter()["billing_now"] == 0


def test_the_widget_is_kept_up_to_date_while_a_cell_runs(
    live: Kernel, widget: dict[str, Any], shop: RunningMarket
) -> None:
    answer(live, widget, 10, "looking", {"client": "w", "parts": ["pods", "prices"], "gpus": []})
    live.begin("import time\nprint('busy', flush=True)\nwhile True: time.sleep(0.1)")
    shop.action("set_price", gpu="RTX 4090", price=0.4242)
    live.hear(lambda data: '"0.42' in data.get("state", {}).get("prices", ""))
    live.interrupt()
    live.settle()


def test_an_action_is_taken_while_a_cell_runs_where_the_kernel_has_a_second_shell(
    live: Kernel, widget: dict[str, Any]
) -> None:
    subshell = live.subshell()
    if not subshell:
        pytest.skip("this ipykernel has no subshells")
    live.begin("import time\nprint('busy', flush=True)\nwhile True: time.sleep(0.1)")
    live.send(widget["comm"], {"request": 30, "route": "actions/destroy", "body": {"id": "gp-1"}}, subshell)
    said = live.hear(lambda data: data.get("content", {}).get("status"))
    assert said["content"]["status"] == 404
    live.interrupt()
    live.settle()


def until_job(live: Kernel, notebook: str) -> dict[str, Any]:
    """Return the job of a notebook that a kernel follows, once the widget shows it."""

    def jobs(data: dict[str, Any]) -> list[dict[str, Any]]:
        text = data.get("state", {}).get("state", "")
        rows = json.loads(text)["jobs"]["items"] or [] if text else []
        return [each for each in rows if each["may"]["cancel"] is not None and each["notebook"].startswith(notebook)]

    return jobs(live.hear(lambda data: bool(jobs(data))))[0]


LONG = "%%remote_gpu -p local\nimport time\nprint('busy', flush=True)\nwhile True: time.sleep(0.1)"


def test_the_kernel_s_own_cell_is_cancelled_from_the_panel_where_it_has_a_second_shell(
    live: Kernel, widget: dict[str, Any]
) -> None:
    subshell = live.subshell()
    if not subshell:
        pytest.skip("this ipykernel has no subshells")
    answer(live, widget, 31, "looking", {"client": "w", "parts": ["pods"], "gpus": []})
    live.begin(LONG)
    job = until_job(live, "notebook-")
    live.send(widget["comm"], {"request": 32, "route": "actions/cancel", "body": {"job": job["id"]}}, subshell)
    live.settle()


def test_a_cell_of_another_notebook_is_not_cancelled_by_interrupting_this_one_and_is_said_to_be_elsewhere(
    live: Kernel, widget: dict[str, Any], shop: RunningMarket, home: Path
) -> None:
    subshell = live.subshell()
    if not subshell:
        pytest.skip("this ipykernel has no subshells")
    with kernel(home, "another", **shop.env) as other:
        other.begin(LONG)
        answer(live, widget, 33, "looking", {"client": "w", "parts": ["pods"], "gpus": []})
        job = until_job(live, "another-")
        live.begin("import time\nprint('busy', flush=True)\nfor _ in range(20): time.sleep(0.1)\nprint('whole')")
        live.send(widget["comm"], {"request": 34, "route": "actions/cancel", "body": {"job": job["id"]}}, subshell)
        said = live.hear(lambda data: data.get("content", {}).get("request") == 34 and "status" in data["content"])
        assert said["content"]["status"] == 409
        assert "another-" in said["content"]["body"]["message"]
        assert "destroy the instance" in said["content"]["body"]["hint"]
        live.said("whole")
        live.settle()
        other.interrupt()
        other.settle()


def test_a_message_that_makes_no_sense_is_answered_or_passed_over_and_harms_nothing(
    live: Kernel, widget: dict[str, Any]
) -> None:
    for content in ({}, {"request": "one"}, {"request": True, "route": 7}):
        live.send(widget["comm"], content)
    assert answer(live, widget, 20, "actions/explode", None)[0] == 404
    assert answer(live, widget, 21, "actions/destroy", {"id": ["gp-1"]})[0] == 400
    assert answer(live, widget, 22, "actions/destroy", {"id": "gp-1"})[0] == 404


RENT = "%%remote_gpu -p vast\n6 * 7"


def renewed(shown: Shown) -> list[dict[str, Any]]:
    """Return what the cell has put in the place of what panels showed."""
    return [
        message.content["data"]
        for message in shown.of("update_display_data")
        if message.text.startswith("gpuplug panel")
    ]


def test_a_notebook_that_no_page_shows_is_saved_with_the_panel_as_it_was_after_the_last_cell(
    shop: RunningMarket, built: Path, tmp_path: Path
) -> None:
    with kernel(tmp_path, PYTHONPATH=str(built), **shop.env) as headless:
        first = headless.run("import gpuplug; gpuplug.panel()")
        (display,) = first.of("display_data")
        assert "1 instance billing" not in display.text
        assert renewed(headless.run("6 * 7")) == []  # nothing is new
        rented = headless.run(RENT)
        *_, data = renewed(rented)
        assert "simulated: 1 instance billing" in data["text/plain"]
        assert data[VIEW] == display.content["data"][VIEW]
        traits = [message.content["data"].get("state", {}).get("state", "") for message in rented.of("comm_msg")]
        assert any('"state": "running"' in each for each in traits)
        *_, data = renewed(headless.run("%gpu down"))
        assert "1 instance billing" not in data["text/plain"]


def test_a_panel_on_the_screen_is_not_drawn_anew_but_once_it_is_scrolled_away_and_is_text_once_it_is_closed(
    shop: RunningMarket, built: Path, tmp_path: Path
) -> None:
    with kernel(tmp_path, PYTHONPATH=str(built), **shop.env) as used:
        model = opened(used.run("%gpu panel").messages)["AnyModel"]
        answer(used, model, 1, "looking", {"client": "w", "parts": ["pods"], "gpus": []})
        assert renewed(used.run(RENT)) == []
        answer(used, model, 2, "looking", {"client": "w", "parts": [], "gpus": []})
        *_, data = renewed(used.run("%gpu down"))
        assert VIEW in data
        assert "simulated: 0 instances billing" in data["text/plain"]
        *_, data = renewed(used.run("%unload_ext gpuplug"))
        assert list(data) == ["text/plain"]
        assert "simulated: 0 instances billing" in data["text/plain"]
        assert data["text/plain"].endswith("closed; to open it again: %gpu panel")


# What anywidget uses of the hosted runtime's own module, which can be had there only.
HOSTED = """import sys, types
module = types.ModuleType('google.colab.output')
module._widgets = types.SimpleNamespace(_installed_url=None)
module.enable_custom_widget_manager = lambda: setattr(module._widgets, '_installed_url', 'https://manager.test/')
sys.modules['google.colab.output'] = module"""


def test_a_hosted_page_is_told_with_each_display_from_where_it_loads_widgets_of_others(
    shop: RunningMarket, built: Path, tmp_path: Path
) -> None:
    with kernel(tmp_path, PYTHONPATH=str(built), **shop.env) as hosted:
        hosted.run(HOSTED)
        (display,) = hosted.run("%gpu panel").of("display_data")
        *_, update = hosted.run(RENT).of("update_display_data")
        for shown in (display, update):
            assert VIEW in shown.content["data"]
            assert shown.content["metadata"][VIEW] == {
                "colab": {"custom_widget_manager": {"url": "https://manager.test/"}}
            }


def test_loading_the_extension_again_ends_the_panel_s_threads_and_a_new_panel_works(live: Kernel) -> None:
    live.run("%reload_ext gpuplug")
    names = live.run("import threading; print([t.name for t in threading.enumerate() if 'gpuplug' in t.name])").out
    assert "gpuplug-panel" not in names
    assert "gpuplug-desk" not in names
    assert "AnyModel" in opened(live.run("import gpuplug; gpuplug.panel()").messages)


def test_without_the_component_the_panel_is_text_and_buttons_and_no_html_of_ours(
    shop: RunningMarket, tmp_path: Path
) -> None:
    with kernel(tmp_path, **shop.env) as plain:
        plain.run("import gpuplug.frontends.magics.panels as panels; panels._is_built = lambda: False")
        shown = plain.run("%gpu panel")
        models = opened(shown.messages)
        assert {"VBoxModel", "TextareaModel", "ButtonModel"} <= set(models)
        assert not [name for name in models if "HTML" in name]
        (display,) = shown.of("display_data")
        assert VIEW in display.content["data"]
        assert display.text.startswith("gpuplug panel, ")
        plain.hear(lambda data: "offers, read" in str(data.get("state", {}).get("value", "")))


def test_without_ipywidgets_the_panel_is_text(shop: RunningMarket, tmp_path: Path) -> None:
    with kernel(tmp_path, **shop.env) as bare:
        hidden = "import importlib.util as u; find = u.find_spec; u.find_spec = lambda name: None if 'widget' in name else find(name)"
        bare.run(hidden)
        (display,) = bare.run("%gpu panel").of("display_data")
        assert list(display.content["data"]) == ["text/plain"]
        assert "0 instances billing" in display.text
        wait_until(lambda: any(" offers, read " in each["text/plain"] for each in renewed(bare.run("6 * 7"))), 60.0)
        *_, data = renewed(bare.run(RENT))
        assert list(data) == ["text/plain"]
        assert "simulated: 1 instance billing" in data["text/plain"]


@pytest.mark.parametrize(("told", "file"), [("a.ipynb", "a.ipynb"), ("", None), (".", None)])
def test_a_notebook_is_known_by_its_file_where_the_front_end_tells_one_and_not_by_the_folder_that_nbclassic_tells(
    told: str, file: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_SESSION_NAME", told and str(tmp_path / told))
    found = notebook_file(SimpleNamespace(user_ns={}))
    assert found == (tmp_path / file if file else None)


def test_the_command_line_says_that_a_panel_needs_a_notebook(tmp_path: Path) -> None:
    done = command(tmp_path, "panel")
    assert done.returncode == 2
    assert "needs a notebook" in done.stderr
