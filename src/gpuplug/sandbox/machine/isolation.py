"""Where a machine's processes run: in a view of their own (bubblewrap), or here with paths from variables."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplug.sandbox.machine.spec import MachineError

if TYPE_CHECKING:
    from gpuplug.sandbox.machine.disk import Disk

BUBBLEWRAP = "bubblewrap"
VARIABLES = "variables"
PROGRAM_FOLDER = Path(__file__).parent
CONTROL_INSIDE = Path("/machine/control")
PROGRAM_INSIDE = Path("/machine/program")
_PROBE_S = 10
# What a container gets by default: enough for a root user's daily work and for sshd's own separation, nothing that
# reaches out of the view (no mounts, no devices, no modules).
_ROOT_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_AUDIT_WRITE",
)
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix", "sys")
# Reading these is needed for names, certificates and fonts; none holds a secret of this computer.
SHARED_ETC = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki/tls/certs",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
)
# Root in the view is root of this computer too: the kernel's own switches must not be writable.
_KERNEL_SWITCHES = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")


def choose(wanted: str) -> str:
    """Return the isolation to use for `wanted` (`auto`, `bubblewrap`, `variables`). Blocks for one short process.

    Raises:
        MachineError: there is no such mode, or bubblewrap was demanded and does not work here.
    """
    if wanted not in ("auto", BUBBLEWRAP, VARIABLES):
        msg = f"isolation {wanted!r} does not exist; it is auto, bubblewrap or variables"
        raise MachineError(msg)
    if wanted == VARIABLES:
        return VARIABLES
    why_not = why_no_bubblewrap()
    if not why_not:
        return BUBBLEWRAP
    if wanted == BUBBLEWRAP:
        msg = f"bubblewrap does not work here ({why_not}); use isolation='variables'"
        raise MachineError(msg)
    return VARIABLES


@functools.cache
def why_no_bubblewrap() -> str:
    """Try bubblewrap once as machines use it; return why it fails, empty when it works. Blocks for one process."""
    program = shutil.which("bwrap")
    if not program:
        return "bwrap is not installed"
    command = [*_bwrap(program, zero_uid=True), *_system_folders(), "/bin/sh", "-c", "exit 0"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
    return ""


def bubblewrap_prefix(disk: Disk, *, zero_uid: bool) -> list[str]:
    """Return the words that, put before a command, run it as process 1 of the machine on `disk`."""
    program = shutil.which("bwrap") or "bwrap"
    command = [*_bwrap(program, zero_uid=zero_uid), *_system_folders()]
    for inside, outside in disk.writable_folders().items():
        command += ["--bind", str(outside), inside]
    for name in SHARED_ETC:
        source = Path("/etc", name)
        if source.exists():
            command += ["--ro-bind", str(source.resolve()), f"/etc/{name}"]
    for folder in python_folders():
        command += ["--ro-bind", str(folder), str(folder)]
    command += ["--ro-bind", str(disk.control), str(CONTROL_INSIDE)]
    command += ["--ro-bind", str(PROGRAM_FOLDER), str(PROGRAM_INSIDE)]
    return [*command, "--dir", "/home", "--remount-ro", "/", "--chdir", "/root"]


def python_folders() -> list[Path]:
    """Return the folders outside the system's own that this Python consists of."""
    roots = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    roots |= {str(hop.parent.parent) for hop in _link_chain(Path(sys.executable))}
    roots |= {os.path.realpath(root) for root in roots}
    folders = sorted(Path(root) for root in roots if Path(root).is_dir())
    found: list[Path] = []
    for folder in folders:
        known = [Path("/", name) for name in _SYSTEM] + found
        if folder != Path("/") and not any(folder.is_relative_to(parent) for parent in known):
            found.append(folder)
    return found


def _link_chain(path: Path) -> list[Path]:
    chain = [path]
    while chain[-1].is_symlink():
        chain.append(chain[-1].parent / chain[-1].readlink())
    return [Path(os.path.normpath(link)) for link in chain]


def _bwrap(program: str, *, zero_uid: bool) -> list[str]:
    command = [program, "--die-with-parent", "--as-pid-1"]
    command += ["--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    if os.geteuid() == 0:
        command += ["--cap-drop", "ALL"]
        for capability in _ROOT_CAPABILITIES:
            command += ["--cap-add", capability]
    else:
        uid, gid = (0, 0) if zero_uid else (os.getuid(), os.getgid())
        command += ["--unshare-user", "--uid", str(uid), "--gid", str(gid)]
    command += ["--dev", "/dev", "--proc", "/proc"]
    if os.geteuid() == 0:
        for path in _KERNEL_SWITCHES:
            command += ["--ro-bind-try", path, path]
    return command


def _system_folders() -> list[str]:
    command = []
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            command += ["--ro-bind", str(path), str(path)]
    return command
