"""The way to a machine of the user's own, as the user's ssh would take it: `ssh -G` tells, nothing is guessed.

ssh itself reads its configuration here, so that Include, Match, tokens and the system's file mean what they always mean.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpuplug.errors import UsageError
from gpuplug.streams.process import without_secrets
from gpuplug.types import SshTarget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEADLINE_S = 10.0
_MOST_HOPS = 8
_WORDS = 300
_TOKEN = re.compile(r"%(.)|\$\{(\w+)\}")
_NONE = frozenset({"", "none"})
# What these demand cannot be kept here, and to pass over them in silence would weaken what the user has set up.
_REFUSED = {
    "proxycommand": "ProxyJump does the same for a machine in between: ProxyJump user@gateway",
    "revokedhostkeys": "put `@revoked * <key>` lines into known_hosts in its place",
}


@dataclass(frozen=True, slots=True)
class Hop:
    """One machine on the way. `typed` is the ssh command that reaches it; paths are absolute.

    `alias` is the name that known_hosts has it under, "" for its host and port. `agent` is the socket of the user's
    agent, "" when none is to be asked.
    """

    typed: str
    host: str
    port: int
    user: str
    alias: str
    known_hosts: tuple[str, ...]
    identity_files: tuple[str, ...]
    identities_only: bool
    agent: str

    @property
    def place(self) -> str:
        """Host and port, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def route(target: SshTarget) -> list[Hop]:
    """Return the machines to go through, the target last. Asks the `ssh` of this computer; blocks for some milliseconds.

    Raises:
        UsageError: there is no ssh, its configuration has a fault, or it demands what cannot be done here.
    """
    return _route(target, None, 1)


def _route(target: SshTarget, through: Sequence[SshTarget] | None, length: int) -> list[Hop]:
    if length > _MOST_HOPS:
        raise UsageError(
            f"more than {_MOST_HOPS} ProxyJump hosts on the way to {target.host}: do they name each other?"
        )
    typed = _typed(target, through or ())
    settings = _settings(target, typed)
    jumps = _jumps(settings, typed) if through is None else tuple(through)
    hop = _hop(settings, target, typed)
    if not jumps:
        return [hop]
    *before, last = jumps
    # As ssh does: the last one is reached through those named before it, and by its own settings when there are none.
    return [*_route(last, before or None, length + 1), hop]


def _typed(target: SshTarget, through: Sequence[SshTarget]) -> str:
    words = ["ssh"]
    if through:
        words += ["-J", ",".join(_jump_text(jump) for jump in through)]
    if target.port:
        words += ["-p", str(target.port)]
    return " ".join([*words, f"{target.user}@{target.host}" if target.user else target.host])


def _jump_text(target: SshTarget) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return (f"{target.user}@" if target.user else "") + host + (f":{target.port}" if target.port else "")


def _settings(target: SshTarget, typed: str) -> dict[str, list[str]]:
    """Return ssh's own reading of its configuration: each keyword in lower case with its values."""
    command = ["ssh", "-G", "-T"]
    command += ["-p", str(target.port)] if target.port else []
    command += ["-l", target.user] if target.user else []
    try:
        done = subprocess.run(
            [*command, "--", target.host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE_S,
            check=False,
            env=without_secrets(os.environ),
        )
    except FileNotFoundError as error:
        raise UsageError(
            "there is no `ssh` on this computer, whose configuration says how to reach the machine",
            hint="install the OpenSSH client: apt-get install openssh-client",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"`ssh -G {target.host}` gave no answer: {type(error).__name__}", hint=typed) from error
    if done.returncode:
        words = " ".join(done.stderr.decode("utf-8", "replace").split())[:_WORDS]
        raise UsageError(f"ssh does not accept its own configuration: {words}", hint=typed)
    found: dict[str, list[str]] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value.strip())
    return found


def _jumps(settings: Mapping[str, list[str]], typed: str) -> tuple[SshTarget, ...]:
    text = _one(settings, "proxyjump")
    if text in _NONE:
        return ()
    try:
        return tuple(SshTarget.parse(part.strip().removeprefix("ssh://").rstrip("/")) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"ProxyJump of `{typed}`: {error}", hint="ProxyJump user@gateway[:port]") from None


def _hop(settings: Mapping[str, list[str]], target: SshTarget, typed: str) -> Hop:
    for name, hint in _REFUSED.items():
        if _one(settings, name) not in _NONE:
            raise UsageError(
                f"`{typed}` is set up with {name} {_one(settings, name)!r}, which gpuplug cannot do", hint=hint
            )
    # ssh takes the home of the account, whatever HOME says.
    home = pwd.getpwuid(os.getuid()).pw_dir
    host, port, user = _one(settings, "hostname"), int(_one(settings, "port")), _one(settings, "user")
    tokens = {
        "%": "%",
        "d": home,
        "h": host,
        "i": str(os.getuid()),
        "k": _one(settings, "hostkeyalias") or host,
        "L": socket.gethostname().partition(".")[0],
        "l": socket.gethostname(),
        "n": target.host,
        "p": str(port),
        "r": user,
        "u": pwd.getpwuid(os.getuid()).pw_name,
    }
    files = [name for line in ("userknownhostsfile", "globalknownhostsfile") for name in _one(settings, line).split()]
    return Hop(
        typed=typed,
        host=host,
        port=port,
        user=user,
        alias=_one(settings, "hostkeyalias"),
        known_hosts=tuple(_path(name, tokens) for name in files if name not in _NONE),
        identity_files=tuple(_path(name, tokens) for name in settings.get("identityfile", ()) if name not in _NONE),
        identities_only=_one(settings, "identitiesonly") == "yes",
        agent=_agent(_one(settings, "identityagent"), tokens),
    )


def _one(settings: Mapping[str, list[str]], name: str) -> str:
    return settings.get(name, [""])[0]


def _agent(named: str, tokens: Mapping[str, str]) -> str:
    if named == "none":
        return ""
    if named in {"", "SSH_AUTH_SOCK"}:
        return os.environ.get("SSH_AUTH_SOCK", "")
    if named.startswith("$") and not named.startswith("${"):
        return os.environ.get(named[1:], "")
    return _path(named, tokens)


def _path(text: str, tokens: Mapping[str, str]) -> str:
    """Expand `~/`, `%` tokens and `${NAME}`; what is not known stays as it is."""
    path = _TOKEN.sub(
        lambda found: tokens.get(found[1], found[0]) if found[1] else os.environ.get(found[2], found[0]), text
    )
    return tokens["d"] + path[1:] if path.startswith("~/") else path
