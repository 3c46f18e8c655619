"""How all figures are drawn: without a screen, and with names as they are written."""

import io
import warnings
from typing import Any

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["text.parse_math"] = False  # a `$` in a name is no formula

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def blank(*arguments: Any, **named: Any) -> Any:
    """A new figure with its axes, as pyplot's `subplots` gives them."""
    return plt.subplots(*arguments, **named)


def png(figure: Figure) -> bytes:
    """A figure as a PNG; it is closed."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        warnings.filterwarnings("ignore", message=".*layout not applied.*")
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()
