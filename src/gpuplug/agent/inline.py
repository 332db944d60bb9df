"""The matplotlib backend of a kernel: figures become PNGs in the cell. Loaded by matplotlib, never before it."""

import io
from typing import Any, Dict

from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from . import figures

FigureCanvas = FigureCanvasAgg
FigureManager = FigureManagerBase


def new_figure_manager(num: int, *args: Any, FigureClass: Any = Figure, **kwargs: Any) -> Any:  # noqa: ANN401, N803 - matplotlib's signature
    """Return the manager of a new figure."""
    return new_figure_manager_given_figure(num, FigureClass(*args, **kwargs))


def new_figure_manager_given_figure(num: int, figure: Any) -> Any:  # noqa: ANN401 - matplotlib's signature
    """Return the manager of `figure`."""
    return FigureManagerBase(FigureCanvasAgg(figure), num)


def show(*_args: object, **_kwargs: object) -> None:
    """Display every open figure where the cell is now, and close it."""
    for manager in Gcf.get_all_fig_managers():
        figure = manager.canvas.figure
        Gcf.destroy(manager)
        figures.publish(_forms(figure))


def draw_if_interactive() -> None:
    """Do nothing: figures are shown when they are complete."""


def _png(figure: Any) -> bytes:  # noqa: ANN401 - matplotlib has no types here
    image = io.BytesIO()
    figure.savefig(image, format="png", bbox_inches="tight")
    return image.getvalue()


def _forms(figure: Any) -> Dict[str, Any]:  # noqa: ANN401 - likewise
    return {"image/png": _png(figure), "text/plain": repr(figure)}


# A figure that is the value of a cell is shown as an image, in IPython and without it.
Figure._repr_png_ = _png  # type: ignore[attr-defined]
