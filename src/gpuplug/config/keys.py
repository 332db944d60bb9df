"""Keys as secrets, and the platforms they open."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.config.places import KEY_PLACES, enabled, read_key
from gpuplug.errors import AuthError, UnknownNameError, UsageError
from gpuplug.types import Secret, SshTarget

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SSH = "ssh:"


@dataclass(frozen=True, slots=True)
class Key:
    """A provider's key and the place it was read from."""

    secret: Secret
    source: str


def find_key(platform: str, environ: Mapping[str, str] = os.environ) -> Key | None:
    """Look for the platform's key: environment first, then the vendor's own file. Reads no project file."""
    text, source = read_key(platform, environ)
    return Key(Secret(text), source) if text else None


def choose_platforms(
    wanted: tuple[str, ...], environ: Mapping[str, str] = os.environ, keyless: Collection[str] = ()
) -> tuple[str, ...]:
    """Turn `-p` into platform names; `any` is every enabled one, or `local` when there is none.

    `keyless` platforms need no key for what is wanted.

    Raises:
        UnknownNameError: no such platform; names the nearest.
        UsageError: what follows `ssh:` is no machine.
        AuthError: a platform was named and has no key; says where one is looked for.
    """
    if not wanted or wanted == ("any",):
        ready = enabled(environ)
        return tuple(name for name in KEY_PLACES if name in ready or name in keyless) or ("local",)
    for name in wanted:
        if name.startswith(SSH):
            _check_machine(name)
            continue
        if name not in {"local", *KEY_PLACES}:
            raise UnknownNameError(f"no platform {name!r}", hint=_nearest(name))
        if name != "local" and name not in keyless and find_key(name, environ) is None:
            variable, files = KEY_PLACES[name]
            raise AuthError(
                f"no key for {name}: looked at {variable}, {', '.join(files)}",
                hint=f"export {variable}=...",
            )
    return wanted


def _check_machine(name: str) -> None:
    try:
        SshTarget.parse(name.removeprefix(SSH))
    except ValueError as error:
        raise UsageError(
            f"{SSH}{error}", hint="-p ssh:user@host[:port], or -p ssh:NAME of your ssh configuration"
        ) from None


def _nearest(name: str) -> str:
    scheme, colon, rest = name.partition(":")
    if "@" in scheme:
        return f"did you mean {SSH}{name}?"
    near = difflib.get_close_matches(scheme + colon, ["local", "any", SSH, *KEY_PLACES], 1, 0.5)
    if near:
        return f"did you mean {near[0] + rest if near[0] == SSH else near[0]}?"
    return f"one of: any, local, {', '.join(KEY_PLACES)}, {SSH}user@host"
