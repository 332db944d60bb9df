"""Replace the host key that was sent to an instance by one that never leaves it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpuplug.errors import HostError
from gpuplug.streams.output import output_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpuplug.streams import Connection

_DEADLINE_S = 30.0
_LIMIT = 4096
_LINE = re.compile(rb"^gpuplug-new (ssh-ed25519 [A-Za-z0-9+/]{68})$", re.MULTILINE)
_SETTINGS = """
exec 2>/dev/null
umask 077
home=${GP_HOME:-${HOME:-/root}}
[ -r "$home/.gpuplug/env" ] && . "$home/.gpuplug/env"
etc=${GP_ETC_SSH:-/etc/ssh}
new=$etc/gpuplug_next_key
"""
_MAKE = (
    _SETTINGS
    + """
command -v ssh-keygen >/dev/null || { echo 'gpuplug-failed no ssh-keygen'; exit 1; }
rm -f "$new" "$new.pub"
ssh-keygen -q -t ed25519 -N '' -C '' -f "$new" </dev/null || { echo 'gpuplug-failed ssh-keygen failed'; exit 1; }
echo "gpuplug-new $(cut -d' ' -f1,2 "$new.pub")"
"""
)
# The mark comes before the key: with it, a start command that runs again leaves the key alone.
_SWITCH = (
    _SETTINGS
    + """
fail() { echo "gpuplug-failed $1"; exit 1; }
pid=$(cat "${GP_SSHD_PID:-/run/sshd.pid}")
if ! kill -0 "${pid:-none}"; then
  pid=
  for name in $(cd /proc && ls -d [0-9]* | sort -n); do
    [ "$(cat "/proc/$name/comm")" = sshd ] && { pid=$name; break; }
  done
fi
[ -n "$pid" ] || fail 'sshd was not found'
mkdir -p "$home/.gpuplug" && : >"$home/.gpuplug/rotated" || fail 'the mark cannot be written'
mv -f "$new.pub" "$etc/ssh_host_ed25519_key.pub" && mv -f "$new" "$etc/ssh_host_ed25519_key" ||
  { rm -f "$home/.gpuplug/rotated"; fail 'the key cannot be put in place'; }
chmod 644 "$etc/ssh_host_ed25519_key.pub"
kill -HUP "$pid" || fail 'sshd ended meanwhile'
echo gpuplug-switched
"""
)


def rotate_host_key(connection: Connection, *, before_switch: Callable[[str], None] | None = None) -> str:
    """Make a new host key on the instance, put it in place, tell sshd, and return its public line.

    Connections that are open stay open. Blocks for at most a minute. May be repeated: each call makes a new key.

    Args:
        connection: a connection to the instance that is proven already.
        before_switch: called with the new public line before the instance uses it: who stores it there is
            not locked out when the link is lost during the switch.

    Raises:
        HostError: the instance has no ssh-keygen, or the key could not be put in place; the old one stays in use.
        LinkError: the connection is lost; either key may be in use.
    """
    made = output_of(connection, _MAKE, seconds=_DEADLINE_S, limit=_LIMIT)
    line = _LINE.search(made)
    if line is None:
        raise _failure(made)
    public = line.group(1).decode()
    if before_switch is not None:
        before_switch(public)
    switched = output_of(connection, _SWITCH, seconds=_DEADLINE_S, limit=_LIMIT)
    if b"gpuplug-switched\n" not in switched:
        raise _failure(switched)
    return public


def _failure(output: bytes) -> HostError:
    reason = re.search(rb"^gpuplug-failed ([a-z -]{1,60})$", output, re.MULTILINE)
    words = reason.group(1).decode() if reason else "the instance gave no usable answer"
    return HostError(f"the host key was not rotated: {words}")
