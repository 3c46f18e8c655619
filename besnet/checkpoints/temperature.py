"""What is fitted on validation videos: the temperature that makes probabilities honest, or the threshold of each of
several labels; and the file that a run keeps it in."""

from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

from besnet.reading import read_json
from besnet.schema import Count, Hash, Length, Name, Within

FILE = "calibration.json"
LEAST, MOST = 0.2, 20.0  # below, hardly anything but the largest probability is left; above, hardly a difference
Temperature = Annotated[float, Within(LEAST, MOST)]
Thresholds = Annotated[list[Annotated[float, Within(0, 1)]], Length(0, 100_000)]
UNKNOWN = 0.5  # the threshold of a class without validation videos


class FittedOn(TypedDict):
    """The videos that a temperature was fitted on; training_videos: how many of them the network was trained on."""

    split: Name
    passport: dict[str, Hash]
    videos: Count
    training_videos: NotRequired[Count]


class Fitted(TypedDict):
    """A temperature, or where a video has several labels the threshold of each class."""

    temperature: NotRequired[Temperature]
    thresholds: NotRequired[Thresholds]


class Calibration(TypedDict):
    """calibration.json: what was fitted; checkpoint: the hash of the one whose probabilities were fitted."""

    temperature: NotRequired[Temperature]
    thresholds: NotRequired[Thresholds]
    checkpoint: Hash
    fitted_on: NotRequired[FittedOn]


def check_thresholds(thresholds: list[float] | None, classes: list[str], where: str) -> None:
    """ValueError that names `where` they are unless there is one for each class."""
    if thresholds is not None and len(thresholds) != len(classes):
        raise ValueError(
            f"{where}: {len(thresholds)} thresholds for {len(classes)} classes: run besnet calibrate again"
        )


def stored_temperature(run: Path, checkpoint_hash: str) -> Calibration | None:
    """What `besnet calibrate` has stored in a run's folder for this checkpoint, or None. ValueError if the file holds
    anything else."""
    try:
        found: Calibration = read_json(run / FILE, Calibration, "calibration")
    except FileNotFoundError:
        return None
    return found if found["checkpoint"] == checkpoint_hash else None
