"""Key pairs of one instance: made here, in the form that SSH writes them."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gpuplug.errors import HostError
from gpuplug.types import Secret


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ed25519 key: `private` in OpenSSH form, `public` one line, "ssh-ed25519 AAAA..."."""

    private: Secret
    public: str


def make_key() -> KeyPair:
    """Make a new key pair; nothing is stored."""
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()
    return KeyPair(Secret(text), _public_text(key))


def public_line(private: Secret) -> str:
    """Return the public half of an ed25519 key in OpenSSH form as "ssh-ed25519 AAAA...".

    Raises:
        HostError: it is no such key.
    """
    try:
        key = serialization.load_ssh_private_key(private.reveal().encode(), password=None)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        msg = "the private key is no ed25519 key in OpenSSH form"
        raise HostError(msg) from None
    return _public_text(key)


def _public_text(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
