"""A trained network as one file for other runtimes: torch.export or ONNX, of the inference form."""

import json
import logging
import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from besnet.checkpoints import store
from besnet.checkpoints.header import Trained, rebuild
from besnet.data.transforms import MEAN, STD
from besnet.models.besnet import BesNet
from besnet.models.folding import fold

SUFFIX = {"onnx": ".onnx", "torch-export": ".pt2"}


def export(ckpt_path: Path, to: Literal["onnx", "torch-export"] = "onnx", out: Path | None = None) -> None:
    """Write a checkpoint's network, its dilations averaged, as one file, and beside it what goes in and comes out.

    Args:
        ckpt_path: checkpoint file, or a run folder (its newest good checkpoint is taken).
        to: `onnx` for onnxruntime and others, `torch-export` for torch.export.load.
        out: the file to write; by default in the folder `exports` of the run.
    """
    path = store.resolve(ckpt_path)
    trained = rebuild(store.load(path))
    run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    file = out or run / "exports" / f"{path.stem}{SUFFIX[to]}"
    if file.suffix != SUFFIX[to]:
        raise ValueError(f"--out {file}: the name of a file {to!r} ends with {SUFFIX[to]}")
    file.parent.mkdir(parents=True, exist_ok=True)
    data = trained.config["data"]
    num_frames, crop_size = data["clip"]["num_frames"], data["crop_size"]
    if to == "onnx":
        export_onnx(trained.network, file, num_frames, crop_size)
    else:
        with warnings.catch_warnings():
            # torch asks for one plain tensor in each storage; filters that lie channels-last are as complete
            warnings.filterwarnings("ignore", message="No complete tensor found in the group")
            torch.export.save(export_program(trained.network, num_frames, crop_size), file)
    beside = file.with_suffix(".json")
    beside.write_text(json.dumps(contract(trained, path, num_frames, crop_size), indent=1) + "\n")
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB; {beside.name} says what goes in and comes out")


def contract(trained: Trained, checkpoint: Path, num_frames: int, crop_size: int) -> dict[str, object]:
    """What a caller of an exported network has to know."""
    return {
        "checkpoint": checkpoint.name,
        "input": {
            "name": "clips",
            "shape": ["any number", 3, num_frames, crop_size, crop_size],
            "type": "float32 RGB, 0..255, minus mean, over std; channels, frames, height, width",
            "mean": [255 * value for value in MEAN],
            "std": [255 * value for value in STD],
            "clip": trained.config["data"]["clip"],
        },
        "output": {"name": "logits", "shape": ["any number", trained.network.num_classes], "classes": trained.classes},
    }


def export_program(model: BesNet, num_frames: int, crop_size: int) -> ExportedProgram:
    """The folded network as a torch.export program: clips float32 (B, 3, num_frames, crop_size, crop_size), any B."""
    return torch.export.export(
        fold(model), (example(model, num_frames, crop_size),), dynamic_shapes=({0: Dim("clips")},)
    )


def export_onnx(model: BesNet, file: Path, num_frames: int, crop_size: int) -> None:
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
        torch.onnx.export(
            fold(model).cpu(),
            (example(model, num_frames, crop_size).cpu(),),
            str(file),
            dynamo=True,
            verbose=False,
            input_names=["clips"],
            output_names=["logits"],
            dynamic_shapes=({0: Dim("clips")},),
            external_data=False,
        )


def example(model: BesNet, num_frames: int, crop_size: int) -> Tensor:
    """Two clips, because the exporter takes a batch of one for a constant."""
    return torch.zeros(2, 3, num_frames, crop_size, crop_size, device=model.fc.weight.device)
