"""An engine in a notebook folder of its own, and one call that runs a cell as the magic does."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine_kit import Quiet

from gpuplug import config
from gpuplug.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gpuplug.engine.running import Ran


@dataclass
class Notebook:
    """One notebook: its folder, its variables, its engine; `talk` is what the last cell showed."""

    root: Path
    engine: Engine
    names: dict[str, object] = field(default_factory=dict)
    talk: Quiet = field(default_factory=Quiet)

    def run(self, source: str, line: str = "", talk: Quiet | None = None) -> Ran:
        """Run one cell; variables come into `names`, and what the cell raised is raised."""
        self.talk = talk or Quiet()
        plan = self.engine.plan(source, config.parse(line, config.CELL), self.names)
        ran = self.engine.run_cell(plan, self.talk)
        self.names.update(ran.values)
        if ran.failure is not None:
            raise ran.failure
        return ran

    def down(self) -> list[str]:
        """Destroy everything of this notebook; return what was said."""
        said: list[str] = []
        self.engine.down(config.parse("", "down"), said.append)
        return said

    @property
    def shown(self) -> str:
        """The text of the last cell's value."""
        return str(self.talk.results[-1].data["text/plain"])


@contextlib.contextmanager
def notebook(folder: Path, ready_s: float = 60.0, environ: Mapping[str, str] | None = None) -> Iterator[Notebook]:
    """Give a notebook whose home, keys and ledger lie in `folder`; all it rented is destroyed at the end."""
    root = folder / "project"
    root.mkdir(parents=True, exist_ok=True)
    wanted = {"GPUPLUG_HOME": str(folder / "home"), "HOME": str(folder), **(environ or {})}
    names = {*wanted, "VAST_API_KEY", "RUNPOD_API_KEY", "GPUPLUG_BUDGET", "GPUPLUG_PLATFORM", "GPUPLUG_GPU"}
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ.update(wanted)
    made = Notebook(root, Engine(f"nb-{folder.name}", root, ready_s=ready_s))
    try:
        yield made
    finally:
        try:
            made.down()
            made.engine.close()
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
