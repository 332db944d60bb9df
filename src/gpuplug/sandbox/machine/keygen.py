"""A stand-in for `ssh-keygen` on computers without one: makes an ed25519 key, prints the public half or the fingerprint.

usage: keygen.py -q -t ed25519 -N '' -C '' -f FILE  |  keygen.py -y -f FILE  |  keygen.py -l -f PUBLIC_FILE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import asyncssh


def main(arguments: list[str]) -> int:
    """Do what the arguments say; 1 and a line on stderr when it cannot be done."""
    words = iter(arguments)
    options = {word: ("" if word in {"-q", "-y", "-l"} else next(words, "")) for word in words if word.startswith("-")}
    path = Path(options.get("-f", ""))
    try:
        if "-y" in options:
            sys.stdout.write(_public(asyncssh.read_private_key(path)))
            return 0
        if "-l" in options:
            sys.stdout.write(_fingerprint(asyncssh.read_public_key(path)))
            return 0
        if options.get("-t") != "ed25519" or options.get("-N"):
            sys.stderr.write("ssh-keygen: only ed25519 without a passphrase\n")
            return 1
        key = asyncssh.generate_private_key("ssh-ed25519", comment=options.get("-C") or None)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key.export_private_key("openssh"))
        Path(f"{path}.pub").write_text(_public(key))
    except (OSError, ValueError, asyncssh.KeyImportError) as error:
        sys.stderr.write(f"ssh-keygen: {error}\n")
        return 1
    return 0


def _fingerprint(key: asyncssh.SSHKey) -> str:
    kind = key.get_algorithm().removeprefix("ssh-").upper()
    return f"256 {key.get_fingerprint()} {key.get_comment() or 'no comment'} ({kind})\n"


def _public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key("openssh").decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
