"""A network with published weights, or with a file of weights, as a model that predicts: nothing was trained here."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from besnet.checkpoints import model_folder
from besnet.checkpoints.header import LoadedCheckpoint
from besnet.checkpoints.model_folder import LoadedModel
from besnet.checkpoints.published_weights import DEFAULT, Published, of_network
from besnet.checkpoints.weights_source import Weights, resolve
from besnet.data.labels import classes_named
from besnet.models.backbones import backbone_named
from besnet.models.build import build, build_shapes
from besnet.models.loading import library_head, load_library_weights
from besnet.models.network import Normalisation
from besnet.models.video_networks import KINDS
from besnet.ranges import INPUT, check_all
from besnet.text import file_name
from besnet.version import revision, versions
from besnet.video.sampling import ClipShape

RUNS = Path("runs/published")  # what evaluations and calibrations of such a network go below


@dataclass(frozen=True)
class Input:
    """How a network takes videos; what is null is as its weights say.

    Args:
        num_frames: frames of a clip.
        frame_interval: distance of neighbours in a clip, in frames of a video at target_fps.
        target_fps: the rate that frame_interval counts in.
        sampling: dense, neighbours frame_interval apart, or uniform, a frame of each equal part of the whole video.
        crop_size: height and width, pixels.
        whole: the whole frame, between borders of the mean, instead of a crop.
        mean: of red, green and blue, 0..1, which is subtracted from the pixels.
        std: which the pixels are then divided by.
    """

    num_frames: int | None = None
    frame_interval: int | None = None
    target_fps: float | None = None
    sampling: Literal["dense", "uniform"] | None = None
    crop_size: int | None = None
    whole: bool | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        check_all(INPUT, vars(self), "--input.")


AS_STATED = Input()


def published_model(network: str, source: str, given: Input, classes: str | None = None) -> LoadedModel:
    """A network by its name with weights by their name or from a file.

    network: a video network's name, a 2D network's (then every frame is looked at, and the largest features over time
    are classified), or module:Class. source: see besnet.checkpoints.weights_source. classes: a class list of besnet's
    or a text file, in the order of the last layer. ValueError for weights that do not fit or have no last layer, and
    for clips that the network does not take.
    """
    described = described_as(network)
    named = next((one for one in of_network(network) if source in (one.name, DEFAULT)), None)
    if named is not None:  # before anything is fetched
        check_clip(network, reading(network, named, given)[0])
    weights = resolve(source, network)
    count = num_classes(weights.state, described)
    names = class_names(weights, count, classes)
    about = weights.published or weights.like
    config, normalisation = reading(network, about, given)
    model = described | {"num_classes": count, "mean": list(normalisation.mean), "std": list(normalisation.std)}
    check_clip(network, config)
    built = build(model)
    load_library_weights(built, weights.state, weights.where, new_head=False)
    trained = LoadedCheckpoint(
        network=built.eval(),
        model=model,
        classes=names,
        passport={"source": "", "encode": ""},
        config=config | {"pretrained": source},
        position={},
        ema=None,
        revision=revision(),
        versions=versions(),
    )
    run = RUNS / file_name(f"{network}-{weights.published.name if weights.published else Path(source).stem}")
    what = weights.where if weights.where.startswith(f"{network} ") else f"{network} with {weights.where}"
    said = f"{what} ({weights.digest[:16]}): {stated(config, normalisation)}"
    if weights.published is not None:
        said += f"; licence {weights.published.licence}"
    if weights.like is not None:
        said += f"; the file does not say how it takes videos: as {weights.like}"
    has_names = bool(classes or (weights.published and weights.published.classes))
    return LoadedModel(trained, weights.digest[:16], run, weights.where, said=said, named=has_names)


def check_clip(network: str, config: Mapping[str, Any]) -> None:
    """ValueError where a network of the table does not take clips of this shape."""
    if network in KINDS:
        try:
            KINDS[network].check_clip(config["data"]["clip"]["num_frames"], config["data"]["crop_size"])
        except ValueError as error:
            raise ValueError(f"{network}: {error}") from None


def described_as(network: str) -> dict[str, Any]:
    """A `model` section for a network's name. ValueError where there is none of this name."""
    if network in KINDS or ":" in network:
        return {"network": network}
    near = difflib.get_close_matches(network, KINDS, n=1)
    try:
        backbone_named(network)
    except ValueError:
        if near or network == "besnet":
            hint = f"did you mean {near[0]!r}?" if near else "name its backbone, or a checkpoint with --ckpt_path"
            raise ValueError(f"--network {network}: no network of this name has published weights: {hint}") from None
        raise
    return {"backbone": network, "dilations": []}


