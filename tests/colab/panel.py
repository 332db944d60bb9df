"""The panel in a kernel of the Python that runs this, used as a page uses it; prints what was seen, or fails.

`panel.py FORM`: `anywidget`, `ipywidgets` or `text`, the form that it must take by what is installed here. Runs
against the market that the environment points to.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from frontends_kit import Kernel, Message, kernel  # noqa: E402 - found through the path above
from widget_kit import VIEW, answer, models, opened, until_offers, until_pods  # noqa: E402 - likewise

if TYPE_CHECKING:
    from collections.abc import Callable

SAVED = "application/vnd.jupyter.widget-state+json"
MARKET = ("VAST_", "RUNPOD_")
DEADLINE_S = 60
RENT = "%%remote_gpu -p vast\nprint(6 * 7)"
RENT_BUSY = "print('busy', flush=True)\nget_ipython().run_cell_magic('remote_gpu', '-p vast', 'print(6 * 7)')"
# An action that is under way is not waited for when the panel closes; it ends by itself.
LEFT = """import threading
ours = [each for each in threading.enumerate() if each.name.startswith('gpuplug')]
for each in ours: each.join(30)
print([each.name for each in ours if each.is_alive()])"""
# The namespaces of HTML and SVG are names and no addresses.
ELSEWHERE = re.compile(r"(?:https?:)?//(?!www\.w3\.org/)[\w-]+\.[\w.-]+|\bimport\b|@import")


def on_anywidget(live: Kernel) -> str:
    """The component: it comes with the widget and nothing from elsewhere, is kept up to date, and is answered."""
    data, messages = shown(live)
    widget = opened(messages)["AnyModel"]
    assert data[VIEW]["model_id"] == widget["comm"], data
    static = installed() / "static"
    assert widget["_esm"] == (static / "panel.js").read_text(encoding="utf-8")
    found = ELSEWHERE.findall(widget["_esm"] + widget["_css"])
    assert not found, f"the component loads from elsewhere: {found}"
    assert answer(live, widget, 1, "looking", {"client": "w", "parts": ["pods", "prices"], "gpus": []})[0] == 200
    offers = until_offers(live)
    live.begin(RENT_BUSY)
    (pod,) = until_pods(live, "running")
    status, quote = answer(live, widget, 2, "quote", {"offer": offers[-1]["id"]})  # the first is taken
    assert status == 200, quote
    assert answer(live, widget, 3, "actions/destroy", {"id": pod["id"]})[0] == 202
    until_pods(live, "gone")
    return "shown, updated, answered"


def on_ipywidgets(live: Kernel) -> str:
    """Text and buttons: the text is kept up to date, and what is pressed is done."""
    data, messages = shown(live)
    made = models(messages)
    assert data[VIEW]["model_id"] in {each["comm"] for each in made}, data
    assert "AnyModel" not in opened(messages)
    buttons = {each["description"]: each["comm"] for each in made if each["_model_name"] == "ButtonModel"}
    reads(live, r"\d+ offers, read")
    press(live, buttons["rent"], r"^rent\b")
    press(live, buttons["yes"], r"\b1 instance billing")
    press(live, buttons["destroy"], r"\?$")
    press(live, buttons["yes"], r"simulated: 0 instances billing")
    return "shown, updated, clicked"


def as_text(live: Kernel) -> str:
    """Text: it stands for what is so at the end of the last cell."""
    data, messages = shown(live)
    assert list(data) == ["text/plain"], data
    assert not models(messages)
    *_, renewed = live.run(RENT).of("update_display_data")
    assert "1 instance billing" in renewed.text, renewed
    return "shown, updated"


def shown(live: Kernel) -> tuple[dict[str, Any], list[Message]]:
    """Open the panel; return what is displayed and all messages of the cell."""
    cell = live.run("%gpu panel")
    assert not cell.error, cell.error
    (display,) = cell.of("display_data")
    assert display.text.startswith("gpuplug panel, "), display
    data: dict[str, Any] = display.content["data"]
    return data, cell.messages


def installed() -> Path:
    """Return the folder of the package that is installed here."""
    found = importlib.util.find_spec("gpuplug")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def reads(live: Kernel, pattern: str) -> None:
    """Wait until a text area reads what fits."""
    live.hear(lambda data: re.search(pattern, str(data.get("state", {}).get("value", ""))) is not None)


def press(live: Kernel, button: str, pattern: str) -> None:
    """Press a button as a page does, and wait until a text area reads what fits."""
    live.send(button, {"event": "click"})
    reads(live, pattern)


def saved(folder: Path, form: str) -> str:
    """A notebook that is run without a page keeps the last state as text, and the widget with it."""
    sources = ("%load_ext gpuplug", "%gpu panel", RENT, "%gpu down")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    place = {"metadata": {"path": str(folder)}}
    transport = Config({"ConnectionFileMixin": {"transport": "ipc", "ip": f"{folder}/saved"}})
    client = NotebookClient(notebook, timeout=DEADLINE_S, resources=place, store_widget_state=True, config=transport)
    client.execute()
    file = folder / "saved.ipynb"
    nbformat.write(notebook, file)
    kept = nbformat.read(file, as_version=4)
    (output,) = kept.cells[1].outputs
    # Nothing was rented when it was opened, and so there was no such line.
    assert "simulated: 0 instances billing" in output.data["text/plain"], output
    assert (VIEW in output.data) == (form != "text"), output
    if form == "text":
        assert "widgets" not in kept.metadata
    else:
        model = kept.metadata.widgets[SAVED]["state"][output.data[VIEW]["model_id"]]
        assert form != "anywidget" or '"state": "gone"' in model["state"]["state"], model["state"]["state"]
    return "saved"


FORMS: dict[str, Callable[[Kernel], str]] = {"anywidget": on_anywidget, "ipywidgets": on_ipywidgets, "text": as_text}


def main() -> int:
    """See the panel in the form that is named on the command line; 0 only when all was so."""
    _, form = sys.argv
    market = {name: value for name, value in os.environ.items() if name.startswith(MARKET)}
    with tempfile.TemporaryDirectory() as folder:
        with kernel(Path(folder), PYTHONPATH="", **market) as live:
            seen = FORMS[form](live)
            closed = live.run(f"%unload_ext gpuplug\n{LEFT}")
            assert closed.out.endswith("[]\n"), closed.out
            (left,) = closed.of("update_display_data")
            assert list(left.content["data"]) == ["text/plain"], left
        kept = saved(Path(folder), form)
    sys.stdout.write(f"{seen}, closed, {kept}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
