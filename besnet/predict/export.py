"""A trained network for others: a model folder, or one file for other runtimes (torch.export or ONNX)."""

import contextlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from besnet.checkpoints import model_folder
from besnet.checkpoints.published_model import AS_STATED, Input, chosen
from besnet.evaluation.stored import read_results
from besnet.evaluation.views import Settings, ViewPlan, evaluation_crop_size, settings
from besnet.files import replacing, write_json
from besnet.formats import stamp
from besnet.models.folding import fold
from besnet.models.network import Network
from besnet.predict.model import with_calibration

SUFFIX = {"folder": "", "onnx": ".onnx", "torch-export": ".pt2"}
PLACES = {
    "dense": "frames frame_interval / target_fps seconds apart, or, where target_fps is null, frame_interval frames of "
    "the video apart; at each time the frame that is on the screen. One clip is in the middle of the video; several "
    "are spread evenly, the first at its beginning and the last at its end. A shorter video is repeated",
    "uniform": "the video is cut into num_frames equal segments; the clip n (from 0) has the frame on the screen at "
    "(n + 0.5) / num_clips of each; frame_interval and target_fps have no meaning",
}
SOFTMAX = (
    "p = the mean, over all num_clips x num_crops views of a video, of softmax(logits); and where temperature is a "
    "number: softmax(log(max(p, 1e-12)) / temperature)"
)
SIGMOID = (
    "p = the mean, over all num_clips x num_crops views of a video, of sigmoid(logits), of each class by itself; a "
    "video has the label of every class whose p is at least its number in thresholds (0.5 where thresholds is null)"
)
CLOSE = 1e-4  # the largest difference of an exported file's logits, as a share of the largest logit


def export(
    ckpt_path: Path | None = None,
    network: str | None = None,
    weights: str | None = None,
    input: Input = AS_STATED,
    classes: str | None = None,
    to: Literal["folder", "onnx", "torch-export"] = "folder",
    out: Path | None = None,
) -> None:
    """Write a trained network for others to use, and compare what was written with the network.

    Args:
        ckpt_path: run folder (its newest good checkpoint is taken), checkpoint file or model folder.
        network: with --weights, the network that they are for, see `besnet predict --help`; with a checkpoint, the
            class of its network where that is your own.
        weights: instead of a checkpoint: published weights by name (KINETICS400_V1), or a file of weights.
        input: how the network takes videos, where it is not as the weights say.
        classes: names for the classes of --weights: a list of besnet's (kinetics400) or a text file.
        to: `folder` for a model folder, which predict takes like a checkpoint (model.safetensors, model.json and the
            fingerprints of the training videos, trained_on.safetensors; nothing in it can execute); `onnx` for
            onnxruntime and others, `torch-export` for torch.export.load: one file each, with averaged dilations, and a
            JSON file that describes inputs and outputs.
        out: what to write; by default in the folder `exports` of the run.
    """
    given = with_calibration(chosen(ckpt_path, network, weights, input, classes))
    if given.said:
        print(given.said)
    if out is None and given.run is None:
        raise ValueError("--out is needed: a model folder belongs to no run")
    target = out or Path(str(given.run)) / "exports" / f"model-{given.hash}{SUFFIX[to]}"
    if to != "folder" and target.suffix != SUFFIX[to]:
        raise ValueError(f"--out {target}: the name of a file for --to {to} must end with {SUFFIX[to]}")
    target.parent.mkdir(parents=True, exist_ok=True)
    config = settings(given.trained.config, given.name)
    if config["evaluation"].whole == "borderless" and to != "folder":
        raise ValueError(f"{given.name}: sees frames of any shape (data.crop.kind borderless): export it --to folder")
    num_frames = config["data"]["clip"].num_frames
    crop_size = evaluation_crop_size(config)
    exported = given.trained.network
    about = contract(given, config)
    run: Callable[[Tensor], Tensor]
    if to == "folder":
        model_folder.write(target, given, about, metrics(given))
        own = str(given.trained.model.get("network", "besnet"))
        run = fold(model_folder.read(target, own).trained.network)
    elif to == "onnx":
        export_onnx(exported, target, num_frames, crop_size)
        run = onnx_session(target)
    else:
        with warnings.catch_warnings():
            # torch warns about storages without a contiguous tensor; channels-last filters are complete, too
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            with replacing(target) as file:
                torch.export.save(export_program(exported, num_frames, crop_size), file)
            run = torch.export.load(target).module()
    if to != "folder":
        fitted = {"temperature": given.temperature, "thresholds": given.thresholds}
        write_json(target.with_suffix(".json"), stamp("model") | about | fitted)
    off = difference(run, exported, num_frames, crop_size)
    if not off <= CLOSE:
        raise ValueError(
            f"{target}: its logits differ from the network's by {off:.1e} of the largest, more than {CLOSE}: not usable"
        )
    size = sum(file.stat().st_size for file in ([target] if target.is_file() else target.iterdir())) / 1e6
    print(f"{target}: {size:.1f} MB; its logits differ from the network's by at most {off:.1e} of the largest")


