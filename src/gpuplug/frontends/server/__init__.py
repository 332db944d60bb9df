"""The server's half of the sidebar: the door to jupyter_server, enabled by installing with the extra `lab`."""

from __future__ import annotations

from gpuplug.frontends.server.app import PanelExtension

__all__ = ["PanelExtension"]
