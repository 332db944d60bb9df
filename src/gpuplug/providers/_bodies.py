"""Reading a reply's body without trusting its length or its packing."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from gpuplug.errors import ReplyError

if TYPE_CHECKING:
    import httpx


def whole_body(response: httpx.Response, limit: int) -> bytes:
    """Read at most `limit` bytes, unpacked; a bomb is noticed before it has been unpacked whole."""
    packed = response.headers.get("content-encoding", "identity").strip().lower()
    if packed not in {"identity", "gzip", ""}:
        raise ReplyError(f"{response.url.host} answered in an encoding that was not asked for")
    unpack = zlib.decompressobj(wbits=31) if packed == "gzip" else None
    body = bytearray()
    for chunk in response.iter_raw(65536):
        try:
            body += unpack.decompress(chunk, limit + 1 - len(body)) if unpack else chunk
        except zlib.error as error:
            raise ReplyError(f"{response.url.host} sent broken gzip") from error
        if len(body) > limit:
            raise ReplyError(f"{response.url.host} sent more than {limit >> 20} MiB")
    return bytes(body)
