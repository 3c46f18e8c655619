"""Pictures of a prediction: its frames with the class activation map, and its course along a video."""

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional

from besnet.data.evaluation_clips import read_clips
from besnet.data.transforms import pixels
from besnet.predict.model import Model, Prediction, open_reader
from besnet.report.plots import timeline_plot
from besnet.report.sheet import contact_sheet

MOST_FRAMES = 16


def sheet(model: Model, predictions: list[Prediction]) -> Image.Image:
    """Two rows per video: the frames of the most confident clip, and the same with the class activation map."""
    strips = []
    for prediction in predictions:
        name, share = prediction.top(1)[0]
        frames, heat = evidence(model, prediction)
        text = ", ".join(f"{other} {100 * chance:.1f} %" for other, chance in prediction.top(3))
        strips.append((f"{prediction.video}: {text}", frames))
        if heat is not None:
            strips.append((f"class activation map of {name} ({100 * share:.0f} %)", painted(frames, heat)))
    return contact_sheet(strips)


def evidence(model: Model, prediction: Prediction) -> tuple[np.ndarray, np.ndarray | None]:
    """Frames uint8 (T, H, W, 3) of the most confident clip's centre crop, and their class activation 0..1 (T, H, W).

    The activation of a class at a place is what its feature maps there add to the class's logit (Zhou et al., 2016);
    None for a network whose last layer is not linear in them. At most 16 frames are returned.
    """
    number = int(prediction.probabilities.argmax())
    best = int(prediction.clips[:, number].argmax())
    with open_reader(prediction.video) as reader:
        clips = read_clips(reader, prediction.numbers[best : best + 1])
    views = model.views(clips)
    view = views[model.plan.num_crops // 2][None]
    frames = pixels(view[0], model.network.normalisation).cpu().numpy()
    kept = np.linspace(0, len(frames) - 1, min(MOST_FRAMES, len(frames))).round().astype(int)
    with torch.inference_mode():
        activation = model.network.class_activation(view, number)
        if activation is None:
            return frames[kept], None
        heat = activation[0].clamp(min=0)
        heat = functional.interpolate(heat[:, None], size=view.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        heat = heat / heat.max().clamp(min=1e-9)
    return frames[kept], heat.cpu().numpy()[kept]


def painted(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Frames with their activation over them, in colours that differ in brightness, too."""
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    share = 0.65 * heat[..., None]
    mixed: np.ndarray = (frames * (1 - share) + colours * share).round().astype(np.uint8)
    return mixed


def timeline(prediction: Prediction) -> Figure:
    """The probabilities along a video of the five classes with the highest probability anywhere in it."""
    numbers = np.argsort(-prediction.clips.max(axis=0), kind="stable")[:5]
    curves = {prediction.classes[number]: prediction.clips[:, number] for number in numbers}
    return timeline_plot(prediction.times_sec.mean(axis=1), curves)
