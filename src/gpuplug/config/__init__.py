"""What a user may set: the one option table, and where keys and limits are read.

The parts are loaded at first use: `%load_ext` needs none of the option table.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpuplug.config.convert import Terms, duration
    from gpuplug.config.grammar import CELL, COMMANDS, OPTIONS, VERBS, Option, table
    from gpuplug.config.keys import Key, choose_platforms, find_key
    from gpuplug.config.limits import Limit, Standing, keep, standing_budgets, wanted
    from gpuplug.config.options import Options, help_text, parse, verb_of
    from gpuplug.config.places import KEY_PLACES, base_url, enabled, home

_PARTS = {
    "convert": ("Terms", "duration"),
    "keys": ("Key", "choose_platforms", "find_key"),
    "limits": ("Limit", "Standing", "keep", "standing_budgets", "wanted"),
    "options": ("Options", "help_text", "parse", "verb_of"),
    "places": ("KEY_PLACES", "base_url", "enabled", "home"),
    "grammar": ("CELL", "COMMANDS", "OPTIONS", "VERBS", "Option", "table"),
}
_PART_OF = {name: part for part, names in _PARTS.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: the type checker reads the imports above
    if name not in _PART_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PART_OF[name]}"), name)


__all__ = [
    "CELL",
    "COMMANDS",
    "KEY_PLACES",
    "OPTIONS",
    "VERBS",
    "Key",
    "Limit",
    "Option",
    "Options",
    "Standing",
    "Terms",
    "base_url",
    "choose_platforms",
    "duration",
    "enabled",
    "find_key",
    "help_text",
    "home",
    "keep",
    "parse",
    "standing_budgets",
    "table",
    "verb_of",
    "wanted",
]
