"""The kind and size of a raster image, read from its first bytes; the pixels are the browser's business."""

from __future__ import annotations

import struct

_PNG = struct.Struct(">8s4x4sII")
_GIF = struct.Struct("<6sHH")
_WEBP = struct.Struct("<4s4x4s4s4x")
# Start-of-frame markers of JPEG: C0 to CF without the tables C4, C8 and CC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def dimensions(mime: str, data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels; None when `data` is no image of the type `mime`."""
    reader = _READERS.get(mime)
    try:
        return reader(data) if reader else None
    except (struct.error, IndexError):
        return None


def _png(data: bytes) -> tuple[int, int] | None:
    magic, chunk, width, height = _PNG.unpack_from(data)
    return (width, height) if magic == b"\x89PNG\r\n\x1a\n" and chunk == b"IHDR" else None


def _gif(data: bytes) -> tuple[int, int] | None:
    magic, width, height = _GIF.unpack_from(data)
    return (width, height) if magic in {b"GIF87a", b"GIF89a"} else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    if data[:3] != b"\xff\xd8\xff":
        return None
    position = 2
    while data[position] == 0xFF:  # noqa: PLR2004 - every marker of JPEG begins so
        marker = data[position + 1]
        if marker == 0xFF:  # noqa: PLR2004 - fill byte
            position += 1
            continue
        if marker in _STANDALONE:
            position += 2
            continue
        length = struct.unpack_from(">H", data, position + 2)[0]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        position += 2 + length
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    riff, form, chunk = _WEBP.unpack_from(data)
    if (riff, form) != (b"RIFF", b"WEBP"):
        return None
    body = data[_WEBP.size :]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L" and body[:1] == b"\x2f":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


_READERS = {"image/png": _png, "image/gif": _gif, "image/jpeg": _jpeg, "image/webp": _webp}
