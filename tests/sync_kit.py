"""A session without a wire: requests go straight to a real file store, some ahead of their answers, as on a link."""

from __future__ import annotations

import os
import resource
import stat
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuplug.agent.files import FileError, FileStore, changed, snapshot
from gpuplug.agent.wire import Decoder, pack
from gpuplug.errors import LinkError
from gpuplug.sync import HomeRules, Progress, RemoteFile, Sync
from gpuplug.types import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Header = dict[str, Any]
Answer = tuple[Header, bytes]
_AHEAD = 2


@dataclass(frozen=True)
class Answered:
    header: Header
    payload: bytes


class StoreSession:
    """`cut_after` requests the link goes down; `twist` may change an answer, `before` acts ahead of a request."""

    def __init__(self, store: FileStore) -> None:
        self.store = store
        self.cut_after: int | None = None
        self.twist: Callable[[str, Header, Answer], Answer] | None = None
        self.before: Callable[[str, Header], None] | None = None
        self.asked: Counter[str] = Counter()
        self.put_bytes = 0
        self.got_bytes = 0

    def request(self, op: str, header: Header, payload: bytes, timeout: float) -> Answered:
        assert timeout > 0
        ((header, payload),) = Decoder().feed(pack(header, payload))
        if self.cut_after is not None:
            if self.cut_after == 0:
                msg = "the link is down"
                raise LinkError(msg)
            self.cut_after -= 1
        if self.before is not None:
            self.before(op, header)
        self.asked[op] += 1
        if op == "put":
            assert len(payload) <= 1 << 20
            self.put_bytes += sum(length for *_, length in header["pieces"])
        try:
            answer = self.store.handle(op, header, payload)
        except FileError as error:
            return Answered({"ok": False, "error": error.code, "message": error.message, **error.extra}, b"")
        if self.twist is not None:
            answer = self.twist(op, header, answer)
        self.got_bytes += len(answer[1])
        return Answered({"ok": True, **answer[0]}, answer[1])

    def pipeline(self, requests: Iterable[tuple[str, Header, bytes]], timeout: float) -> Iterator[Answered]:
        waiting: deque[Answered] = deque()
        for op, header, payload in requests:
            waiting.append(self.request(op, header, payload, timeout))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting


@dataclass(frozen=True)
class Named:
    path: str
    source: Path
    size: int
    executable: bool


@dataclass
class World:
    """The user's folder, the instance's folder, and a sync between them."""

    top: Path
    root: Path = field(init=False)
    work: Path = field(init=False)
    seen: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root, self.work = self.top / "home", self.top / "instance" / "work"
        for folder in (self.root, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        self.restart()

    def restart(self) -> None:
        """Begin anew on both sides with what lies on the disks."""
        self.session = StoreSession(FileStore(str(self.work), str(self.top / "instance" / "state")))
        self.sync = Sync(self.session, self.root, self.top / "state" / "sync.json", clock=SystemClock())

    def here(self, path: str, content: bytes, *, executable: bool = False) -> Named:
        """Write a file into the user's folder."""
        source = write(self.root / path, content, executable=executable)
        return Named(path, source, len(content), executable)

    def there(self, path: str, content: bytes, *, executable: bool = False) -> RemoteFile:
        """Write a file into the instance's folder."""
        status = write(self.work / path, content, executable=executable).stat()
        return RemoteFile(path, status.st_size, status.st_mtime_ns, executable)

    def ship(self, *files: Named) -> None:
        self.sync.ship(files, self.seen.append)

    def bring(self, *files: RemoteFile, guard: int = 1 << 30) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """Bring files home; return what was brought, kept and refused with the words about each."""
        home = self.sync.bring_home(files, HomeRules(guard_bytes=guard), self.seen.append)
        return (
            {each.path: each.note for each in home.brought},
            {each.path: each.reason for each in home.kept},
            {each.path: each.reason for each in home.refused},
        )


def write(path: Path, content: bytes, *, executable: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if executable else 0o644)
    return path


def age(path: Path, seconds: int = 100) -> None:
    """Set the file's time stamp back, so that it counts as settled."""
    stamp = path.stat().st_mtime_ns - seconds * 10**9
    os.utime(path, ns=(stamp, stamp))


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """Have the kernel refuse every byte of a file beyond `size`, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def open_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def tree(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Return everything below `folder`: kind and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[str(path.relative_to(folder))] = ("link", os.fsencode(path.readlink()))
        elif stat.S_ISREG(mode):
            found[str(path.relative_to(folder))] = ("x" if mode & 0o100 else "file", path.read_bytes())
        else:
            found[str(path.relative_to(folder))] = ("folder", b"")
    return found


def files(folder: Path) -> dict[str, tuple[str, bytes]]:
    return {path: entry for path, entry in tree(folder).items() if entry[0] != "folder"}


def remote_changes(work: Path, before: dict[str, tuple[int, int, int, bool]]) -> list[RemoteFile]:
    """Return what the agent would report as changed since `before`."""
    return [RemoteFile(*row) for row in changed(before, snapshot(str(work)))]  # type: ignore[arg-type] # a JSON row
