"""The verbs `predict` and `features`: predictions and features of files and folders of videos."""

import math
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from besnet.checkpoints.header import LoadedCheckpoint
from besnet.checkpoints.published_model import AS_STATED, Input, chosen
from besnet.data.known import known_files
from besnet.data.order import sample
from besnet.data.prepare.files import Folder
from besnet.files import replacing, write_arrays
from besnet.predict.model import Model, Prediction, with_calibration
from besnet.predict.spans import check_background, spans_of, write_spans
from besnet.predict.writing import write_json, write_timeline
from besnet.progress import Meter
from besnet.text import visible
from besnet.watchdog import Pulse, watched

Found = TypeVar("Found")
MOST_DRAWN = 100  # videos of one picture
FAILED = 1  # exit code where some video could not be read


def predict(
    videos: list[Path],
    ckpt_path: Path | None = None,
    network: str | None = None,
    weights: str | None = None,
    input: Input = AS_STATED,
    classes: str | None = None,
    num_clips: int | None = None,
    num_crops: int | None = None,
    json: Path | None = None,
    sheet: Path | None = None,
    timeline: Path | None = None,
    every_sec: float | None = None,
    background: str | None = None,
    device: str = "auto",
    watchdog_minutes: float = 30.0,
) -> int:
    """Predict the five most probable classes of each video; where videos have several labels, all above a threshold.

    A file that cannot be read gives one line, and the other videos are still predicted; the exit code is then 1.

    Args:
        videos: video files, or folders of them.
        ckpt_path: model folder, run folder (its newest valid checkpoint) or checkpoint file.
        network: with --weights, the network that they are for: a video network (mvit_v2_s), a 2D network of timm or
            torchvision, or module:Class; with --ckpt_path, the class of its network where that is your own.
        weights: instead of a checkpoint: published weights by name (KINETICS400_V1), or a file of weights.
        input: how the network takes videos, where it is not as the weights say.
        classes: names for the classes of --weights: a list of besnet's (kinetics400) or a text file.
        num_clips: clips per video; by default as in the model's config.
        num_crops: crops per clip; by default as in the model's config.
        json: also write the predictions to this file.
        sheet: also draw a PNG with the most confident clip of each video and its class activation map.
        timeline: folder for files of each video: the predictions over time as CSV and as a picture, and its spans (from
            when to when it shows a class) as CSV and JSON.
        every_sec: seconds between the clips of a timeline; by default half a clip's length. With data.clip.sampling
            uniform it is the length of the windows that a video is cut into, and required.
        background: class that gives no spans.
        device: auto, cpu, cuda or cuda:N.
        watchdog_minutes: minutes without progress after which the process names the video and exits with code 69.
    """
    if every_sec is not None and (not 0 < every_sec < math.inf or timeline is None):
        raise ValueError("--every_sec must be above 0, and goes with --timeline")
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise ValueError(f"--sheet {sheet}: the picture is a PNG: give it a name that ends with .png")
    files = listed(videos)
    names = dict(zip(files, short_names(files), strict=True))
    check_writable([path for path in (json, sheet, timeline and timeline / "x") if path is not None])
    given = with_calibration(chosen(ckpt_path, network, weights, input, classes))
    model = Model(given, device, num_clips, num_crops)
    if given.said:
        print(given.said)
    check_background(model, background)
    print(calibration_line(model))

    def predict_one(file: Path) -> Prediction:
        found = model.predict(file)
        shown = found.top() if found.thresholds is None else found.labels()
        top = ", ".join(f"{visible(name)} {100 * share:.1f} %" for name, share in shown) or none_line(found)
        print(f"{visible(str(file))}: {top}" + (" (shorter than a clip, looped)" if found.looped else ""), flush=True)
        if timeline is not None:
            along = model.timeline(file, every_sec)
            write_timeline(timeline / f"{names[file]}.csv", along)
            write_spans(timeline / names[file], spans_of(along, str(file), background))
        return found

    found, failed = each(files, predict_one, watchdog_minutes)
    warn_of_known(found, given.trained, watchdog_minutes)
    if json is not None:
        write_json(json, model, found, failed)
    if sheet is not None and found:
        from besnet.predict.pictures import sheet as draw_sheet

        drawn = [list(found.values())[number] for number in sorted(sample(np.arange(len(found)), MOST_DRAWN))]
        with replacing(sheet) as file:
            draw_sheet(model, drawn).save(file, format="png")
        some = f" ({len(drawn)} of the {len(found)} videos, drawn)" if len(drawn) < len(found) else ""
        print(f"picture: {sheet}{some}")
    return FAILED if failed else 0


