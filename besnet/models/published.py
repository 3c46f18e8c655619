"""Weights of I3D-R50 and Slow-R50 as other libraries publish them → the names of our controls.

All functions are pure: they rename, and refuse what has no place in those networks. The tensors stay the same.
Sources of the names: PyTorchVideo 0.1.5 (models/resnet.py, stem.py, head.py), PySlowFast (models/stem_helper.py,
resnet_helper.py, head_helper.py) and MMAction2 (models/backbones/resnet3d.py, heads/i3d_head.py).
"""

import re

from torch import Tensor

StateDict = dict[str, Tensor]

PYTORCHVIDEO_BLOCK = {
    "branch1_conv": "downsample.0", "branch1_norm": "downsample.1",
    "branch2.conv_a": "conv1", "branch2.norm_a": "bn1", "branch2.conv_b": "conv2", "branch2.norm_b": "bn2",
    "branch2.conv_c": "conv3", "branch2.norm_c": "bn3",
}  # fmt: skip
PYSLOWFAST_BLOCK = {
    "branch1": "downsample.0", "branch1_bn": "downsample.1",
    "branch2.a": "conv1", "branch2.a_bn": "bn1", "branch2.b": "conv2", "branch2.b_bn": "bn2",
    "branch2.c": "conv3", "branch2.c_bn": "bn3",
}  # fmt: skip
MMACTION2_BLOCK = {
    "conv1.conv": "conv1", "conv1.bn": "bn1", "conv2.conv": "conv2", "conv2.bn": "bn2", "conv3.conv": "conv3",
    "conv3.bn": "bn3", "downsample.conv": "downsample.0", "downsample.bn": "downsample.1",
}  # fmt: skip
SIGNATURES = [
    (r"blocks\.0\.(conv|multipathway)", "PyTorchVideo"),
    (r"s1\.(pathway\d|s\d)_stem\.", "PySlowFast"),
    (r"(backbone\.)?conv1\.conv\.", "MMAction2"),
]


def from_pytorchvideo(state: StateDict) -> StateDict:
    """PyTorchVideo's `i3d_r50` or `slow_r50` → I3DResNet50 or SlowResNet50.

    Its blocks are numbered through, I3D's pooling among them. ValueError for the weights of another network.
    """
    numbers = sorted({int(name.split(".")[1]) for name in state if re.match(r"blocks\.\d+\.res_blocks\.", name)})
    stages = {number: f"layer{stage}" for stage, number in enumerate(numbers, start=1)}

    def rename(name: str) -> str | None:
        if match := re.fullmatch(r"blocks\.0\.(conv|norm)\.(\w+)", name):
            return f"{'conv1' if match[1] == 'conv' else 'bn1'}.{match[2]}"
        if match := re.fullmatch(r"blocks\.\d+\.proj\.(\w+)", name):
            return f"fc.{match[1]}"
        match = re.fullmatch(r"blocks\.(\d+)\.res_blocks\.(\d+)\.(.+)\.(\w+)", name)
        if match and match[3] in PYTORCHVIDEO_BLOCK:
            return f"{stages[int(match[1])]}.{match[2]}.{PYTORCHVIDEO_BLOCK[match[3]]}.{match[4]}"
        return None

    return {renamed(name, rename(name), "PyTorchVideo"): value for name, value in state.items()}


def from_pyslowfast(state: StateDict) -> StateDict:
    """PySlowFast's I3D or Slow of depth 50, without non-local blocks → I3DResNet50 or SlowResNet50.

    state: what its checkpoints hold under `model_state`. ValueError for the weights of another network.
    """

    def rename(name: str) -> str | None:
        if match := re.fullmatch(r"s1\.(?:pathway0|s0)_stem\.(conv|bn)\.(\w+)", name):
            return f"{'conv1' if match[1] == 'conv' else 'bn1'}.{match[2]}"
        if match := re.fullmatch(r"head\.projection\.(\w+)", name):
            return f"fc.{match[1]}"
        match = re.fullmatch(r"s([2-5])\.(?:pathway0|s0)_res(\d+)\.(.+)\.(\w+)", name)
        if match and match[3] in PYSLOWFAST_BLOCK:
            return f"layer{int(match[1]) - 1}.{match[2]}.{PYSLOWFAST_BLOCK[match[3]]}.{match[4]}"
        return None

    return {renamed(name, rename(name), "PySlowFast"): value for name, value in state.items()}


def from_mmaction2(state: StateDict) -> StateDict:
    """MMAction2's SlowOnly or I3D of depth 50, with or without its head → SlowResNet50 or the I3DResNet50 of 32x2."""

    def rename(name: str) -> str | None:
        name = name.removeprefix("backbone.")
        if match := re.fullmatch(r"conv1\.(conv|bn)\.(\w+)", name):
            return f"{'conv1' if match[1] == 'conv' else 'bn1'}.{match[2]}"
        if match := re.fullmatch(r"cls_head\.fc_cls\.(\w+)", name):
            return f"fc.{match[1]}"
        match = re.fullmatch(r"(layer[1-4]\.\d+)\.(.+)\.(\w+)", name)
        if match and match[2] in MMACTION2_BLOCK:
            return f"{match[1]}.{MMACTION2_BLOCK[match[2]]}.{match[3]}"
        return None

    return {renamed(name, rename(name), "MMAction2"): value for name, value in state.items()}


def renamed(old: str, new: str | None, library: str) -> str:
    """The new name. ValueError where there is none."""
    if new is None:
        raise ValueError(
            f"{old!r} is no weight of {library}'s I3D-R50 or Slow-R50: give one of these networks' weights"
        )
    return new


IMPORTERS = {"PyTorchVideo": from_pytorchvideo, "PySlowFast": from_pyslowfast, "MMAction2": from_mmaction2}
# The same layers run on other frames: MMAction2's I3D halves them in the stem and in the first pooling as well.
NETWORKS = {
    "PyTorchVideo": ("i3d_r50", "slow_r50"),
    "PySlowFast": ("i3d_r50", "slow_r50"),
    "MMAction2": ("i3d_r50_32x2", "slow_r50"),
}
CONTROLS = {name for names in NETWORKS.values() for name in names}


def library_of(state: StateDict, network: str) -> str:
    """Whose names these weights of a control have; empty for besnet's own, and for other networks.

    ValueError for a library whose network of that name runs on other frames.
    """
    for pattern, library in SIGNATURES:
        if network in CONTROLS and any(re.match(pattern, name) for name in state):
            if network not in NETWORKS[library]:
                raise ValueError(f"weights of {library}: they are for the networks {', '.join(NETWORKS[library])}")
            return library
    return ""


def with_our_names(state: StateDict, network: str) -> StateDict:
    """Weights under besnet's names, whichever of these libraries saved them; others as they are."""
    library = library_of(state, network)
    return IMPORTERS[library](state) if library else state