def num_classes(state: Mapping[str, Tensor], described: Mapping[str, Any]) -> int:
    """How many classes weights know: the outputs of their last layer; 1 where they have none."""
    if ":" in described.get("network", ""):
        return next((len(value) for value in reversed([*state.values()]) if value.ndim > 1), 1)
    head = library_head(build_shapes({**described, "num_classes": 1}))
    return len(state[f"{head}.weight"]) if f"{head}.weight" in state else 1


def class_names(weights: Weights, count: int, classes: str | None) -> list[str]:
    """The names of the classes in the order of the last layer: the user's, the weights' own, or their numbers."""
    if classes is not None:
        names = classes_named(classes)
        if len(names) != count:
            raise ValueError(f"--classes {classes}: {len(names)} names for the {count} classes of {weights.where}")
        return names
    own = weights.published.classes if weights.published else ()
    return list(own) if own else [f"class {number}" for number in range(count)]


def reading(network: str, about: Published | None, given: Input) -> tuple[dict[str, Any], Normalisation]:
    """The parts of a config that say how a network takes videos, and its normalisation.

    ValueError that names what neither the weights nor the user say.
    """
    plan = about.clip if about else None
    stated: dict[str, Any] = {"target_fps": ClipShape.target_fps, "sampling": ClipShape.sampling}
    if given.sampling == "uniform":
        stated["frame_interval"] = ClipShape.frame_interval  # without a meaning
    if plan is not None:
        stated |= {name: getattr(plan, name) for name in ("num_frames", "frame_interval", "target_fps")}
    if about is not None:
        stated |= {"crop_size": about.crop_size, "mean": about.normalisation.mean, "std": about.normalisation.std}
    stated |= {name: value for name, value in vars(given).items() if value is not None}
    lacking = [f"--input.{name}" for name in vars(given) if name not in stated and name != "whole"]
    if lacking:
        raise ValueError(f"{network}: its weights do not say how it takes videos: give {', '.join(lacking)}")
    shape = {name: stated[name] for name in ("num_frames", "frame_interval", "target_fps", "sampling")}
    evaluation: dict[str, Any] = {"num_clips": plan.num_clips, "num_crops": plan.num_crops} if plan else {}
    if given.whole:
        evaluation |= {"whole": True, "num_crops": 1}
    elif about is not None and given.crop_size is None:
        evaluation["short_side"] = about.short_side
    config = {"data": {"folder": "", "clip": shape, "crop_size": stated["crop_size"]}, "evaluation": evaluation}
    return config, Normalisation(stated["mean"], stated["std"])


def stated(config: Mapping[str, Any], normalisation: Normalisation) -> str:
    """How a network takes videos, in a few words."""
    clip, mean, std = config["data"]["clip"], *(" ".join(f"{v:.3g}" for v in values) for values in normalisation)
    rate = f"at {clip['target_fps'] / clip['frame_interval']:g} fps"
    if clip["sampling"] == "uniform":
        rate = "spread over the video"
    return f"{clip['num_frames']} frames {rate}, {config['data']['crop_size']} pixels, mean {mean}, std {std}"


def chosen(
    ckpt_path: Path | None, network: str | None, weights: str | None, given: Input, classes: str | None
) -> LoadedModel:
    """The model that a command line names: a checkpoint, run or model folder, or a network with weights.

    ValueError where it names neither, or both.
    """
    if weights is None:
        if ckpt_path is None:
            raise ValueError("needs --ckpt_path, or --network with --weights")
        if given != AS_STATED or classes is not None:
            raise ValueError("--input and --classes go with --weights: a checkpoint brings its own")
        return model_folder.given(ckpt_path, network)
    if ckpt_path is not None:
        raise ValueError("--ckpt_path and --weights name two networks: give one of them")
    if network is None:
        raise ValueError(f"--weights {weights}: name the network that they are for with --network")
    return published_model(network, weights, given, classes)