def features(
    videos: list[Path],
    ckpt_path: Path | None = None,
    network: str | None = None,
    weights: str | None = None,
    input: Input = AS_STATED,
    out: Path = Path("features.npz"),
    num_clips: int | None = None,
    num_crops: int | None = None,
    device: str = "auto",
    watchdog_minutes: float = 30.0,
) -> int:
    """Extract the features of videos into an NPZ with `features` (N, C) and `videos` (N,).

    Args:
        videos: video files, or folders of them.
        ckpt_path: model folder, run folder (its newest valid checkpoint) or checkpoint file.
        network: with --weights, the network that they are for: a video network (mvit_v2_s), a 2D network of timm or
            torchvision, or module:Class; with --ckpt_path, the class of its network where that is your own.
        weights: instead of a checkpoint: published weights by name (KINETICS400_V1), or a file of weights.
        input: how the network takes videos, where it is not as the weights say.
        out: the file to write.
        num_clips: clips per video; by default as in the model's config.
        num_crops: crops per clip; by default as in the model's config.
        device: auto, cpu, cuda or cuda:N.
        watchdog_minutes: minutes without progress after which the process names the video and exits with code 69.
    """
    if out.suffix != ".npz":
        raise ValueError(f"--out {out}: give it a name that ends with .npz")
    files = listed(videos)
    check_writable([out])
    given = chosen(ckpt_path, network, weights, input, None)
    model = Model(given, device, num_clips, num_crops)
    if given.said:
        print(given.said)
    found, failed = each(files, model.features, watchdog_minutes)
    warn_of_known(found, given.trained, watchdog_minutes)
    if not found:
        raise ValueError("none of the videos could be read: no file was written")
    write_arrays(out, features=np.stack(list(found.values())), videos=np.array([str(file) for file in found]))
    print(f"{out}: {len(found)} videos x {len(next(iter(found.values())))} features")
    return FAILED if failed else 0


def warn_of_known(files: Collection[Path], trained: LoadedCheckpoint, watchdog_minutes: float) -> None:
    """Say how many of the files the network was trained on."""
    if trained.trained_on is None:
        return
    with watched(watchdog_minutes) as pulse:
        known = known_files(files, trained.trained_on.numpy(), pulse)
    if known:
        print(
            f"WARNING: the network was trained on {len(known)} of these {len(files)} videos, or on parts of them (the "
            f"first: {visible(str(known[0]))}): results on them do not show how well it does on new videos"
        )


def each(
    files: list[Path], work: Callable[[Path], Found], watchdog_minutes: float
) -> tuple[dict[Path, Found], dict[Path, str]]:
    """The results of `work` for every file that can be read, and the reasons for the others."""
    with watched(watchdog_minutes) as pulse:
        return _each(files, work, pulse)


def _each(files: list[Path], work: Callable[[Path], Found], pulse: Pulse) -> tuple[dict[Path, Found], dict[Path, str]]:
    found: dict[Path, Found] = {}
    failed: dict[Path, str] = {}
    meter = Meter(len(files), "videos", quiet=len(files) < 10)
    for file in files:
        pulse(str(file))
        try:
            found[file] = work(file)
        except (ValueError, OSError) as error:
            failed[file] = " ".join(str(error).removeprefix(f"{file}: ").split())
            print(f"{visible(str(file))}: no prediction: {failed[file]}", flush=True)
        meter.add(1)
    meter.close()
    return found, failed


def listed(videos: list[Path]) -> list[Path]:
    """The files and the videos in the folders. ValueError if there are none."""
    files = list(dict.fromkeys(_listed(videos)))
    if not files:
        raise ValueError(f"{', '.join(map(str, videos)) or 'nothing'}: no video found: give files or folders of videos")
    return files


def _listed(videos: list[Path]) -> Iterator[Path]:
    """Prints what is left out of a folder; a folder that cannot be listed counts as a file that cannot be read."""
    for path in videos:
        if not path.is_dir():
            yield path
            continue
        files = Folder(path).walked()
        if left_out := [*filter(None, [files.not_videos()]), *(f"prepared data in {at}" for at in files.prepared)]:
            print(f"{path}: left out: {', '.join(left_out)}", flush=True)
        yield from (path / name for name in files.videos)
        yield from map(Path, files.closed)


def check_writable(files: list[Path]) -> None:
    """OSError, before any work is done, if a file cannot be written there."""
    for file in files:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"{file}: cannot be written ({error.strerror}): choose another path") from error
        if not os.access(file.parent, os.W_OK) or file.is_dir():
            raise OSError(f"{file}: cannot be written: choose another path")


def calibration_line(model: Model) -> str:
    """What the probabilities mean, in one line."""
    if model.thresholds is not None:
        how = (
            "chosen by besnet calibrate" if model.calibrated else "0.5 for every class (besnet calibrate chooses them)"
        )
        return f"several labels per video: the classes above their thresholds, {how}"
    if model.temperature is not None:
        return f"probabilities are calibrated with temperature {model.temperature:.2f}"
    return "probabilities are not calibrated (see besnet calibrate)"


def none_line(found: Prediction) -> str:
    """What is said of a video that shows none of the classes."""
    name, share = found.top(1)[0]
    return f"none of the classes (the most probable: {visible(name)} {100 * share:.1f} %)"


def short_names(files: list[Path]) -> list[str]:
    """Names of one kind for all files, the shortest that are distinct: without extension, with it, or numbered."""
    for names in ([file.stem for file in files], [file.name for file in files]):
        if len(set(names)) == len(names):
            return names
    return [f"{number:0{len(str(len(files)))}}_{file.stem}" for number, file in enumerate(files, start=1)]
