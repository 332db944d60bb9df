"""The adapters of this process, each made at its first use with the key that is found for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuplug import config
from gpuplug.providers import Access, Provider, load
from gpuplug.types import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from gpuplug.types import Clock


class Platforms:
    """Adapters by the name of their platform; each has a folder of its own below `home`."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self._made: dict[str, Provider] = {}

    def get(self, name: str) -> Provider:
        """Return the adapter of a platform.

        Raises:
            UnknownNameError: there is no such platform.
        """
        if name not in self._made:
            key = config.find_key(name)
            secret, source = (key.secret, key.source) if key else (Secret(""), "")
            folder = str(self._home / name)
            self._made[name] = load(name, Access(secret, source, config.base_url(name), folder, self._clock))
        return self._made[name]

    def use(self, provider: Provider) -> None:
        """Take `provider` as the adapter of its platform; whoever made it hands it over."""
        self._made[provider.name] = provider

    def close(self) -> None:
        """Let go of sockets; instances stay. May be repeated."""
        for provider in self._made.values():
            provider.close()
        self._made.clear()
