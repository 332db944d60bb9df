"""How prices went, as a figure in the notebook. Called from the main thread only."""

from __future__ import annotations

import base64
import datetime as dt
import importlib.util
import io
from typing import TYPE_CHECKING

from IPython.display import publish_display_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpuplug.market import Series

_SIZE_INCHES = (7.0, 3.2)
_MOST_SERIES = 8


def draw(found: Sequence[Series], text: str) -> bool:
    """Show the lowest prices over time, with `text` for front ends that show none; False without matplotlib.

    Draws on a canvas of its own: neither the user's figures nor the chosen backend notice.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.dates import date2num  # noqa: PLC0415 - only when something is drawn
    from matplotlib.figure import Figure  # noqa: PLC0415 - likewise

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    for each in found[:_MOST_SERIES]:
        times = [dt.datetime.fromtimestamp(sample.at, dt.timezone.utc) for sample in each.samples]
        axes.plot(date2num(times), [sample.low.micros / 1e6 for sample in each.samples], ".-", label=each.title)
    axes.xaxis_date()
    axes.set_ylabel("lowest $/h for one GPU")
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", rotation=20)
    axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    publish_display_data({"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": text})
    return True
