"""A server that shows a market with real machines, as one browser uses it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_kit import JupyterServer, jupyter
from sandbox_kit import RunningMarket, market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Place:
    """A market, a server that shows it, and the home that server and kernels share."""

    shop: RunningMarket
    server: JupyterServer
    home: Path

    def rent(self, notebook: str = "a.ipynb") -> dict[str, Any]:
        """Rent the first offer for a notebook as a browser does, and return the pod."""
        self.server.look()
        self.server.until(lambda: self.server.get("prices")["items"])
        offer = self.server.get("prices")["items"][0]
        status, quote = self.server.post("quote", {"offer": offer["id"], "notebook": notebook})
        assert status == 200, quote
        assert self.act("rent", quote=quote["quote"])["state"] == "done"
        (pod,) = [each for each in self.server.pods() if each["billing"]]
        return pod

    def act(self, action: str, **body: object) -> dict[str, Any]:
        """Do one action to its end."""
        status, begun = self.server.post(f"actions/{action}", body)
        assert status == 202, begun
        return self.server.finish(begun["operation"])

    def pod(self, label: str) -> dict[str, Any]:
        """Return one pod as it is shown now."""
        return next(each for each in self.server.pods() if each["id"] == label)

    def destroy_all(self) -> None:
        """Destroy whatever can be."""
        for pod in self.server.pods() or ():
            if pod["may"]["destroy"]:
                self.act("destroy", id=pod["id"])


@contextlib.contextmanager
def at(home: Path) -> Iterator[Place]:
    """Open a market and a server that shows it, behind a base URL."""
    with market(seed=7) as shop, jupyter(home, base_url="/hub/", **shop.env) as server:
        yield Place(shop, server, home)
