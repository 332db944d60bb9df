"""Results from the instance to the user's folder: no name leads out of it, nothing of the user's is overwritten."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpuplug.agent.safepath import Folders, Part, PathError, is_full, parts_of
from gpuplug.errors import AgentError, GpuplugError

from .landing import Landing, Landings, NoPlaceError, RemoteFile
from .link import (
    HASH_TIMEOUT_S,
    PIECE,
    PIECES_A_REQUEST,
    Meter,
    Progress,
    Reply,
    Request,
    Session,
    checked,
    digests,
    exchange,
)
from .names import fold, is_in, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gpuplug.types import Clock

    from .remembered import Remembered

_ATTEMPTS = 3
_MAX_FILES = 200_000
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class HomeRules:
    """What may come home.

    `out` are folders in which files of any kind keep their names and which come first; `guard_bytes` is how much may
    come in all, and what does not fit stays on the instance.
    """

    out: tuple[str, ...] = ("out", "outputs", "checkpoints")
    guard_bytes: int = _GIB


@dataclass(frozen=True, slots=True)
class Brought:
    """A file that was written here: its path in the user's folder, and why it has another name than there, if so."""

    path: str
    size: int
    note: str


@dataclass(frozen=True, slots=True)
class Left:
    """A file that was not brought, and why."""

    path: str
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class Home:
    """`kept` could come another time; `refused` never will under this name. Files that are equal are in none."""

    brought: tuple[Brought, ...]
    kept: tuple[Left, ...]
    refused: tuple[Left, ...]


@dataclass(slots=True)
class _Fetch:
    remote: RemoteFile
    digest: str
    landing: Landing
    over: bool = False


_Piece = tuple[_Fetch, int, int]


@dataclass(slots=True)
class _Asked:
    pieces: list[_Piece] = field(default_factory=list)
    size: int = 0

    def request(self) -> Request:
        return "get", {"pieces": [[fetch.remote.path, offset, size] for fetch, offset, size in self.pieces]}, b""


def remote_files(payload: bytes) -> tuple[RemoteFile, ...]:
    """Read the payload of a `files` event.

    Raises:
        AgentError: it is no list of at most 200,000 files with sizes.
    """
    try:
        rows = json.loads(payload)
    except ValueError:
        rows = None
    if not isinstance(rows, list) or len(rows) > _MAX_FILES:
        raise AgentError(f"the agent names no list of at most {_MAX_FILES} files")
    return tuple(_remote_file(row) for row in rows)


def _remote_file(row: Any) -> RemoteFile:  # noqa: ANN401 - JSON, looked at here
    kinds = [type(value) for value in row] if isinstance(row, list) else []
    if kinds != [str, int, int, bool] or row[1] < 0:
        raise AgentError(f"the agent describes a file in a way that makes no sense: {ascii(row)[:80]}")
    return RemoteFile(*row)


