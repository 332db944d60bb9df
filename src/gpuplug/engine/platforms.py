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
    """Adapters by the name of their platform; each has a folder of its own below `home`.

    Whoever looks at prices first and exports a key then gets an adapter with that key.
    """

    def __init__(self, home: Path, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self._made: dict[str, Provider] = {}
        self._keys: dict[str, Secret] = {}

    def get(self, name: str) -> Provider:
        """Return the adapter of a platform, with the key that is found for it now.

        Raises:
            UnknownNameError: there is no such platform.
        """
        key = config.find_key(name)
        secret, source = (key.secret, key.source) if key else (Secret(""), "")
        if name in self._made and self._keys.get(name, secret) == secret:
            return self._made[name]
        made = load(name, Access(secret, source, config.base_url(name), str(self._home / name), self._clock))
        if name in self._made:
            self._made[name].close()
        self._made[name], self._keys[name] = made, secret
        return made

    def use(self, provider: Provider) -> None:
        """Take `provider` as the adapter of its platform; whoever made it hands it over."""
        self._made[provider.name] = provider
        self._keys.pop(provider.name, None)

    def close(self) -> None:
        """Let go of sockets; instances stay. May be repeated."""
        for provider in self._made.values():
            provider.close()
        self._made.clear()
        self._keys.clear()
