"""Hold README, drawing and code together: generated texts are compared (or written with --write), rooms are counted."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from pathlib import Path

from gpuplug import config
from gpuplug.providers import KNOWN, Access, load
from gpuplug.testing import ProviderSuite
from gpuplug.types import Secret, SystemClock, Traits

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PROMISES = ROOT / "docs" / "promises.md"
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
    rows = [f"| `%gpu {verb}` | {text} |" for verb, text in config.VERBS.items()]
    rows += [f"| `gpuplug {verb}` | {text} |" for verb, text in config.COMMANDS.items()]
    return "\n".join(["| verb | does |", "|---|---|", *rows])


def providers_table() -> str:
    """Return the Markdown table of the platforms, read from each adapter's traits."""
    columns = ("platform", "what", "key", "stops without losing its disk", "ends itself when nobody is in touch")
    rows = [f"| {' | '.join(columns)} | [promises](docs/promises.md) kept |", "|---|---|---|---|---|---|"]
    deviations = []
    for name, known in KNOWN.items():
        traits = _traits(name)
        key = ", ".join(f"`{place}`" for place in traits.key_names) or "none"
        stops = "with a volume" if traits.stop and traits.volumes else _yes(traits.stop)
        suite = _suites()[name]
        kept = f"{len(suite.promises()) - len(suite.deviations)} of {len(suite.promises())}"
        rows.append(f"| `{name}` | {known.summary} | {key} | {stops} | {_yes(traits.self_destroy)} | {kept} |")
        deviations += [f"| `{name}` | {promise} | {reason} |" for promise, reason in suite.deviations.items()]
    if deviations:
        rows += ["", "| platform | promise that is not kept | reason |", "|---|---|---|", *deviations]
    return "\n".join(rows)


def promises_page() -> str:
    """Return the page that tells for each platform which promises its traits make, and which of them it keeps."""
    suites = {name: _suites()[name] for name in KNOWN}
    every = [one for one in ProviderSuite.promises() if any(one in suite.promises() for suite in suites.values())]
    rows = [f"| promise | {' | '.join(suites)} |", f"|---|{'---|' * len(suites)}"]
    rows += [f"| {one} | {' | '.join(_mark(suite, one) for suite in suites.values())} |" for one in every]
    return "\n".join([*_PROMISES_HEAD, *rows, ""])


_PROMISES_HEAD = (
    "# What every platform promises",
    "",
    "Made by docs/check.py from `gpuplug.testing.ProviderSuite` and `tests/test_providers.py`; each promise is a test. Which of them",
    "a platform owes follows from what its adapter claims to be able to do (`Traits`): yes is kept and tested, no is a deviation",
    "that the README gives a reason for, nothing is not owed.",
    "",
)


def _mark(suite: type[ProviderSuite], promise: str) -> str:
    if promise not in suite.promises():
        return ""
    return _yes(promise not in suite.deviations)


@functools.cache
def _suites() -> dict[str, type[ProviderSuite]]:
    """Return the suite of each platform, as the tests declare it; no test is run."""
    sys.path.insert(0, str(ROOT / "tests"))
    declared = importlib.import_module("test_providers")
    classes = (
        value for value in vars(declared).values() if isinstance(value, type) and issubclass(value, ProviderSuite)
    )
    by_target = {
        f"{value.adapter.__module__}:{value.adapter.__qualname__}": value
        for value in classes
        if "adapter" in value.__dict__
    }
    return {name: by_target[known.target] for name, known in KNOWN.items()}


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
    for path, make in ((README, rewritten), (PROMISES, lambda _: promises_page())):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted = make(text)
        if "--write" in sys.argv:
            path.write_text(wanted, encoding="utf-8")
        elif text != wanted:
            faults.append(f"{path.name} is not what the code says; run make format")
    drawn, enforced = layers_of_drawing(), layers_of_contract()
    if [sorted(layer) for layer in drawn] != [sorted(layer) for layer in enforced]:
        faults.append(f"docs/architecture.md draws {drawn}, the linter enforces {enforced}")
    if unknown := rooms_of_code() ^ {room for layer in drawn for room in layer}:
        faults.append(f"rooms in only one of code and drawing: {sorted(unknown)}")
    sys.stderr.writelines(f"docs/check.py: {fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
