"""What one short command prints, with a deadline."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpuplug.streams import Connection


def output_of(connection: Connection, command: str, *, seconds: float, limit: int) -> bytes:
    """Run `command` and return its stdout; what comes after `limit` bytes may be missing. Blocks for at most `seconds`.

    Raises:
        LinkError: the connection is lost, or the time is over; the command may run on.
    """
    stream = connection.run(command)
    watchdog = threading.Timer(seconds, stream.close)
    watchdog.daemon = True
    watchdog.start()
    try:
        output = b""
        while len(output) < limit:
            piece = stream.read(limit)
            if not piece:
                break
            output += piece
        return output
    finally:
        watchdog.cancel()
        watchdog.join()
        stream.close()
