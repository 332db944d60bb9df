"""Execute a notebook headless and print what its cells show, as a reader of the terminal would want it."""

from __future__ import annotations

import itertools
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

_RULE = "-" * 100
_DEADLINE_S = 170
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def main() -> int:
    """Run the notebook named on the command line; 0 only when every cell ran."""
    program, *names = sys.argv
    if not names:
        sys.stderr.write(f"usage: {program} NOTEBOOK.ipynb\n")
        return 2
    with tempfile.TemporaryDirectory() as sockets:
        return _execute(Path(names[0]), sockets)


def _execute(path: Path, sockets: str) -> int:
    notebook = nbformat.read(path, as_version=4)
    # Over TCP, the default, the kernel warns that others on this computer may listen.
    transport = Config({"ConnectionFileMixin": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
    place = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=_DEADLINE_S, resources=place, config=transport)
    client.on_cell_executed = lambda cell, cell_index, execute_reply: _show(cell)  # noqa: ARG005 - nbclient's names
    try:
        client.execute()
    except CellExecutionError as error:
        _show(notebook.cells[_failed(notebook)])
        sys.stderr.write(f"{error.ename}: {error.evalue}\n")
        return 1
    return 0


def _failed(notebook: Any) -> int:  # noqa: ANN401 - nbformat carries no types
    ran = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.execution_count]
    return ran[-1]


def _show(cell: Any) -> None:  # noqa: ANN401 - nbformat carries no types
    source = "\n".join(f"    {line}".rstrip() for line in cell.source.splitlines())
    sys.stdout.write(f"{_RULE}\n{source}\n\n")
    # A stream arrives in pieces; one page area shows those that follow each other.
    for stream, group in itertools.groupby(cell.get("outputs", []), lambda output: output.get("name")):
        outputs = list(group)
        text = redrawn("".join(piece.text for piece in outputs)) if stream else "".join(map(_text, outputs))
        sys.stdout.write(text if sys.stdout.isatty() else _COLOUR.sub("", text))
    sys.stdout.flush()


def _text(output: Any) -> str:  # noqa: ANN401 - nbformat carries no types
    if output.output_type == "error":
        return "\n".join(output.traceback) + "\n"
    if "image/png" in output.data:
        return f"[figure, {len(output.data['image/png']) * 3 // 4} bytes of PNG]\n"
    return f"{output.data.get('text/plain', '')}\n"


def redrawn(text: str) -> str:
    """Return each line as it stands in the end: a carriage return goes back to its start and writes over it."""
    return "\n".join(_final(line) for line in text.split("\n"))


def _final(line: str) -> str:
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown


if __name__ == "__main__":
    sys.exit(main())
