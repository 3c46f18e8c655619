"""Predictions as files: those of many videos as JSON, those along one as a table and a picture."""

from pathlib import Path
from typing import Any

from besnet import files
from besnet.files import replacing, write_table
from besnet.formats import stamp
from besnet.predict.model import Model, Prediction


def write_json(file: Path, model: Model, found: dict[Path, Prediction], failed: dict[Path, str]) -> None:
    """The predictions as JSON: five classes for each video, and its labels where it may have several; or the reason for
    none."""
    videos: list[dict[str, Any]] = [
        {
            "video": str(path),
            "predictions": probabilities_of(one.top()),
            "looped": one.looped,
        }
        | ({} if one.thresholds is None else {"labels": probabilities_of(one.labels())})
        for path, one in found.items()
    ]
    videos += [{"video": str(path), "why": why} for path, why in failed.items()]
    about: dict[str, Any] = {
        "calibrated": model.calibrated,
        "num_clips": model.plan.num_clips,
        "num_crops": model.plan.num_crops,
    }
    if model.thresholds is not None:
        about["thresholds"] = dict(zip(model.classes, model.thresholds.tolist(), strict=True))
    files.write_json(file, stamp("predictions") | model.origin | about | {"videos": videos})
    print(f"predictions: {file}")


def probabilities_of(pairs: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """Classes and their probabilities, as JSON has them."""
    return [{"class": name, "probability": share} for name, share in pairs]


def write_timeline(table: Path, prediction: Prediction) -> None:
    """A CSV file (a line for each clip) and a picture of one video."""
    from besnet.predict.pictures import timeline as draw
    from besnet.report.drawing import png

    rows = [["start_sec", "end_sec", "prediction", *prediction.classes]]
    for (start_sec, end_sec), shares in zip(prediction.times_sec, prediction.clips, strict=True):
        names = "; ".join(prediction.names(shares))
        rows.append([f"{start_sec:.3f}", f"{end_sec:.3f}", names, *(f"{share:.4f}" for share in shares)])
    write_table(table, rows)
    with replacing(table.with_suffix(".png")) as file:
        file.write(png(draw(prediction)))
    print(f"timeline: {table} and {table.with_suffix('.png').name}")
