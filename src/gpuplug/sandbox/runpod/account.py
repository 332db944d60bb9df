"""RunPod's one account: its key, its SSH keys, its money, and the key that each pod has for itself."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass

from gpuplug.sandbox.accounts import FIRST_CREDIT
from gpuplug.sandbox.runpod.problems import Problem

SPEND_LIMIT = 80
USER_ID = "user_2sandbox00000000000000000"
EMAIL = "sandbox@example.invalid"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the account, or one pod acting for itself."""

    pod: str | None = None

    def must_be_account(self) -> None:
        """Raise Problem for a pod's key."""
        if self.pod is not None:
            raise Problem(403, "this key is not allowed to do that")

    def must_own(self, pod_id: str) -> None:
        """Raise Problem for the key of another pod."""
        if self.pod not in {None, pod_id}:
            raise Problem(403, "this key is not allowed to do that")


class Account:
    """Keys follow from the seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.key = self._derive("account")
        self.credit = FIRST_CREDIT
        self.revoked = False
        self.may_write = True  # whether the account's key was given more than reading
        self.ssh_keys: list[str] = []
        self.calls: deque[float] = deque()
        self._pods: dict[str, str] = {}

    def issue(self, pod_id: str) -> str:
        """Make the key of one pod."""
        key = self._derive(f"pod {pod_id}")
        self._pods[key] = pod_id
        return key

    def withdraw(self, key: str) -> None:
        """Forget a pod's key."""
        self._pods.pop(key, None)

    def caller(self, key: str) -> Caller:
        """Return who uses `key`.

        Raises:
            Problem: nobody.
        """
        if not key:
            raise Problem(401, "missing bearer token")
        if key == self.key and not self.revoked:
            return Caller()
        if key in self._pods:
            return Caller(self._pods[key])
        raise Problem(401, "invalid bearer token")

    def _derive(self, purpose: str) -> str:
        digest = hashlib.sha256(f"sandbox runpod {self._seed} {purpose}".encode()).hexdigest()
        return f"rpa_{digest[:46].upper()}"