class Homecoming:
    """One call of `Sync.bring_home`.

    Args:
        session: requests to the instance.
        root: the user's folder.
        remembered: hashes and bases.
        rules: what may come.
        clock: measures.
        tell: gets the progress.
    """

    def __init__(
        self,
        session: Session,
        root: Path,
        remembered: Remembered,
        rules: HomeRules,
        *,
        clock: Clock,
        tell: Callable[[Progress], None],
    ) -> None:
        self._session = session
        self._root = root
        self._remembered = remembered
        self._rules = rules
        self._landings = Landings(root, remembered, rules.out)
        self._clock = clock
        self._tell = tell
        self._umask = _umask()
        self._part: Part | None = None
        self._again: list[_Fetch] = []
        self._brought: list[Brought] = []
        self._kept: list[Left] = []
        self._refused: list[Left] = []

    def run(self, changed: Sequence[RemoteFile]) -> Home:
        """See `Sync.bring_home`."""
        wanted = self._within_guard(self._acceptable(changed))
        fetches = self._decide(wanted, self._hashes(wanted))
        for _ in range(_ATTEMPTS):
            self._fetch(fetches)
            fetches = self._still_changing()
        self._kept += [Left(each.remote.path, each.remote.size, "it kept changing") for each in fetches]
        return Home(tuple(self._brought), tuple(self._kept), tuple(self._refused))

    def _acceptable(self, changed: Sequence[RemoteFile]) -> list[RemoteFile]:
        seen: dict[str, str] = {}
        wanted = []
        for remote in changed:
            reason = refusal(remote.path) or ("its size makes no sense" if remote.size < 0 else "")
            other = seen.setdefault(fold(remote.path), remote.path) if not reason else remote.path
            if other != remote.path:
                reason = f"on some computers {other!a} is the same name"
            if reason:
                self._refuse(remote, reason)
            else:
                wanted.append(remote)
        return list({remote.path: remote for remote in wanted}.values())

    def _within_guard(self, wanted: list[RemoteFile]) -> list[RemoteFile]:
        wanted.sort(key=lambda remote: not is_in(remote.path, self._rules.out))
        left = self._rules.guard_bytes
        fitting = []
        for remote in wanted:
            if remote.size > left:
                self._keep(remote, f"over the size guard of {self._rules.guard_bytes} bytes")
                continue
            left -= remote.size
            fitting.append(remote)
        return fitting

    def _refuse(self, remote: RemoteFile, reason: str) -> None:
        self._refused.append(Left(remote.path, remote.size, reason))

    def _keep(self, remote: RemoteFile, reason: str) -> None:
        self._kept.append(Left(remote.path, remote.size, reason))

    def _hashes(self, wanted: list[RemoteFile]) -> list[str | None]:
        found: list[str | None] = []
        for start in range(0, len(wanted), PIECES_A_REQUEST):
            paths = [remote.path for remote in wanted[start : start + PIECES_A_REQUEST]]
            reply = self._session.request("hash", {}, json.dumps(paths).encode(), HASH_TIMEOUT_S)
            found += digests(checked(reply), len(paths))
        return found

    def _decide(self, wanted: list[RemoteFile], hashes: list[str | None]) -> list[_Fetch]:
        fetches = []
        for remote, digest in zip(wanted, hashes, strict=True):
            if digest is None:
                self._keep(remote, "it is gone or no regular file any more")
                continue
            landing = self._land(remote, digest)
            if landing is not None:
                fetches.append(_Fetch(remote, digest, landing))
        return fetches

    def _land(self, remote: RemoteFile, digest: str) -> Landing | None:
        try:
            return self._landings.decide(remote, digest)
        except NoPlaceError as error:
            self._refuse(remote, str(error))
        except OSError as error:
            self._keep(remote, f"your folder cannot be read there: {error.strerror}")
        return None

    def _fetch(self, fetches: list[_Fetch]) -> None:
        meter = Meter(self._clock, sum(each.remote.size for each in fetches), self._tell)

        def take(asked: _Asked, reply: Reply) -> None:
            before = sum(fetch.over for fetch, _, _ in asked.pieces)
            for piece, data in _cut(asked, checked(reply)):
                self._take(piece, data)
            meter.add(asked.size, sum(fetch.over for fetch, _, _ in asked.pieces) - before)

        try:
            exchange(self._session, ((each.request(), each) for each in _requests(fetches)), take)
        finally:
            self._drop()

    def _drop(self) -> None:
        if self._part is not None:
            self._part.drop()
            self._part = None

    def _take(self, piece: _Piece, data: bytes) -> None:
        fetch, offset, size = piece
        if fetch.over:
            return
        if len(data) != size:
            self._spoiled(fetch)
            return
        try:
            self._write(fetch, offset, data)
        except OSError as error:
            self._drop()
            if is_full(error):
                raise GpuplugError(
                    f"the disk of this computer is full: no room for the {fetch.remote.size} bytes of {fetch.remote.path}",
                    hint="make room, then fetch again: everything is still on the instance",
                ) from error
            fetch.over = True
            self._keep(fetch.remote, f"it cannot be written here: {error.strerror}")
        except (PathError, NoPlaceError) as error:
            self._drop()
            fetch.over = True
            self._refuse(fetch.remote, str(error))

    def _write(self, fetch: _Fetch, offset: int, data: bytes) -> None:
        if offset == 0:
            with Folders(str(self._root)) as folders:
                self._part = Part(folders.open(parts_of(fetch.landing.path)[:-1], make=True))
        if self._part is None:
            raise AssertionError(f"no part of {fetch.remote.path} is open")
        self._part.write(data)
        if offset + len(data) < fetch.remote.size:
            return
        if self._part.sha256 == fetch.digest:
            self._finish(fetch, self._part)
        else:
            self._spoiled(fetch)
        self._drop()

    def _finish(self, fetch: _Fetch, part: Part) -> None:
        fetch.over = True
        landing: Landing | None = fetch.landing
        # The user may have written to it while it came: then it lands beside.
        while landing is not None:
            try:
                if self._landings.is_unchanged(landing):
                    self._name(fetch, part, landing)
                    return
            except FileExistsError:
                pass
            landing = self._landings.decide(fetch.remote, fetch.digest)

    def _name(self, fetch: _Fetch, part: Part, landing: Landing) -> None:
        mode = (0o755 if fetch.remote.executable else 0o644) & ~self._umask
        name = parts_of(landing.path)[-1]
        part.finish(name, mode, replace=landing.replaces is not None, durable=True)
        self._remembered.set_base(landing.path, fetch.digest)
        self._brought.append(Brought(landing.path, fetch.remote.size, landing.note))

    def _spoiled(self, fetch: _Fetch) -> None:
        self._drop()
        fetch.over = True
        self._again.append(fetch)

    def _still_changing(self) -> list[_Fetch]:
        """Return the files to fetch once more: honest ones that were written to while they came.

        Raises:
            AgentError: the instance says that a file is as it was, but sent other bytes or another number of them.
        """
        again, self._again = self._again, []
        remotes = [each.remote for each in again]
        hashes = self._hashes(remotes)
        for fetch, digest in zip(again, hashes, strict=True):
            if digest == fetch.digest and not self._has_grown(fetch.remote):
                raise AgentError(
                    f"the instance sent other bytes of {fetch.remote.path} than it announced",
                    hint="nothing was written for it; do not trust this host",
                )
        return self._decide(remotes, hashes)

    def _has_grown(self, remote: RemoteFile) -> bool:
        reply = checked(self._session.request("get", {"pieces": [[remote.path, remote.size, 1]]}, b"", HASH_TIMEOUT_S))
        return reply.payload != b""


