"""Hold README, drawing and code together: generated tables are compared (or written with --write), rooms are counted."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from gpuplug import config
from gpuplug.providers import KNOWN, Access, load
from gpuplug.types import Secret, SystemClock, Traits

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DRAWING = ROOT / "docs" / "architecture.md"
PYPROJECT = ROOT / "pyproject.toml"


def options_table(verb: str) -> str:
    """Return the Markdown table of the options of `verb`."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for option in config.table(verb):
        flags = ", ".join(f"`{flag}`" for flag in option.flags) + (f" {option.metavar}" if option.metavar else "")
        rows.append(f"| {flags} | {option.default or 'none'} | {option.help} |".replace("[,", "\\[,"))
    return "\n".join(rows)


def verbs_table() -> str:
    """Return the Markdown table of the verbs of `%gpu`."""
    return "\n".join(
        ["| verb | does |", "|---|---|", *(f"| `%gpu {verb}` | {text} |" for verb, text in config.VERBS.items())]
    )


def providers_table() -> str:
    """Return the Markdown table of the platforms, read from each adapter's traits."""
    rows = [
        "| platform | what | key | stops without losing its disk | ends itself when nobody is in touch |",
        "|---|---|---|---|---|",
    ]
    for name, known in KNOWN.items():
        traits = _traits(name)
        key = ", ".join(f"`{place}`" for place in traits.key_names) or "none"
        stops = "with a volume" if traits.stop and traits.volumes else _yes(traits.stop)
        rows.append(f"| `{name}` | {known.summary} | {key} | {stops} | {_yes(traits.self_destroy)} |")
    return "\n".join(rows)


def _traits(name: str) -> Traits:
    access = Access(Secret("none"), "", config.base_url(name, {}), "", SystemClock())
    return load(name, access).traits


def _yes(power: bool) -> str:  # noqa: FBT001 - a word for a truth value
    return "yes" if power else "no"


SECTIONS = {
    "options": lambda: options_table(config.CELL),
    "verbs": verbs_table,
    "providers": providers_table,
}


def rewritten(text: str) -> str:
    """Return the README with every generated section as the code says it."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- {name}: made by docs/check.py -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            sys.exit(f"README.md has no section {name!r}")
        replacement = f"{begin}\n{make()}\n{end}"
        text = pattern.sub(lambda _, new=replacement: new, text)  # type: ignore[misc]
    return text


def rooms_of_code() -> set[str]:
    """Return the rooms below src/gpuplug: folders and modules."""
    package = ROOT / "src" / "gpuplug"
    folders = {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}
    return folders | {path.stem for path in package.glob("*.py") if path.stem != "__init__"}


def layers_of_contract() -> list[list[str]]:
    """Return the layers that the linter enforces, from the top."""
    block = re.search(r'type = "layers"\nlayers = \[(.*?)\]', PYPROJECT.read_text(encoding="utf-8"), re.DOTALL)
    if block is None:
        sys.exit("pyproject.toml has no layers contract")
    lines = re.findall(r'"([^"]+)"', block[1])
    return [[room.strip().removeprefix("gpuplug.") for room in line.split("|")] for line in lines]


def layers_of_drawing() -> list[list[str]]:
    """Return the layers as docs/architecture.md draws them: the block marked `layers`."""
    block = re.search(r"```layers\n(.*?)```", DRAWING.read_text(encoding="utf-8"), re.DOTALL)
    if block is None:
        sys.exit("docs/architecture.md has no block marked layers")
    return [line.split() for line in block[1].replace("|", " ").splitlines() if line.strip()]


def main() -> int:
    """Compare everything; with --write, write the README's sections first."""
    faults = []
    text = README.read_text(encoding="utf-8")
    wanted = rewritten(text)
    if "--write" in sys.argv:
        README.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        faults.append("README.md is not what the code says; run make format")
    drawn, enforced = layers_of_drawing(), layers_of_contract()
    if [sorted(layer) for layer in drawn] != [sorted(layer) for layer in enforced]:
        faults.append(f"docs/architecture.md draws {drawn}, the linter enforces {enforced}")
    if unknown := rooms_of_code() ^ {room for layer in drawn for room in layer}:
        faults.append(f"rooms in only one of code and drawing: {sorted(unknown)}")
    sys.stderr.writelines(f"docs/check.py: {fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
