"""From a connection to frames: start the agent there, sending it when it is lacking, and attach to it."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from typing import TYPE_CHECKING

from gpuplug import agent
from gpuplug.agent import wire
from gpuplug.errors import AgentError, LinkError
from gpuplug.session.framing import FrameReader
from gpuplug.session.messages import Welcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpuplug.agent.wire import Header
    from gpuplug.streams import ByteStream, Connection

NOISE_BYTES = 1 << 16
_WORDS = 200
_LINE = re.compile(rb"GPUPLUG 1 (have|need|error)([^\n]{0,400})\n")
_MARK = b"GPUPLUG 1 "


def attach(
    connection: Connection, hello: Header, seconds: float, alive: Callable[[], None]
) -> tuple[FrameReader, Welcome]:
    """Start the agent or join the one that runs, say `hello`, and return its frames and its welcome.

    Raises:
        LinkError: the connection is lost, or the agent did not answer within `seconds`.
        AgentError: the agent cannot run there, refused, or answered nonsense.
    """
    bundle = agent.bundle()
    stream = connection.run(agent.loader_command(hashlib.sha256(bundle).hexdigest()))
    try:
        with _deadline(stream, seconds):
            reader = FrameReader(stream, alive)
            _load(reader, bundle)
            stream.write(wire.pack(hello))
            _check_late_failure(reader)
            header = next(reader.frames())[0][0]
        return reader, _welcome(header)
    except BaseException:  # an interrupt too must not leave a command behind
        stream.close()
        raise


@contextlib.contextmanager
def _deadline(stream: ByteStream, seconds: float) -> Iterator[None]:
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        stream.close()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except LinkError as error:
        if expired.is_set():
            msg = f"the agent did not answer within {seconds:.0f} s"
            raise LinkError(msg) from error
        raise
    finally:
        timer.cancel()
        timer.join()


def _load(reader: FrameReader, bundle: bytes) -> None:
    if _loader_word(reader) == b"need":
        reader.stream.write(b"%d\n" % len(bundle))
        reader.stream.write(bundle)


def _loader_word(reader: FrameReader) -> bytes:
    """Skip what shell profiles print; return `have` or `need`."""
    seen = b""
    while (line := _LINE.search(seen)) is None:
        if len(seen) > NOISE_BYTES:
            msg = f"no agent answered in {NOISE_BYTES} bytes"
            raise AgentError(msg)
        seen += reader.more()
    reader.push_back(seen[line.end() :])
    word, rest = line.groups()
    if word == b"error":
        msg = f"the agent cannot run there: {_plain(rest.decode(errors='replace'))}"
        raise AgentError(msg)
    return word


def _check_late_failure(reader: FrameReader) -> None:
    # A bundle that was refused is reported as one more line; no frame is long enough to begin like it.
    first = reader.more()
    while len(first) < len(_MARK) and _MARK.startswith(first):
        first += reader.more()
    reader.push_back(first)
    if first.startswith(_MARK):
        _loader_word(reader)
        msg = "the agent's loader asked twice"
        raise AgentError(msg)


def _welcome(header: Header) -> Welcome:
    if header.get("op") == "refused":
        msg = f"the agent refused: {_plain(str(header.get('message', '')))}"
        raise AgentError(msg)
    offset = header.get("offset", 0)
    if header.get("op") != "welcome" or not isinstance(offset, int) or offset < 0:
        msg = "the agent did not say welcome"
        raise AgentError(msg)
    return Welcome(
        version=str(header.get("version", "")),
        python=str(header.get("python", "")),
        work=str(header.get("work", "")),
        journal=str(header.get("journal", "")),
        offset=offset,
    )


def _plain(words: str) -> str:
    return ascii(words.strip()[:_WORDS])[1:-1]
