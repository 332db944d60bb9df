"""This computer as a provider: each instance is a folder, its agent a child process. Free, and the first thing to try."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplug.errors import NotReadyError, OfferGoneError, ProviderError, UsageError
from gpuplug.providers._gpus import NO_GPU, counted, free_offers
from gpuplug.providers._reading import clean
from gpuplug.streams.process import ProcessConnection, without_secrets
from gpuplug.types import LABEL_PREFIX, ZERO, Instance, InstanceState, OfferList, Traits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpuplug.providers import Access
    from gpuplug.streams import Connection
    from gpuplug.types import Identity, Offer, Query, Spec

_LABEL = re.compile(re.escape(LABEL_PREFIX) + r"[A-Za-z0-9._-]{1,200}")
_PROC = Path("/proc")
_PROBE_S = 10.0
_END_S = 5.0
_POLL_S = 0.05


class LocalProvider:
    """Child processes of this computer, in folders under the adapter's own home."""

    name: str = "local"

    def __init__(self, access: Access) -> None:
        self._home = Path(access.home)
        self._clock = access.clock
        self._gpus: dict[str, int] | None = None
        self.traits = Traits(free=True, identity=False, ready_s=2.0)

    def close(self) -> None:
        """Nothing is held. May be repeated."""

    def offers(self, query: Query) -> OfferList:
        """Offer this computer's GPUs, or "CPU" when it has none; nobody can bid for them. May be repeated."""
        return OfferList(free_offers(self.name, "this computer", self._models(), query))

    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        """Make the instance's folder and return its name. Costs nothing.

        Raises:
            OfferGoneError: this computer has no such GPU.
            ProviderError: the folder cannot be made.
        """
        if offer.id not in self._models():
            raise OfferGoneError(f"this computer has no {offer.gpu!r}")
        if not _LABEL.fullmatch(label):
            raise UsageError(f"{label!r} cannot be a label")
        folder = self._home / label
        try:
            folder.mkdir(mode=0o700, parents=True)
            (folder / "state").mkdir(mode=0o700)
            (folder / "state" / "switch").mkdir(mode=0o700)
            (folder / "state" / "switch" / "lease").write_text(f"{spec.start.lease_s}\n", encoding="ascii")
            (folder / "gpu").write_text(f"{offer.gpu_count} {offer.id}\n", encoding="utf-8")
        except OSError as error:
            raise ProviderError(f"the folder {folder} cannot be made: {error}") from error
        return label

    def instances(self) -> list[Instance]:
        """List the folders: each can run or runs. May be repeated."""
        try:
            names = sorted(entry.name for entry in self._home.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ProviderError(f"{self._home} cannot be read: {error}") from error
        return [instance for name in names if (instance := self.show(name)) is not None]

    def show(self, instance_id: str) -> Instance | None:
        """Read one instance; None when its folder does not exist. May be repeated."""
        folder = self._folder(instance_id)
        if folder is None:
            return None
        model, count = NO_GPU, 1
        with contextlib.suppress(OSError, ValueError):
            number, _, model = (folder / "gpu").read_text(encoding="utf-8").strip().partition(" ")
            count = int(number)
        return Instance(
            provider=self.name,
            id=instance_id,
            label=instance_id,
            state=InstanceState.RUNNING,
            price=ZERO,
            gpu=clean(model, 60),
            gpu_count=count,
            status="on this computer",
            started=dt.datetime.fromtimestamp(folder.stat().st_mtime, dt.timezone.utc),
        )

    def terminate(self, instance_id: str) -> None:
        """End the agent and its kernels, then remove the folder; silent when there is none. May be repeated.

        Raises:
            ProviderError: a process does not end, or the folder cannot be removed.
        """
        folder = self._folder(instance_id)
        if folder is None:
            return
        state = folder / "state"
        # The agent first, so that it starts nothing new.
        for pattern in ("daemon-*.pid", "kernels/*/pid"):
            self._end([pid for file in state.glob(pattern) for pid in _owned(file, state)])
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return  # somebody else was faster
        except OSError as error:
            raise ProviderError(f"the folder {folder} cannot be removed: {error}") from error

    def connect(self, instance: Instance, identity: Identity) -> Connection:  # noqa: ARG002 - nothing to prove here
        """Return a connection whose commands are child processes.

        Raises:
            NotReadyError: the instance's folder does not exist.
        """
        folder = self._folder(instance.id)
        if folder is None:
            raise NotReadyError(f"there is no instance {instance.id!r} on this computer")
        return ProcessConnection(env=_environment(os.environ, folder), cwd=str(folder))

    def logs(self, instance: Instance) -> str:  # noqa: ARG002 - the waist's signature
        """Return "": there is no container and so no log of one."""
        return ""

    def _folder(self, name: str) -> Path | None:
        folder = self._home / name
        return folder if _LABEL.fullmatch(name) and folder.is_dir() and not folder.is_symlink() else None

    def _models(self) -> dict[str, int]:
        """Return how many there are of each GPU model; asked once."""
        if self._gpus is None:
            self._gpus = counted(_nvidia_smi().splitlines())
        return self._gpus

    def _end(self, pids: list[int]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            end = self._clock.monotonic() + _END_S
            while any(_lives(pid) for pid in pids) and self._clock.monotonic() < end:
                self._clock.sleep(_POLL_S)
            pids = [pid for pid in pids if _lives(pid)]
        if pids:
            raise ProviderError(f"process {pids[0]} does not end")


def _nvidia_smi() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _environment(inherited: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the cell's environment: this interpreter's packages, state of its own, and no secret."""
    kept = without_secrets(inherited)
    kept["GPUPLUG_STATE"] = str(folder / "state")
    kept["GPUPLUG_WORK"] = str(folder / "work")
    kept["GPUPLUG_ENDS_ITSELF"] = "1"
    kept["VIRTUAL_ENV"] = sys.prefix
    kept["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), kept.get("PATH", os.defpath)])
    return kept


def _owned(file: Path, state: Path) -> Iterator[int]:
    """Yield the process that `file` names if it works on `state`: its number may belong to a stranger by now."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(file.read_text(encoding="ascii").partition("\n")[0])
        if pid > 1 and str(state) in _command_line(pid):
            yield pid


def _command_line(pid: int) -> str:
    """Return arguments and, where the system shows them, variables of a process; "" when it does not exist.

    Raises:
        ProviderError: the system does not say.
    """
    parts = []
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):
            parts.append((_PROC / str(pid) / name).read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    if parts or (_PROC / "self").exists():
        return " ".join(parts)
    ps = ["ps", "-ww", "-E", "-o", "command=", "-p", str(pid)]
    try:
        done = subprocess.run(ps, capture_output=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProviderError(f"what process {pid} is cannot be found out: {error}") from error
    return done.stdout.decode("utf-8", "replace")


def _lives(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    return True
