"""The one temperature that makes a network's probabilities honest: its bounds, and the file that a run keeps it in."""

from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

from besnet.reading import read_json
from besnet.schema import Count, Hash, Name, Within

FILE = "calibration.json"
LEAST, MOST = 0.2, 20.0  # below, hardly anything but the largest probability is left; above, hardly a difference
Temperature = Annotated[float, Within(LEAST, MOST)]


class FittedOn(TypedDict):
    """The videos that a temperature was fitted on; training_videos: how many of them the network was trained on."""

    split: Name
    passport: dict[str, Hash]
    videos: Count
    training_videos: NotRequired[Count]


class Calibration(TypedDict):
    """calibration.json; checkpoint: the hash of the one whose probabilities were fitted."""

    temperature: Temperature
    checkpoint: Hash
    fitted_on: NotRequired[FittedOn]


def stored_temperature(run: Path, checkpoint_hash: str) -> Calibration | None:
    """What `besnet calibrate` has stored in a run's folder for this checkpoint, or None. ValueError if the file holds
    anything else."""
    try:
        found: Calibration = read_json(run / FILE, Calibration, "calibration")
    except FileNotFoundError:
        return None
    return found if found["checkpoint"] == checkpoint_hash else None
