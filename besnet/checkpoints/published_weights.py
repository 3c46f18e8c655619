"""Published weights by name: where they lie, their hash, and how their network takes its input.

What a library says of its weights is read from the library: torchvision's enumerations, timm's pretrained_cfg. The
table holds what no installed package says: I3D-R50 and Slow-R50, from the model zoos and configs of PyTorchVideo
(docs/source/model_zoo.md and its hub tutorial) and MMAction2 (configs/recognition/slowonly and i3d).
"""

import difflib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import torchvision
from torchvision.models import get_model_weights, get_weight

from besnet.checkpoints import lite
from besnet.models.network import IMAGENET, Normalisation

HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
DEFAULT = "DEFAULT"
HUB_FILE = "model.safetensors"  # what every repository of the Hugging Face hub calls its weights


@dataclass(frozen=True)
class ClipPlan:
    """The clips that a network was trained with, and the views that its accuracy was published for."""

    num_frames: int
    frame_interval: int
    target_fps: float
    num_clips: int
    num_crops: int


@dataclass(frozen=True)
class Published:
    """Weights as a library publishes them.

    network: its name in besnet. url: empty where a package holds the file. digest: the file's SHA-256 or its beginning;
    empty where nobody states it. short_side: what frames are resized to before squares of crop_size are taken. clip:
    None for a 2D network. classes: in the order of the last layer; empty where they have no names.
    """

    network: str
    name: str
    library: str
    url: str
    digest: str
    normalisation: Normalisation
    crop_size: int
    short_side: int
    clip: ClipPlan | None
    classes: tuple[str, ...]
    licence: str

    @property
    def file_name(self) -> str:
        """What the file is called in the cache."""
        name = PurePosixPath(self.url).name
        return name if name != HUB_FILE else f"{self.network.rpartition('/')[2]}.{self.name}.safetensors"

    def __str__(self) -> str:
        return f"{self.name} ({self.library})"


