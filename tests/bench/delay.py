"""A long way, in a process of its own: `python delay.py PORT SECONDS` prints its port and holds back what passes.

Each block comes out `SECONDS` after it came in, whatever its size: time is added and no rate is limited.
"""

from __future__ import annotations

import asyncio
import socket
import sys

_BLOCK = 1 << 18


async def _carry(seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while block := await reader.read(_BLOCK):
        loop.call_later(seconds, writer.write, block)
    loop.call_later(seconds, writer.close)


async def _serve(port: int, seconds: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        for end in (writer, back):
            # A router sends on what it gets; asyncio leaves Nagle's algorithm on where a socket does not name TCP.
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(_carry(seconds, reader, back), _carry(seconds, there, writer))

    listening = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.start_server(accept, sock=listening)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
