"""From an object to the forms that a notebook shows, and from those to an event."""

import base64
import binascii
import json
import sys
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from .channel import Channel

_METHODS = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("application/pdf", "_repr_pdf_"),
    ("text/latex", "_repr_latex_"),
    ("application/json", "_repr_json_"),
    ("application/javascript", "_repr_javascript_"),
)

_LINES = 500

Forms = Dict[str, Any]


class Display:
    """Sends displays and results, each after what was printed before it.

    Args:
        channel: where to.
        flush: hands everything that was printed to the pipes.

    Attributes:
        errors: how many errors were sent.
    """

    def __init__(self, channel: Channel, flush: Callable[[], None]) -> None:
        self._channel = channel
        self._flush = flush
        self.errors = 0

    def show(
        self,
        kind: str,
        forms: Mapping[str, Any],
        metadata: Optional[Mapping[str, Any]] = None,
        *,
        display_id: Optional[str] = None,
        update: bool = False,
        count: Optional[int] = None,
    ) -> None:
        """Send one `display` or `result`.

        Raises:
            WireError: it is over 64 MiB.
        """
        if self._channel.forked:
            print(forms.get("text/plain", ""))  # noqa: T201 - a copy of the kernel can only print
            return
        pieces = [(mime, _bytes(mime, value)) for mime, value in forms.items() if value is not None]
        header = {
            "kind": kind,
            "mimes": [[mime, len(data)] for mime, data in pieces],
            "metadata": _jsonable(metadata or {}),
            "display_id": display_id,
            "update": update,
        }
        if count is not None:
            header["count"] = count
        self._deliver(header, b"".join(data for _, data in pieces))

    def clear(self, *, wait: bool) -> None:
        """Send `clear`."""
        self._deliver({"kind": "clear", "wait": wait})

    def error(self, name: str, value: str, lines: List[str]) -> None:
        """Send `error` with the lines of the traceback."""
        self.errors += 1
        header = {"kind": "error", "ename": name[:1000], "evalue": _short(value)}
        self._deliver(header, json.dumps([_short(line) for line in lines[-_LINES:]]).encode())

    def _deliver(self, header: Dict[str, Any], payload: bytes = b"") -> None:
        self._flush()
        self._channel.deliver(header, payload)


def _short(text: str) -> str:
    """Cut what could not be sent, and what no page can show."""
    limit = 100_000
    clean = text.encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= limit else clean[:limit] + " ..."


def _jsonable(value: Any) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(json.dumps(value, default=str))


def _bytes(mime: str, value: Any) -> bytes:  # noqa: ANN401 - what user classes return
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, str):
        return json.dumps(value, default=str).encode()
    if (mime.startswith("image/") and mime != "image/svg+xml") or mime == "application/pdf":
        try:
            return base64.b64decode(value, validate=False)
        except (binascii.Error, ValueError):
            pass
    return value.encode("utf-8", "backslashreplace")


def forms_of(value: object) -> Tuple[Forms, Dict[str, Any]]:
    """Return the forms of `value` and their metadata, without IPython."""
    forms: Forms = {}
    metadata: Dict[str, Any] = {}
    if not isinstance(value, type):
        _add(forms, metadata, _called(value, "_repr_mimebundle_"))
        for mime, method in _METHODS:
            if mime not in forms:
                found = _called(value, method)
                form, more = found if isinstance(found, tuple) else (found, None)
                if form is not None:
                    forms[mime] = form
                    metadata.update({mime: more} if more else {})
    forms.setdefault("text/plain", repr(value))
    return forms, metadata


def _add(forms: Forms, metadata: Dict[str, Any], found: Any) -> None:  # noqa: ANN401 - what user classes return
    if isinstance(found, tuple):
        metadata.update(found[1] or {})
        found = found[0]
    forms.update(found or {})


def _called(value: object, method: str) -> Any:  # noqa: ANN401 - what user classes return
    # An object that invents every attribute (a mock, a proxy) has no such form.
    if not callable(getattr(type(value), method, None)):
        return None
    try:
        return getattr(value, method)()
    except Exception as error:  # noqa: BLE001 - one broken form must not hide the others
        print(f"{type(value).__name__}.{method} failed: {error!r}", file=sys.stderr)  # noqa: T201 - the cell's stderr
        return None