KINETICS = Normalisation((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
PYTORCHVIDEO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics"
MMACTION2 = "https://download.openmmlab.com/mmaction/v1.0/recognition"
SLOWONLY = "slowonly_imagenet-pretrained-r50_8xb16-{}-steplr-150e_kinetics400-rgb"
I3D = "i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb"


def _pytorchvideo(network: str, file: str, num_frames: int, frame_interval: int) -> Published:
    plan = ClipPlan(num_frames, frame_interval, 30.0, num_clips=10, num_crops=3)
    name = f"PYTORCHVIDEO_{num_frames}X{frame_interval}"
    url = f"{PYTORCHVIDEO}/{file}"
    return Published(network, name, "PyTorchVideo", url, "", KINETICS, 256, 256, plan, kinetics400(), "Apache-2.0")


def _mmaction2(network: str, url: str, digest: str, num_frames: int, frame_interval: int) -> Published:
    plan = ClipPlan(num_frames, frame_interval, 30.0, num_clips=10, num_crops=3)
    name = f"MMACTION2_{num_frames}X{frame_interval}"
    return Published(network, name, "MMAction2", url, digest, IMAGENET, 256, 256, plan, kinetics400(), "Apache-2.0")


def kinetics400() -> tuple[str, ...]:
    """The classes of Kinetics-400 in alphabetical order, which all of these libraries number them in."""
    return tuple(get_weight("R3D_18_Weights.KINETICS400_V1").meta["categories"])


def table() -> list[Published]:
    """What no installed package says."""
    slow4, slow8 = SLOWONLY.format("4x16x1"), SLOWONLY.format("8x8x1")
    return [
        _pytorchvideo("i3d_r50", "I3D_8x8_R50.pyth", 8, 8),
        _pytorchvideo("slow_r50", "SLOW_8x8_R50.pyth", 8, 8),
        _pytorchvideo("slow_r50", "SLOW_4x16_R50.pyth", 4, 16),
        _mmaction2("slow_r50", f"{MMACTION2}/slowonly/{slow8}/{slow8}_20220901-df42dc84.pth", "df42dc84", 8, 8),
        _mmaction2("slow_r50", f"{MMACTION2}/slowonly/{slow4}/{slow4}_20220901-e7b65fad.pth", "e7b65fad", 4, 16),
        _mmaction2("i3d_r50_32x2", f"{MMACTION2}/i3d/{I3D}/{I3D}_20220812-e213c223.pth", "e213c223", 32, 2),
    ]


def of_network(network: str) -> list[Published]:
    """All published weights of a network, the library's default first.

    network: a video network, or a 2D one as besnet.models.backbones takes it: NAME, timm/NAME or torchvision/NAME.
    """
    library, _, short = network.rpartition("/")
    found = [one for one in table() if one.network == network]
    if library != "torchvision":  # a name that both have is timm's network, see besnet.models.backbones
        found += [*_lite(short), *_timm(short)]
    if library != "timm":
        found += _torchvision(short)
    return [replace(one, network=network) for one in found]


def published(network: str, name: str) -> Published:
    """Weights of a network by their name; DEFAULT for the library's own choice. ValueError where there are none."""
    known = of_network(network)
    for one in known:
        if name in (one.name, DEFAULT):
            return one
    names = [one.name for one in known]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"its published weights are: {', '.join(names[:20]) or 'none'}"
    raise ValueError(f"{name}: neither a file nor the name of weights of {network}: {hint}")


def _torchvision(short: str) -> list[Published]:
    if short not in torchvision.models.list_models():
        return []
    enumeration = get_model_weights(short)
    default = getattr(enumeration, DEFAULT, None)
    entries = sorted(enumeration, key=lambda entry: entry != default)
    return [from_torchvision(short, entry) for entry in entries]


def from_torchvision(short: str, entry: Any) -> Published:
    """What torchvision's enumeration says of one entry."""
    preset, about = entry.transforms(), entry.meta
    digest = HASH_IN_NAME.search(entry.url)
    normalisation = Normalisation(tuple(preset.mean), tuple(preset.std))
    if short in CONVERTS_ITSELF:
        normalisation = CONVERTED
    return Published(
        short, entry.name, "torchvision", entry.url, digest[1] if digest else "", normalisation,
        preset.crop_size[0], min(preset.resize_size), _stated_clip(about.get("_docs", "")),
        distinct(about["categories"]), about.get("license", "BSD-3-Clause"),
    )  # fmt: skip


# With weights, torchvision builds these with transform_input, which makes mean 0.5 and std 0.5 of ImageNet's; besnet
# builds them without it.
CONVERTS_ITSELF = ("googlenet", "inception_v3")
CONVERTED = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _stated_clip(text: str) -> ClipPlan | None:
    """The clips that torchvision's documentation of its video weights states."""
    stated = dict(re.findall(r"(frame_rate|clips_per_video|clip_len)=([\d.]*\d)", text))
    if len(stated) < 3:
        return None
    return ClipPlan(int(stated["clip_len"]), 1, float(stated["frame_rate"]), int(stated["clips_per_video"]), 1)


def _lite(short: str) -> list[Published]:
    if short not in lite.HASHES:
        return []
    import timm

    config = timm.get_pretrained_cfg(short)  # the same network: its sizes are these
    assert config is not None
    return [replace(from_timm(short, config), name="lite", library=lite.package(short), url="", classes=(),
                    digest=lite.HASHES[short], normalisation=Normalisation(lite.MEAN, lite.STD))]  # fmt: skip


def _timm(short: str) -> list[Published]:
    import timm  # takes a second to import

    if short not in timm.list_models():
        return []
    names = timm.list_models(f"{short}.*", pretrained=True)
    configs = filter(None, map(timm.get_pretrained_cfg, names))
    first = timm.get_pretrained_cfg(short)
    return [from_timm(short, config) for config in sorted(configs, key=lambda one: not first or one.tag != first.tag)]


def from_timm(short: str, config: Any) -> Published:
    """What timm's pretrained_cfg says."""
    url = config.url or f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{HUB_FILE}"
    digest = HASH_IN_NAME.search(config.url or "")
    size = config.input_size[-1]
    return Published(
        short, config.tag, "timm", url, digest[1] if digest else "",
        Normalisation(tuple(config.mean), tuple(config.std)), size, _resized(size, config.crop_pct), None,
        _timm_classes(config), config.license or "not stated",
    )  # fmt: skip


def _timm_classes(config: Any) -> tuple[str, ...]:
    from timm.data import infer_imagenet_subset

    subset = infer_imagenet_subset(config.to_dict())
    names = _imagenet_names(subset) if subset else ()
    return names if len(names) == config.num_classes else ()


@cache
def _imagenet_names(subset: str) -> tuple[str, ...]:
    from timm.data import ImageNetInfo

    return distinct(list(ImageNetInfo(subset).label_descriptions()))


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The same names; one that several classes have (ImageNet's crane) with the number of the class."""
    often = Counter(names)
    return tuple(f"{name} (class {number})" if often[name] > 1 else name for number, name in enumerate(names))


def _resized(crop_size: int, share: float) -> int:
    """The short side of which a crop is a share."""
    return math.floor(crop_size / share)
