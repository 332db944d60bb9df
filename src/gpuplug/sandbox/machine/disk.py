"""The folder of one machine: what is its disk, and what only the booting side writes."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplug.sandbox.machine import gpu, isolation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.sandbox.machine.spec import MachineSpec

_FOLDERS = ("root", "etc", "tmp", "run", "var", "workspace")
_PRIVATE = 0o700
_PROGRAM = 0o755


class Disk:
    """`<folder>/disk` is what the machine may write, `<folder>/control` what it may only read.

    The booting side never writes below `disk` while the machine runs, nor follows a link there: code in the machine
    could have put one in the way.
    """

    def __init__(self, spec: MachineSpec) -> None:
        self._spec = spec
        self._disk = spec.folder / "disk"
        self.control = spec.folder / "control"
        self.log = self.control / "log"
        # A boot that was given up may still write in its thread when the disk is to be deleted.
        self.writing = threading.Lock()

    @property
    def root(self) -> Path:
        """The machine's whole disk."""
        return self._disk

    def own_folders(self) -> dict[str, Path]:
        """Return the folders of the machine's own disk: path inside -> folder here."""
        return {f"/{name}": self._disk / name for name in _FOLDERS}

    def writable_folders(self) -> dict[str, Path]:
        """Return what the machine may write: its own folders, and what is mounted into them."""
        return {**self.own_folders(), **self._spec.mounts}

    def make(self) -> bool:
        """Make the folders once; return whether they were made now."""
        made = not self._disk.exists()
        for folder in (self._spec.folder, self._disk, self.control):
            folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        if made:
            for folder in self.own_folders().values():
                folder.mkdir(mode=0o755)
            for name in ("root/.ssh", "etc/ssh", "run/sshd", "var/tmp", "var/log"):
                (self._disk / name).mkdir(mode=0o755)
            (self._disk / "root").chmod(_PRIVATE)
            (self._disk / "root/.ssh").chmod(_PRIVATE)
            for name in ("tmp", "var/tmp"):
                (self._disk / name).chmod(0o1777)
        return made

    def link_mounts(self) -> None:
        """Put links where the mounts would be; for a new disk of a machine that has no view of its own."""
        for inside, outside in self._spec.mounts.items():
            place = self._disk / inside.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir():
                place.rmdir()
            place.symlink_to(outside)

    def write_control(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Write a file that the machine can read and not change."""
        path = self.control / name
        path.parent.mkdir(mode=_PROGRAM, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        path.chmod(mode)
        return path

    def write_json(self, name: str, value: Mapping[str, object]) -> Path:
        """Write a configuration as JSON."""
        return self.write_control(name, json.dumps(value))

    def write_programs(self) -> None:
        """Put the stand-in for nvidia-smi on the machine's PATH."""
        self.write_control("bin/nvidia-smi", gpu.nvidia_smi(self._spec), _PROGRAM)

    def write_accounts(self, uid: int, gid: int) -> None:
        """Write the machine's own account files; `uid` is what root is called in its view."""
        shell = shell_path()
        # sshd's separation user needs an id of its own only where root can change to it.
        sshd_ids = "101:65534" if uid == 0 and os.geteuid() == 0 else f"{uid}:{gid}"
        files = {
            "passwd": f"root:x:{uid}:{gid}:root:/root:{shell}\n"
            f"sshd:x:{sshd_ids}::/run/sshd:/usr/sbin/nologin\n"
            "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
            "group": f"root:x:{gid}:\ntty:x:5:\nnogroup:x:65534:\n",
            "shadow": "root:*:19000:0:99999:7:::\nsshd:!:19000::::::\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
            "hostname": f"{self._spec.id}\n",
        }
        for name, text in files.items():
            (self._disk / "etc" / name).write_text(text)

    def make_mount_points(self) -> None:
        """Make what will be mounted over inside the disk's folders, and take away links that lie in the way."""
        for name in isolation.SHARED_ETC:
            source = Path("/etc", name)
            if source.exists():
                self._make_mount_point(Path("etc", name), is_folder=source.is_dir())
        for folder in isolation.python_folders():
            if folder.parts[1] in _FOLDERS:
                self._make_mount_point(folder.relative_to("/"), is_folder=True)

    def _make_mount_point(self, path: Path, *, is_folder: bool) -> None:
        for parent in [*reversed(path.parents[:-1]), *([path] if is_folder else [])]:
            place = self._disk / parent
            if place.is_symlink() or place.is_file():
                place.unlink()
            place.mkdir(exist_ok=True)
        if not is_folder:
            place = self._disk / path
            if place.is_symlink():
                place.unlink()
            place.touch()

    def remove(self) -> None:
        """Delete the folder; may be repeated."""
        with self.writing:
            if self._spec.folder.exists():
                _open_folders(self._spec.folder)
                shutil.rmtree(self._spec.folder)


def shell_path() -> str:
    """Return the login shell that this computer offers."""
    return "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"


def _open_folders(top: Path) -> None:
    """Undo what the machine's user may have closed to itself, so that everything can be deleted."""
    for parent, names, _ in os.walk(top):
        for name in names:
            folder = Path(parent, name)
            if not folder.is_symlink():
                folder.chmod(_PRIVATE)