def _requests(fetches: list[_Fetch]) -> Iterator[_Asked]:
    batch = _Asked()
    for fetch in fetches:
        if fetch.remote.size > PIECE:
            continue
        if batch.size + fetch.remote.size > PIECE or len(batch.pieces) == PIECES_A_REQUEST:
            yield batch
            batch = _Asked()
        batch.pieces.append((fetch, 0, fetch.remote.size))
        batch.size += fetch.remote.size
    if batch.pieces:
        yield batch
    for fetch in fetches:
        for offset in range(0, fetch.remote.size if fetch.remote.size > PIECE else 0, PIECE):
            if fetch.over:
                break
            size = min(PIECE, fetch.remote.size - offset)
            yield _Asked([(fetch, offset, size)], size)


def _cut(asked: _Asked, reply: Reply) -> list[tuple[_Piece, bytes]]:
    lengths = reply.header.get("lengths")
    if not isinstance(lengths, list) or len(lengths) != len(asked.pieces):
        raise AgentError("the agent does not say how many bytes of each file it sent")
    cut = []
    start = 0
    for piece, length in zip(asked.pieces, lengths, strict=True):
        if type(length) is not int or not 0 <= length <= piece[2]:
            raise AgentError(f"the agent sent another number of bytes of {piece[0].remote.path} than it was asked for")
        cut.append((piece, reply.payload[start : start + length]))
        start += length
    if start != len(reply.payload):
        raise AgentError(f"the agent sent {len(reply.payload)} bytes and announced {start}")
    return cut


def _umask() -> int:
    # It can only be read by setting it; the value set meanwhile is the strictest one.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
