"""Run one cell of a local notebook on a rented GPU: `%load_ext gpuplug`, then `%%remote_gpu`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gpuplug.frontends.magics.panels import Panel

__version__ = "0.1.0"
__all__ = ["__version__", "load_ipython_extension", "panel", "unload_ipython_extension"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register `%%remote_gpu` and `%gpu` in `shell`; imports no HTTP, SSH or widget library."""
    from gpuplug.frontends.magics import load  # noqa: PLC0415 - keeps `import gpuplug` free

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Close open sessions; rented instances stay and are named with what they cost."""
    from gpuplug.frontends.magics import unload  # noqa: PLC0415 - keeps `import gpuplug` free

    unload(shell)


def panel() -> Panel:
    """Return the live panel of this kernel: prices, instances, jobs and spend. Costs nothing, rents nothing by itself."""
    from gpuplug.frontends.magics.panels import Panel  # noqa: PLC0415 - keeps `import gpuplug` free

    return Panel()


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Name the server's half of the sidebar to jupyter_server, which alone calls this."""
    from gpuplug.frontends.server import PanelExtension  # noqa: PLC0415 - keeps `import gpuplug` free

    return [{"module": "gpuplug.frontends.server", "app": PanelExtension}]
