"""PIL images as PNG, in the modes that PNG keeps exactly."""

from __future__ import annotations

import io
import struct
from typing import Any, Dict, Tuple

from .failure import ValueCodecError, refusal, require

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_MAX_PIXELS = 200_000_000
_START = struct.Struct(">8sI4sII")
_MAGIC = b"\x89PNG\r\n\x1a\n"


def encode(value: Any) -> Tuple[Dict[str, Any], bytes]:  # noqa: ANN401 - anything of PIL's
    """Return the header and the PNG file of an image."""
    from PIL import Image  # noqa: PLC0415 - loaded already, the value is PIL's

    if not isinstance(value, Image.Image):
        raise refusal(value)
    if value.mode not in _MODES:
        raise ValueCodecError(f'a PIL image of mode {value.mode} cannot be sent; convert it with .convert("RGB")')
    if not 0 < value.width * value.height <= _MAX_PIXELS:
        raise ValueCodecError(f"a PIL image of {value.width} x {value.height} cannot be sent; resize it")
    file = io.BytesIO()
    value.save(file, "PNG", compress_level=1)
    return {"codec": "png", "mode": value.mode}, file.getvalue()


def decode(header: Dict[str, Any], payload: bytes) -> object:
    """Return a loaded image; its dimensions are checked before PIL sees it."""
    require(len(payload) >= _START.size, "a cut PNG file")
    magic, _, chunk, width, height = _START.unpack_from(payload)
    require(magic == _MAGIC and chunk == b"IHDR", "no PNG file")
    require(0 < width * height <= _MAX_PIXELS, "an image of too many pixels")
    try:
        from PIL import Image  # noqa: PLC0415 - only when such a value arrives
    except ImportError:
        raise ValueCodecError("PIL is not installed at this end; pip install pillow") from None
    with Image.open(io.BytesIO(payload), formats=("PNG",)) as opened:
        image = opened.copy()
    require(image.mode == header.get("mode"), "an image of another mode")
    return image
