"""The start command: what a fresh instance does before anything else, as one line of POSIX shell."""

from __future__ import annotations

import base64
import functools
import gzip
import importlib.resources
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.errors import UsageError

if TYPE_CHECKING:
    from gpuplug.types import StartParams

_PLAIN = re.compile(r"[A-Za-z0-9+/=_.:-]+")
_TEMPLATE = re.compile(r"([^$]*)\$([A-Z][A-Z0-9_]*)([^$]*)")
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_KEY_MARKS = re.compile(r"-----(?:BEGIN|END) OPENSSH PRIVATE KEY-----|\s+")
_END = "GP_END"


@dataclass(frozen=True, slots=True)
class SelfDestroy:
    """How an instance ends itself: DELETE on `url` with the key that the provider put into its environment.

    `url` holds the environment variable with the instance's id once, as `$NAME`; `key_variable` names the one with the
    key. A GET on the same address must answer with something that holds the id.
    """

    url: str
    key_variable: str


def start_command(start: StartParams, destroy: SelfDestroy, *, limit: int = 4048) -> str:
    """Return the command for `start`; `limit` is the longest that the provider takes.

    It holds the injected host key: treat it as a secret.

    Raises:
        UsageError: a value could mean something to a shell, or the command is longer than `limit`.
    """
    words = "".join(f"{name}={_plain(name, value)}\n" for name, value in _values(start, destroy))
    blob = base64.b64encode(gzip.compress((words + _payload()).encode(), 9, mtime=0)).decode()
    command = (
        '(umask 077;d=${GP_HOME:-${HOME:-/root}}/.gpuplug;mkdir -p "$d";'
        f'printf %s {blob}|base64 -d|gunzip>"$d/boot";'
        'sh "$d/boot";rm -f "$d/boot")'
    )
    if len(command) > limit:
        raise UsageError(f"the start command has {len(command)} characters, more than {limit}")
    return command


def _values(start: StartParams, destroy: SelfDestroy) -> list[tuple[str, str]]:
    template = _TEMPLATE.fullmatch(destroy.url)
    if template is None:
        raise UsageError(f"the address {destroy.url!r} does not hold one variable")
    head, variable, tail = template.groups()
    kind, _, blob = start.user_key.strip().partition(" ")
    if kind != "ssh-ed25519":
        raise UsageError(f"the user key is {kind!r}, not ssh-ed25519")
    return [
        ("GP_HOST_KEY", _KEY_MARKS.sub("", start.host_key.reveal())),
        ("GP_USER_KEY", blob.partition(" ")[0]),
        ("GP_NONCE", start.nonce),
        ("GP_LEASE", str(start.lease_s)),
        ("GP_HARD", str(start.hard_s)),
        ("GP_BUDGET", str(start.budget_s)),
        ("GP_URL_HEAD", head),
        ("GP_ID_VAR", variable),
        *([("GP_URL_TAIL", tail)] if tail else []),
        ("GP_KEY_VAR", destroy.key_variable if _NAME.fullmatch(destroy.key_variable) else ""),
    ]


def _plain(name: str, value: str) -> str:
    if not _PLAIN.fullmatch(value):
        shown = "" if name == "GP_HOST_KEY" else f" {value!r}"
        raise UsageError(f"the value{shown} of {name} cannot stand in a start command")
    return value


@functools.cache
def _payload() -> str:
    """Both scripts as one: the switch is written to its file, then the rest runs."""
    target = '"${GP_HOME:-${HOME:-/root}}/.gpuplug/deadman.sh'
    switch = f"cat >{target}.new\" <<'{_END}'\n{_packed('deadman.sh')}{_END}\n"
    return f'{switch}mv -f {target}.new" {target}"\n{_packed("bootstrap.sh")}'


def _packed(name: str) -> str:
    """Return the script without comments, blank lines and indentation; none of its strings spans lines."""
    text = (importlib.resources.files("gpuplug") / "agent" / name).read_text("utf-8")
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("#"))
