"""A trained network as one file for other runtimes: torch.export or ONNX, of the inference form."""

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from besnet.models.besnet import BesNet
from besnet.models.folding import fold


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
        raise ValueError("ONNX export needs two more packages: pip install onnx onnxscript") from None
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
