"""What must not stand anywhere in the sources, and what the codec must not need."""

from __future__ import annotations

import ast
import io
import pathlib
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

import gpuplug
from gpuplug import agent

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = pathlib.Path(gpuplug.__file__).parent
_SOURCES = sorted(_ROOT.rglob("*.py"))
_LOADERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
_METHODS = {"read_pickle", "to_pickle", "set_auto_load", "extractall", "_extract_member"}


def _offences(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__":
            names = [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
        elif isinstance(node, ast.Attribute):
            yield from [node.attr] if node.attr in _METHODS or _is_tar_extract(node) else []
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield from [] if isinstance(node.value, ast.Constant) and node.value.value is False else ["allow_pickle"]
        yield from (name for name in names if _LOADERS & set(name.split(".")))


def _is_tar_extract(node: ast.Attribute) -> bool:
    return node.attr == "extract" and "tar" in ast.unparse(node.value).lower()


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_no_source_can_load_a_pickle_or_unpack_an_archive(path: pathlib.Path) -> None:
    assert list(_offences(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, dill as d",
        "from cloudpickle import loads",
        "from joblib.numpy_pickle import x",
        "from torch.utils import shelve",
        "__import__('marshal')",
        "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=flag)",
        "pd.read_pickle(f)",
        "tarfile.open(f).extractall()",
        "tar.extract(member)",
    ],
)
def test_the_check_finds_what_it_forbids(source: str) -> None:
    assert list(_offences(source))


_CODEC = sorted((_ROOT / "agent" / "values").glob("*.py"))


@pytest.mark.parametrize("path", _CODEC, ids=lambda path: path.name)
def test_the_codec_is_python_3_8(path: pathlib.Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


def test_the_bundle_carries_the_whole_codec_and_it_works_with_the_standard_library_alone(
    tmp_path: pathlib.Path,
) -> None:
    with zipfile.ZipFile(io.BytesIO(agent.bundle())) as bundle:
        names = set(bundle.namelist())
    assert {f"{agent.PACKAGE}/values/{path.name}" for path in _CODEC} <= names
    file = tmp_path / "agent.pyz"
    file.write_bytes(agent.bundle())
    code = (
        f"import sys; sys.path.insert(0, {str(file)!r}); from {agent.PACKAGE} import values;"
        "x = {'a': [1, (2.5, 'x' * 300)], 2: b'q'}; print(values.decode(*values.encode(x)) == x)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
