"""Lets matplotlib draw into cells, without loading it before a cell does."""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any, Callable, Dict, Optional, Sequence

_BACKEND = __name__.rpartition(".")[0] + ".inline"
_VARIABLE = "MPLBACKEND"

publish: Callable[[Dict[str, Any]], None]


class _Loader(importlib.abc.Loader):
    def __init__(self, real: importlib.abc.Loader) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Optional[ModuleType]:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # For this moment only: a program that the cell starts has no such backend.
        os.environ[_VARIABLE] = "module://" + _BACKEND
        try:
            self._real.exec_module(module)
        finally:
            del os.environ[_VARIABLE]


class _Finder(importlib.abc.MetaPathFinder):
    """Notices that matplotlib is imported."""

    def __init__(self) -> None:
        self._looking = False

    def find_spec(
        self, fullname: str, _path: Optional[Sequence[str]], _target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if fullname != "matplotlib" or self._looking or _VARIABLE in os.environ:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def install(show: Callable[[Dict[str, Any]], None]) -> None:
    """Have figures drawn into cells from the first import of matplotlib on; `show` takes the forms of each.

    A backend that the image or the cell has chosen stays.
    """
    globals()["publish"] = show
    sys.meta_path.insert(0, _Finder())


def flush() -> None:
    """Display the figures that the cell has left open."""
    backend = sys.modules.get(_BACKEND)
    if backend is not None:
        backend.show()
