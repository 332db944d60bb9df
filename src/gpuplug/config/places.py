"""Where keys and folders are: the environment and the user's own folders, never a project file. Cheap to import."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplug.errors import AuthError, LedgerError

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_PLACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "vast": ("VAST_API_KEY", ("~/.config/vastai/vast_api_key", "~/.vast_api_key")),
    "runpod": ("RUNPOD_API_KEY", ("~/.runpod/config.toml",)),
}
_URLS: dict[str, tuple[str, str]] = {
    "vast": ("VAST_URL", "https://console.vast.ai"),
    "runpod": ("RUNPOD_API_BASE_URL", "https://api.runpod.io"),
}
# The vendor's command writes the one on the top level, its Python library the other into the table of a profile.
_TOML_NAMES = frozenset({"apikey", "api_key"})
_TOML_PROFILE = "default"


def read_key(platform: str, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the platform's key as plain text and the place it was read from; "" and "" when there is none."""
    variable, files = KEY_PLACES.get(platform, ("", ()))
    if environ.get(variable, "").strip():
        return environ[variable].strip(), f"the environment variable {variable}"
    for name in files:
        path = Path(name.replace("~", environ.get("HOME", "~"), 1))
        if path.is_file() and (text := _text(path, name)):
            return text, name
    return "", ""


def _text(path: Path, shown: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AuthError(f"the key file {shown} cannot be read: {error}", hint=f"chmod 600 {shown}") from error
    return _toml_key(text, shown) if path.suffix == ".toml" else text


def _toml_key(text: str, shown: str) -> str:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - most users have no such file
    else:
        import tomli as tomllib  # noqa: PLC0415 - likewise

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # The parser's own words may hold a piece of the key.
        raise AuthError(f"the key file {shown} is no TOML", hint="export RUNPOD_API_KEY=...") from None
    profile = found.get(_TOML_PROFILE)
    for table in (profile if isinstance(profile, dict) else {}, found):
        for name, value in table.items():
            if name.casefold() in _TOML_NAMES and isinstance(value, str) and value.strip():
                return value.strip()
    return ""


def base_url(platform: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the API's address; only the environment can change it, never a project file."""
    variable, default = _URLS.get(platform, ("", ""))
    return environ.get(variable, "").strip() or default


def enabled(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the platforms that have a key."""
    return [platform for platform in KEY_PLACES if read_key(platform, environ)[0]]


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the ledger and the per-instance keys; made with mode 0700.

    Raises:
        LedgerError: it cannot be made.
    """
    chosen = environ.get("GPUPLUG_HOME", "").strip()
    data = environ.get("XDG_DATA_HOME", "").strip() or str(Path(environ.get("HOME", "~")).expanduser() / ".local/share")
    path = Path(chosen) if chosen else Path(data) / "gpuplug"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LedgerError(
            f"the folder {path} of the ledger cannot be made: {reason}",
            hint="set GPUPLUG_HOME to a folder that you may write to",
        ) from error
    return path
