"""`attach`: starts the daemon when none runs, then relays between standard input and output and its socket."""

import contextlib
import os
import socket
import sys
import threading
import time

from .daemon import Place, become, listen, lock

_PATIENCE_S = 10.0
_PAUSE_S = 0.01
_BLOCK = 1 << 16


def attach(state: str, bundle: str) -> None:
    """Relay until either side ends. Blocks."""
    os.makedirs(state, mode=0o700, exist_ok=True)
    os.chdir(state)
    connection = _connection(Place(state, bundle))
    threading.Thread(target=_send_up, args=(connection,), daemon=True).start()
    with contextlib.suppress(OSError):
        while True:
            data = connection.recv(_BLOCK)
            if not data:
                break
            _write(data)
    # The thread may be in the midst of reading: nothing is to be waited for.
    os._exit(0)


def _connection(place: Place) -> socket.socket:
    end = time.monotonic() + _PATIENCE_S
    while True:
        held = lock(place)
        if held is not None:
            listening = listen(place)
            become(place, listening)
            listening.close()
            os.close(held)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(place.socket)
        except OSError:
            # Whoever holds the lock has not come to listen yet, or is on its way out.
            connection.close()
            if time.monotonic() > end:
                sys.exit("the agent's daemon does not answer")
            time.sleep(_PAUSE_S)
        else:
            return connection


def _send_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            data = os.read(0, _BLOCK)
            if not data:
                break
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]
