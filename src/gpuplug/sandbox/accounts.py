"""Who may do what: one account with its key, SSH keys and credit, and one key per instance."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gpuplug.sandbox.catalogue import MICROS
from gpuplug.sandbox.replies import bad_key, invalid, not_allowed

FIRST_CREDIT = 25 * MICROS


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the account, or one instance acting for itself."""

    instance: int | None = None

    def must_be_account(self) -> None:
        """Raise ApiError for an instance's key."""
        if self.instance is not None:
            raise not_allowed()

    def must_own(self, instance_id: int) -> None:
        """Raise ApiError for the key of another instance."""
        if self.instance not in {None, instance_id}:
            raise not_allowed()


class Account:
    """The only account of the market; keys follow from the seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.key = self._derive("account")
        self.credit = FIRST_CREDIT
        self.revoked = False
        self.rights: frozenset[str] | None = None  # of the account's key; None: all
        self.ssh_keys: dict[int, str] = {}
        self._instance_keys: dict[str, int] = {}
        self._numbers = 0

    def issue(self, instance_id: int) -> str:
        """Make the key that belongs to one instance."""
        key = self._derive(f"instance {instance_id}")
        self._instance_keys[key] = instance_id
        return key

    def withdraw(self, key: str) -> None:
        """Forget an instance's key."""
        self._instance_keys.pop(key, None)

    def caller(self, key: str) -> Caller:
        """Return who uses `key`.

        Raises:
            ApiError: nobody.
        """
        if key == self.key and not self.revoked:
            return Caller()
        if key in self._instance_keys:
            return Caller(self._instance_keys[key])
        raise bad_key()

    def must_have(self, right: str | None) -> None:
        """Raise ApiError when the account's key was made without `right`."""
        if right is not None and self.rights is not None and right not in self.rights:
            raise not_allowed()

    def number(self) -> int:
        """Return a number for a new SSH key."""
        self._numbers += 1
        return 500_000 + self._numbers

    def _derive(self, purpose: str) -> str:
        return hashlib.sha256(f"sandbox {self._seed} {purpose}".encode()).hexdigest()


def checked_public_key(value: object) -> str:
    """Return an OpenSSH public key line, stripped.

    Raises:
        ApiError: it is none.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not text.startswith(("ssh-", "ecdsa-", "sk-")) or " " not in text or "\n" in text:
        raise invalid("Invalid ssh key")
    return text
