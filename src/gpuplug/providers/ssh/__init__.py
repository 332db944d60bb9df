"""A machine that the user already has as a provider: each instance is a folder there, its agent a process. Free."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.resources
import json
import re
import secrets
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from gpuplug import agent
from gpuplug.errors import (
    LinkError,
    OfferGoneError,
    ProviderError,
    ReplyError,
    UnknownOutcomeError,
    UnreachableError,
    UsageError,
)
from gpuplug.providers._gpus import counted, free_offers
from gpuplug.providers._reading import clean, integer, mapping, parse_json
from gpuplug.streams.output import output_of
from gpuplug.types import LABEL_PREFIX, ZERO, Instance, InstanceState, Offer, OfferList, SshTarget, Traits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpuplug.providers import Access
    from gpuplug.streams import ByteStream, Connection
    from gpuplug.types import Identity, Query, Spec

_LABEL = re.compile(re.escape(LABEL_PREFIX) + r"[A-Za-z0-9._-]{1,200}")
_ANSWER = re.compile(rb"^GPUPLUG-SSH (\{.*\})$", re.MULTILINE)
_NO_PYTHON = b"GPUPLUG 1 error no Python"
_ASK_S = 30.0
_END_S = 60.0
_ANSWER_BYTES = 1 << 20
_MOST_GPUS = 1024
# The agent ends itself when its lease is over: the machine is not ours to switch off. IPython's files are to go with the rest.
_ENTER = (
    'cd "$HOME/.gpuplug/instances/$1" && [ ! -e ending ] || exit 1; '
    'export GPUPLUG_STATE="$PWD/state" GPUPLUG_WORK="$PWD/work" GPUPLUG_ENDS_ITSELF=1 IPYTHONDIR="$PWD/ipython"; exec sh -c "$2"'
)


class SshProvider:
    """Processes on one machine, in folders below `~/.gpuplug/instances` there. Others' folders are not touched.

    Whatever is asked goes over one connection, made at first use. Besides what is said at each method, all of them raise

        UsageError: the address or ssh's configuration has a fault.
        HostKeyError: known_hosts does not vouch for the host; no authentication was sent.
        AuthError: no key of the user's is accepted.
        UnreachableError: no answer.
    """

    def __init__(self, access: Access) -> None:
        self.name = f"ssh:{access.address}"
        self.traits = Traits(free=True, boots=False, identity=False, ready_s=2.0)
        self._address = access.address
        self._home = Path(access.home)
        self._clock = access.clock
        self._models: dict[str, int] = {}
        self._lock = threading.Lock()
        self._asking: Connection | None = None

    def close(self) -> None:
        """Close the connection; instances stay. May be repeated."""
        with self._lock:
            asking, self._asking = self._asking, None
        if asking is not None:
            asking.close()

    def offers(self, query: Query) -> OfferList:
        """Offer the machine's GPUs, or "CPU" when it has none. May be repeated.

        Raises:
            ProviderError: the machine has no Python 3.8, or is no Linux.
        """
        return OfferList(free_offers(self.name, self._address, self._look(), query))

    def launch(self, offer: Offer, spec: Spec, label: str) -> str:
        """Make the instance's folder and return its name. Costs nothing.

        Raises:
            OfferGoneError: the machine has no such GPU.
            UnknownOutcomeError: the connection was lost meanwhile.
            ProviderError: the folder cannot be made.
        """
        if offer.id not in (self._models or self._look()):
            raise OfferGoneError(f"{self.name} has no {offer.gpu!r}")
        if not _LABEL.fullmatch(label):
            raise UsageError(f"{label!r} cannot be a label")
        about = {
            "owner": self._owner(),
            "gpu": offer.gpu,
            "count": offer.gpu_count,
            "started": int(self._clock.now().timestamp()),
        }
        connection = self._connection()
        try:
            self._answer(connection, "make", label=label, about=about, lease_s=spec.start.lease_s)
        except LinkError as error:
            self._drop(connection)
            raise UnknownOutcomeError(f"{self.name}: {error.message}") from error
        return label

    def instances(self) -> list[Instance]:
        """List what this user has there from this computer. May be repeated."""
        owner = self._owner()
        return [instance for found, instance in self._seen(LABEL_PREFIX) if found == owner]

    def show(self, instance_id: str) -> Instance | None:
        """Read one instance; None when its folder does not exist. May be repeated."""
        if not _LABEL.fullmatch(instance_id):
            return None
        return next((instance for _, instance in self._seen(instance_id) if instance.id == instance_id), None)

    def terminate(self, instance_id: str) -> None:
        """End the agent, its kernels and all that they started, then remove the folder. May be repeated.

        Raises:
            ProviderError: a process does not end, or the folder cannot be removed.
        """
        if _LABEL.fullmatch(instance_id):
            self._ask("end", label=instance_id)

    def connect(self, instance: Instance, identity: Identity) -> Connection:  # noqa: ARG002 - known_hosts and the user's keys prove both ends
        """Return a connection of its own, whose commands run in the instance's folder."""
        return _InstanceConnection(self._connect(), instance.id)

    def logs(self, instance: Instance) -> str:  # noqa: ARG002 - the waist's signature
        """Return "": there is no container and so no log of one."""
        return ""

    def _look(self) -> dict[str, int]:
        """Return how many there are of each GPU model."""
        names = self._ask("look").get("gpus")
        self._models = counted(names[:_MOST_GPUS] if isinstance(names, list) else ())
        return self._models

    def _seen(self, prefix: str) -> list[tuple[str, Instance]]:
        """Return owner and instance for each folder whose name begins with `prefix`."""
        rows = self._ask("instances", prefix=prefix).get("instances")
        pairs = [row for row in rows if isinstance(row, list)] if isinstance(rows, list) else []
        return [self._instance(str(row[0]), str(row[-1])) for row in pairs if row and _LABEL.fullmatch(str(row[0]))]

    def _instance(self, label: str, text: str) -> tuple[str, Instance]:
        about: Mapping[str, object] = {}
        with contextlib.suppress(ValueError):
            about = mapping(parse_json(text))
        started = integer(about.get("started"), 0, 1 << 40)
        return clean(about.get("owner")), Instance(
            provider=self.name,
            id=label,
            label=label,
            state=InstanceState.RUNNING,
            price=ZERO,
            gpu=clean(about.get("gpu"), 60),
            gpu_count=integer(about.get("count"), 1, _MOST_GPUS) or 1,
            machine=self._address,
            status=f"on {self._address}",
            started=None if started is None else dt.datetime.fromtimestamp(started, dt.timezone.utc),
        )

    def _owner(self) -> str:
        """Return the name under which this user has instances from this computer; made up at first use."""
        file = self._home / "owner"
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError), file.open("x", encoding="ascii") as new:
                new.write(secrets.token_hex(16))
            return file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise ProviderError(f"{file} cannot be used: {error.strerror}") from error

    def _ask(self, verb: str, **request: object) -> Mapping[str, object]:
        """Ask what may be repeated: a connection that was lost since its last use is made anew, once."""
        held = self._asking
        if held is not None:
            try:
                return self._answer(held, verb, **request)
            except LinkError:
                self._drop(held)
        connection = self._connection()
        try:
            return self._answer(connection, verb, **request)
        except LinkError as error:
            self._drop(connection)
            raise UnreachableError(f"{self.name}: {error.message}") from error

    def _answer(self, connection: Connection, verb: str, **request: object) -> Mapping[str, object]:
        command = agent.python_command(_program(), json.dumps({"verb": verb, **request}))
        seconds = _END_S if verb == "end" else _ASK_S
        output = output_of(connection, command, seconds=seconds, limit=_ANSWER_BYTES)
        line = _ANSWER.search(output)
        if line is None and _NO_PYTHON in output:
            raise ProviderError(f"{self.name} has no Python 3.8 or newer", hint="install python3 on that machine")
        if line is None:
            raise ReplyError(
                f"{self.name} did not run the command that it was given", hint="does it let you run commands over ssh?"
            )
        try:
            answer = mapping(parse_json(line[1].decode("utf-8", "replace")))
        except ValueError as error:
            raise ReplyError(f"{self.name} gave an answer that is cut or damaged") from error
        if "error" in answer:
            raise ProviderError(f"{self.name}: {clean(answer['error'], 300)}")
        return answer

    def _connection(self) -> Connection:
        held = self._asking
        if held is not None:
            return held
        made = self._connect()
        with self._lock:  # not while connecting: `close` must not wait for a machine that does not answer
            held = self._asking = self._asking or made
        if held is not made:
            made.close()
        return held

    def _connect(self) -> Connection:
        from gpuplug.streams.known import connect  # noqa: PLC0415 - paramiko is loaded only when something runs

        try:
            target = SshTarget.parse(self._address)
        except ValueError as error:
            raise UsageError(f"ssh:{error}", hint="-p ssh:user@host[:port]") from None
        return connect(target)

    def _drop(self, lost: Connection) -> None:
        with self._lock:
            if self._asking is lost:
                self._asking = None
        lost.close()


class _InstanceConnection:
    """Runs each command in the folder of one instance, with the agent's state and work there."""

    def __init__(self, connection: Connection, label: str) -> None:
        self._connection = connection
        self._label = label

    def run(self, command: str) -> ByteStream:
        """Run `command` there; its stderr is dropped.

        Raises:
            LinkError: the connection is down.
        """
        words = ("sh", "-c", _ENTER, "sh", self._label, command)
        return self._connection.run("exec " + " ".join(shlex.quote(word) for word in words))

    def close(self) -> None:
        """Close the connection and every stream on it. May be repeated."""
        self._connection.close()


def _program() -> str:
    return importlib.resources.files("gpuplug.providers.ssh").joinpath("remote.py").read_text(encoding="utf-8")
