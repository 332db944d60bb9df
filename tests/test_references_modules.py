"""Local modules, and what they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from references_kit import ask, plant, reasons, shipped

from gpuplug.references import Request, find

if TYPE_CHECKING:
    from pathlib import Path

DISK = {
    "net.py": "import numpy as np\nfrom util.io import read\n",
    "util/__init__.py": "",
    "util/io.py": "import json, yaml\nfrom . import paths\nfrom ..util import deep as d",
    "util/paths.py": "from pathlib import Path\nCFG = Path(__file__).parent / 'cfg.json'\nopen(CFG)\nDATA = 'data/raw'",
    "util/deep/__init__.py": "from .inner import *",
    "util/deep/inner.py": "import importlib\nimportlib.import_module('lazy')",
    "util/cfg.json": "{}",
    "util/unused.py": "",
    "lazy.py": "",
    "data/raw/big.bin": "x",
    "space/tool.py": "",
    "loop_a.py": "import loop_b",
    "loop_b.py": "import loop_a",
    "broken.py": "def (",
    "plug/__init__.py": "import pkgutil\nfor m in pkgutil.iter_modules(__path__): __import__(m.name)",
    "plug/one.py": "import lazy",
    "plug/notes.txt": "",
    "main_only.py": "if __name__ == '__main__':\n    import lazy\n    open('data/raw/big.bin')\n",
    "typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lazy\n",
    "src/lib/__init__.py": "",
    "random.py": "",
    "latin.py": "# -*- coding: latin-1 -*-\nimport lazy",
}
UTIL = "util/__init__.py util/io.py util/paths.py util/deep/__init__.py util/deep/inner.py util/cfg.json lazy.py"

SENT = {
    "module": ("import net", f"net.py {UTIL}"),
    "package": ("import util", "util/__init__.py"),
    "submodule": ("import util.paths", "util/__init__.py util/paths.py util/cfg.json"),
    "from package": ("from util import paths, unknown", "util/__init__.py util/paths.py util/cfg.json"),
    "from module": ("from net import anything", f"net.py {UTIL}"),
    "in a function": ("def f():\n    import lazy", "lazy.py"),
    "importlib": ("importlib.import_module('util.unused')", "util/__init__.py util/unused.py"),
    "folder without __init__": ("from space import tool", "space/tool.py"),
    "folder alone is no module": ("import data, space", ""),
    "circle": ("import loop_a", "loop_a.py loop_b.py"),
    "broken module": ("import broken", "broken.py"),
    "modules found at run time": ("import plug", "plug/__init__.py plug/one.py lazy.py"),
    "what only a script runs": ("import main_only", "main_only.py"),
    "what only type checkers run": ("import typed", "typed.py"),
    "added to sys.path": ("import sys\nsys.path.insert(0, 'src')\nimport lib", "src/lib/__init__.py"),
    "before the standard library": ("import random", "random.py"),
    "built in": ("import sys, time", ""),
    "relative in a cell": ("from . import net", ""),
    "other encoding": ("import latin", "latin.py lazy.py"),
}  # fmt: skip


@pytest.mark.parametrize(("cell", "expected"), SENT.values(), ids=SENT.keys())
def test_local_imports_are_followed(tmp_path: Path, cell: str, expected: str) -> None:
    assert shipped(plant(tmp_path, DISK), cell) == sorted(expected.split())


def test_reasons_lead_back_through_the_importing_files(tmp_path: Path) -> None:
    found = reasons(plant(tmp_path, DISK), "\nimport net")
    assert found["net.py"] == "import, line 2"
    assert found["util/io.py"] == "import in net.py, line 2"
    assert found["util/cfg.json"] == "open in util/paths.py, line 3"


def test_modules_from_elsewhere_are_named_without_the_standard_library(tmp_path: Path) -> None:
    found = ask(
        plant(tmp_path, DISK), "import os, torch.nn as nn\nfrom PIL import Image\nimport net, torch\nfrom . import q"
    )
    assert found.modules == ("torch", "PIL", "numpy", "yaml")


def test_folders_of_sys_path_inside_the_working_folder_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, DISK)
    plant(tmp_path, "env/pyvenv.cfg env/lib/python3/site-packages/thirdparty.py env/own.py")
    for entry in ("src", "env/lib/python3/site-packages", "env", "nowhere"):
        monkeypatch.syspath_prepend(str(tmp_path / entry))
    found = ask(tmp_path, "import lib, thirdparty, own")
    assert [file.path for file in found.files] == ["src/lib/__init__.py"]
    assert found.import_folders == ("src",)
    assert set(found.modules) == {"thirdparty", "own"}


def test_a_script_finds_the_modules_beside_itself_first(tmp_path: Path) -> None:
    plant(tmp_path, {"job/run.py": "import helper", "job/helper.py": "", "helper.py": ""})
    assert shipped(tmp_path, "!python job/run.py") == ["job/helper.py", "job/run.py"]


def test_a_module_that_changed_is_read_again(tmp_path: Path) -> None:
    plant(tmp_path, {"net.py": "import one", "one.py": "", "other.py": ""})
    assert shipped(tmp_path, "import net") == ["net.py", "one.py"]
    (tmp_path / "net.py").write_text("import other  # now")
    assert shipped(tmp_path, "import net") == ["net.py", "other.py"]


def test_without_files_local_modules_are_still_told_from_packages(tmp_path: Path) -> None:
    assert find("import net, torch", Request(plant(tmp_path, DISK), no_files=True)).modules == ("torch",)