def difference(run: Callable[[Tensor], Tensor], network: Network, num_frames: int, crop_size: int) -> float:
    """The largest difference of logits, on three clips of noise, as a share of the largest logit."""
    noise = torch.randn(3, 3, num_frames, crop_size, crop_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = fold(network)(noise)
        return float((run(noise) - expected).abs().max() / expected.abs().max().clamp(min=1e-9))


def onnx_session(file: Path) -> Callable[[Tensor], Tensor]:
    """The network of an ONNX file, run by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda clips: torch.from_numpy(session.run(None, {"clips": clips.numpy()})[0])


def contract(given: model_folder.LoadedModel, config: Settings) -> dict[str, Any]:
    """The inputs and outputs of a network, and how its logits become besnet's probabilities."""
    shape, plan = config["data"]["clip"], config["evaluation"]
    crop_size = evaluation_crop_size(config)
    several = given.trained.multi_label
    return {
        "checkpoint": given.hash,
        "input": {
            "name": "clips",
            "shape": ["any number", 3, shape.num_frames, crop_size, crop_size],
            "type": "float32 RGB, 0..255, minus mean, over std; channels, frames, height, width",
            "resize": resized(plan, crop_size),
            "mean": [255 * value for value in given.trained.network.mean],
            "std": [255 * value for value in given.trained.network.std],
            "clip": asdict(shape),
            "num_clips": plan.num_clips,
            "clips": PLACES[shape.sampling],
            "num_crops": plan.num_crops,
            "crops": "one is in the middle; several are spread evenly, the first at the beginning of the longer side "
            "and the last at its end",
        },
        "output": {
            "name": "logits",
            "shape": ["any number", given.trained.network.num_classes],
            "classes": given.trained.classes,
            "multi_label": several,
            "activation": "sigmoid" if several else "softmax",
            "probabilities": SIGMOID if several else SOFTMAX,
        },
    }


def resized(plan: ViewPlan, crop_size: int) -> str:
    """How a frame becomes the squares that the network takes."""
    if plan.whole == "borderless":
        return f"long side to {crop_size} pixels, bilinear and antialiased"
    if plan.whole:
        return (
            f"long side to {crop_size} pixels, bilinear and antialiased; then put in the middle of a square of "
            f"{crop_size} whose border is mean"
        )
    return (
        f"short side to {plan.short_side or crop_size} pixels, bilinear and antialiased; then squares of "
        f"{crop_size} along the longer side, in the middle of the shorter one"
    )


def metrics(given: model_folder.LoadedModel) -> dict[str, Any]:
    """The results of finished evaluations of this checkpoint, by the evaluation's name: data, coverage and accuracy."""
    found = {}
    for path in sorted(given.run.glob("evaluations/*/results.json")) if given.run else []:
        with contextlib.suppress(ValueError, OSError):  # of another version, or an ensemble
            results = read_results(path)
            if results["checkpoint"]["hash"] == given.hash:
                found[path.parent.name] = {
                    "data": results["data"],
                    "split": results["split"],
                    "coverage": results["coverage"],
                    "accuracy": results["accuracy"],
                    **({"map": found_map["map"]} if (found_map := results.get("average_precision")) else {}),
                    "trained_on": results.get("trained_on"),
                }
    return found


def export_program(model: Network, num_frames: int, crop_size: int) -> ExportedProgram:
    """The folded network as a torch.export program: clips float32 (B, 3, num_frames, crop_size, crop_size), any B."""
    return torch.export.export(
        fold(model), (example(model, num_frames, crop_size),), dynamic_shapes=({0: Dim("clips")},)
    )


def export_onnx(model: Network, file: Path, num_frames: int, crop_size: int) -> None:
    """Write the folded network as ONNX (input "clips" of any batch size, output "logits").

    Needs the packages onnx and onnxscript; raises ValueError naming them where they are missing.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise ValueError("ONNX export needs more packages: pip install 'besnet[export]'") from None
    with warnings.catch_warnings():
        # The exporter warns about its own use of deprecated functions, of which nobody here can do anything.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            fold(model).cpu(),
            (example(model, num_frames, crop_size).cpu(),),
            dynamo=True,
            verbose=False,
            input_names=["clips"],
            output_names=["logits"],
            dynamic_shapes=({0: Dim("clips")},),
            external_data=False,
        )
    assert program is not None
    with replacing(file) as stream:
        stream.write(program.model_proto.SerializeToString())


def example(model: Network, num_frames: int, crop_size: int) -> Tensor:
    """Two clips, because the exporter takes a batch of one for a constant."""
    return torch.zeros(2, 3, num_frames, crop_size, crop_size, device=next(model.parameters()).device)
