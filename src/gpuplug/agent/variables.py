"""Variables of the notebook in and out of a kernel."""

import importlib
import os
import shutil
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import wire

Event = Callable[[wire.Header], None]


def find_modules(work: str, header: wire.Header) -> None:
    """Let imports find the local modules that lie in other folders than the working folder."""
    for name in header.get("folders") or []:
        path = os.path.join(work, name)
        if path not in sys.path:
            sys.path.insert(1, path)


def load(folder: str, cell: str, header: wire.Header, variables: Dict[str, Any]) -> None:
    """Set what the cell is to find: uploaded values and imports.

    Raises:
        LookupError: a value was not uploaded.
        ValueError: a value cannot be read.
        ImportError: there is no such module, or nothing of that name in it.
    """
    place = os.path.join(folder, "values", "cells", cell)
    for name in header.get("inputs") or []:
        variables[name] = _value(place, name)
    shutil.rmtree(place, ignore_errors=True)
    for name, target in header.get("modules") or []:
        variables[name] = _imported(target)


def _value(place: str, name: str) -> Any:  # noqa: ANN401 - any variable
    from . import values  # noqa: PLC0415 - most cells send none

    try:
        with open(os.path.join(place, name), "rb") as file:
            return values.decode(*wire.unpack_value(file.read()))
    except FileNotFoundError:
        raise LookupError(f"the value of {name!r} was not sent") from None


def _imported(target: str) -> Any:  # noqa: ANN401 - a module, or what is in it
    module, _, name = target.partition(":")
    found = importlib.import_module(module)
    if not name:
        return found
    try:
        return getattr(found, name)
    except AttributeError:
        raise ImportError(f"cannot import name {name!r} from {module!r}") from None


def save(folder: str, cell: str, names: List[str], variables: Dict[str, Any], tell: Event) -> None:
    """Write the variables that the client wants, each as one file, and tell of each how large it is or what is wrong."""
    for name in names:
        size, error = _saved(os.path.join(folder, "values", "out", cell), name, variables)
        tell({"kind": "output", "name": name, **({"size": size} if error is None else {"error": error})})


def _saved(place: str, name: str, variables: Dict[str, Any]) -> Tuple[int, Optional[str]]:
    from . import values  # noqa: PLC0415 - most cells return none

    if name not in variables:
        return 0, f"name {name!r} is not defined"
    try:
        blob = wire.pack_value(*values.encode(variables[name]))
        os.makedirs(place, mode=0o700, exist_ok=True)
        path = os.path.join(place, name)
        with open(path + ".part", "wb") as file:
            file.write(blob)
        os.replace(path + ".part", path)
    except values.ValueCodecError as error:
        return 0, str(error)
    except OSError as error:
        return 0, f"{error.strerror}: {error.filename}"
    return len(blob), None
