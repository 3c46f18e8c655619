"""Moving stick figures: a small action data set, drawn and encoded by the project itself."""

from besnet.stick_figures.actions import CLASSES, DURATION_PAIRS, MIRROR_PAIRS, REVERSALS
from besnet.stick_figures.dataset import draw_dataset

__all__ = ["CLASSES", "DURATION_PAIRS", "MIRROR_PAIRS", "REVERSALS", "draw_dataset"]
