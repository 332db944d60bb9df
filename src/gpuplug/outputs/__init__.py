"""What a rented host sends, made safe to show. Nothing that a host sends is trusted.

Streams, names and error texts go through `TextFilter` or `clean_text`, tracebacks through `clean_traceback`, rich
outputs through `clean_bundle`. None of them raises, whatever comes.
"""

from __future__ import annotations

from gpuplug.agent.values import size_text
from gpuplug.outputs.bundle import SafeBundle, clean_bundle
from gpuplug.outputs.columns import table
from gpuplug.outputs.text import TextFilter, clean_text, clean_traceback

__all__ = ["SafeBundle", "TextFilter", "clean_bundle", "clean_text", "clean_traceback", "size_text", "table"]
