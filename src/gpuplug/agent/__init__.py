"""What runs on the instance: the daemon, the kernels, the codecs. Standard library only, Python 3.8 to 3.13.

The client imports this file for the bundle and the loader; the rest travels as the bundle.
"""

import functools
import hashlib
import io
import os
import shlex
import zipfile
from typing import Iterator

AGENT_VERSION = "0.1.0"
PACKAGE = "gpuplug_agent"

_HERE = os.path.dirname(os.path.abspath(__file__))
_MAIN = f"from {PACKAGE}.__main__ import main\nmain()\n"
_MADE = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644 << 16
_NOT_SENT = ("loader.py",)
_FIND_PYTHON = """\
for p in "${VIRTUAL_ENV:-/none}/bin/python" /venv/main/bin/python "${CONDA_PREFIX:-/none}/bin/python" \
/opt/conda/bin/python /opt/miniforge3/bin/python python3 python; do
  "$p" -I -S -c "import sys; sys.exit(sys.version_info < (3, 8))" >/dev/null 2>&1 </dev/null &&
    exec "$p" -I -S -c "$@"
done
echo "GPUPLUG 1 error no Python 3.8 or newer"
exit 127"""


@functools.lru_cache(maxsize=None)
def bundle() -> bytes:
    """Return the agent as a zip file that Python can run. The same sources give the same bytes anywhere."""
    whole = io.BytesIO()
    # Stored, not deflated: libraries of zlib differ in what they write, and the digest names the bundle.
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "__main__.py", _MAIN.encode())
        for name in sorted(_modules("")):
            if name not in _NOT_SENT:
                _add(archive, f"{PACKAGE}/{name}", _source(name))
    return whole.getvalue()


def _modules(folder: str) -> Iterator[str]:
    for name in os.listdir(os.path.join(_HERE, folder)):
        path = folder + name
        if name.endswith(".py"):
            yield path
        elif os.path.isfile(os.path.join(_HERE, path, "__init__.py")):
            yield from _modules(path + "/")


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _MADE)
    info.create_system = 3
    info.external_attr = _FILE_MODE
    archive.writestr(info, content)


def _source(name: str) -> bytes:
    with open(os.path.join(_HERE, name), "rb") as file:
        return file.read()


def digest() -> str:
    """Return the sha256 of the bundle in hexadecimal."""
    return hashlib.sha256(bundle()).hexdigest()


def loader_command(digest: str) -> str:
    """Return the shell command of docs/protocol.md, section 1, for the bundle that `digest` names."""
    return python_command(_source("loader.py").decode(), digest)


def python_command(program: str, argument: str) -> str:
    """Return the shell command that runs `program` with the machine's Python, alone, and `argument` as its only one.

    Where there is no Python it prints `GPUPLUG 1 error <words>`. No backslash may stand before another or before a
    quote: the user's login shell may be one that reads these in a way of its own.
    """
    words = ("sh", "-c", _FIND_PYTHON, "sh", program, argument)
    return "exec " + " ".join(shlex.quote(word) for word in words)
