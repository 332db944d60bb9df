"""Rich output from a rented host: each MIME type is shown, reduced or dropped by one table."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gpuplug.agent.values import size_text
from gpuplug.outputs import images, markup
from gpuplug.outputs.text import TextFilter, clean_text

_PLAIN: Final = "text/plain"
_HTML: Final = "text/html"
_SVG: Final = "image/svg+xml"
_MOST_PARTS: Final = 32
_MOST_BYTES: Final = 64 << 20
_LONGEST_TEXT: Final = 10 << 20
_LARGEST_IMAGE: Final = 10 << 20
_MOST_PIXELS: Final = 20_000_000
_LONGEST_JSON: Final = 10 << 20
_LONGEST_NUMBER: Final = 40
_LARGEST_EXTENT: Final = 10_000
_MIME: Final = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,63}/[a-z0-9][a-z0-9.+_;= -]{0,63}")
_MAYBE_SVG: Final = re.compile(rb"<(?:[A-Za-z][A-Za-z0-9]{0,30}:)?svg[\s/>]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SafeBundle:
    """Rich output that may be shown: `data` and `metadata` as IPython displays them, and a line about each loss.

    `data` always has `text/plain`; raster images are base64 text, JSON is an object.
    """

    data: dict[str, object]
    metadata: dict[str, Any]
    notes: tuple[str, ...]


class _Shown(NamedTuple):
    """The MIME type under which a part is shown, its data, and a note about what is missing."""

    mime: str
    data: object
    note: str = ""


def clean_bundle(parts: Mapping[str, bytes], metadata: Mapping[str, Any]) -> SafeBundle:
    """Return what may be shown of the forms of one rich output.

    Args:
        parts: MIME type -> bytes as the host sent them; images are raw, not base64.
        metadata: as the host sent it; only the width and height of images are kept.
    """
    data: dict[str, object] = {}
    notes: list[str] = []
    room = _MOST_BYTES
    for mime, content in list(parts.items())[:_MOST_PARTS]:
        room -= len(content)
        shown = _cleaned(mime, content) if room >= 0 else _dropped(mime, "the output is over 64 MiB")
        # An SVG becomes HTML only where no HTML is: that one says more.
        if shown.data is not None and (mime != _SVG or _HTML not in parts):
            data[shown.mime] = shown.data
        if shown.note:
            notes.append(shown.note)
    if len(parts) > _MOST_PARTS:
        notes.append(f"{len(parts) - _MOST_PARTS} more forms of this output are not shown")
    data.setdefault(_PLAIN, _placeholder(data))
    return SafeBundle(data, _sizes(metadata, data), tuple(notes))


def _placeholder(data: Mapping[str, object]) -> str:
    return f"<{next(iter(data))}>" if data else "<output that is not shown>"


def _cleaned(mime: str, content: bytes) -> _Shown:
    cleaner = _CLEANERS.get(mime)
    return cleaner(mime, content) if cleaner else _dropped(mime, "this kind of output is not safe to show")


def _dropped(mime: str, why: str) -> _Shown:
    name = mime if _MIME.fullmatch(mime) else "a form of unknown type"
    return _Shown(mime, None, f"{name} is not shown: {why}")


def _text_of(content: bytes) -> str:
    text_filter = TextFilter()
    return text_filter.feed(content) + text_filter.flush()


def _plain(mime: str, content: bytes) -> _Shown:
    cut = len(content) > _LONGEST_TEXT
    note = f"{mime} of {size_text(len(content))} is cut at {size_text(_LONGEST_TEXT)}" if cut else ""
    return _Shown(mime, _text_of(content[:_LONGEST_TEXT]), note)


def _html(mime: str, content: bytes) -> _Shown:
    cleaned = markup.clean_html(content.decode("utf-8", "replace"))
    return _Shown(mime, cleaned.text, cleaned.note)


def _markdown(mime: str, content: bytes) -> _Shown:
    shown = _plain(mime, content)
    return shown._replace(data=markup.clean_markdown(str(shown.data)))


def _latex(mime: str, content: bytes) -> _Shown:
    shown = _plain(mime, content)
    return shown._replace(data=markup.clean_tex(str(shown.data)))


def _image(mime: str, content: bytes) -> _Shown:
    size = images.dimensions(mime, content)
    if size is None:
        return _dropped(mime, "it is no such image")
    width, height = size
    if not 0 < width * height <= _MOST_PIXELS:
        return _dropped(mime, f"{width} x {height} pixels are over the limit of 20 million")
    if len(content) > _LARGEST_IMAGE:
        return _dropped(mime, f"{size_text(len(content))} are over the limit of {size_text(_LARGEST_IMAGE)}")
    return _Shown(mime, base64.b64encode(content).decode())


def _svg(mime: str, content: bytes) -> _Shown:
    if len(content) > _LARGEST_IMAGE or not _MAYBE_SVG.search(content):
        return _dropped(mime, "it is no SVG image, or too large")
    # Inside an image element a browser runs no script and loads nothing.
    source = base64.b64encode(content).decode()
    return _Shown(_HTML, f'<img src="data:image/svg+xml;base64,{source}">')


def _json(mime: str, content: bytes) -> _Shown:
    if len(content) > _LONGEST_JSON:
        return _dropped(mime, f"{size_text(len(content))} are over the limit of {size_text(_LONGEST_JSON)}")
    try:
        found = json.loads(content, parse_int=_number, parse_float=_finite, parse_constant=_finite)
        return _Shown(mime, _clean_json(found))
    except (ValueError, RecursionError):
        return _dropped(mime, "it is no JSON, or nested too deep")


def _number(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(text[:_LONGEST_NUMBER])
    return int(text)


def _finite(text: str) -> float:
    """Refuse NaN and infinity, which no notebook can be saved with."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _clean_json(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(str(key)): _clean_json(item) for key, item in value.items()}
    return value


_CLEANERS: Final[dict[str, Callable[[str, bytes], _Shown]]] = {
    _PLAIN: _plain,
    _HTML: _html,
    "text/markdown": _markdown,
    "text/latex": _latex,
    _SVG: _svg,
    "application/json": _json,
    **dict.fromkeys(("image/png", "image/jpeg", "image/gif", "image/webp"), _image),
}


def _sizes(metadata: object, data: Mapping[str, object]) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        return {}
    kept: dict[str, Any] = {}
    for mime in data:
        about = metadata.get(mime)
        if mime.startswith("image/") and isinstance(about, Mapping):
            size = {name: about[name] for name in ("width", "height") if _is_extent(about.get(name))}
            kept.update({mime: size} if size else {})
    return kept


def _is_extent(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(value) and 0 < value <= _LARGEST_EXTENT  # type: ignore[operator,arg-type] # one of the two
