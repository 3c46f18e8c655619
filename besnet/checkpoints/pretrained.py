"""Where a network's weights come from before its first step: published weights, a file, or another model of besnet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from besnet.checkpoints import model_folder
from besnet.checkpoints.published_weights import Published
from besnet.checkpoints.weights_source import Weights, is_of_besnet, library_network, resolve
from besnet.data.labels import canonical
from besnet.models.loading import library_head, load_library_weights
from besnet.models.network import Network, Normalisation
from besnet.video.sampling import ClipShape


@dataclass(frozen=True)
class Start:
    """What a network starts from.

    said: one sentence on what was loaded and what was not. normalisation: of the pixels that the weights were trained
    on; None where they do not say. trained_on: fingerprints of the videos that they were trained on, which what is
    trained from them inherits; None for published weights.
    published: what their library says of them; None for others.
    """

    said: str
    normalisation: Normalisation | None = None
    trained_on: Tensor | None = None
    published: Published | None = None

    def lines(self, clip: ClipShape, crop_size: int) -> list[str]:
        """What a training prints: what was loaded, and where its clips differ from those of the weights."""
        other = differences(self.published, clip, crop_size) if self.published else ""
        return [line for line in (self.said, other) if line]


def load_pretrained(network: Network, source: str, model: Mapping[str, Any], classes: Sequence[str]) -> Start:
    """Fill the network from `source`.

    source: published weights by name or a file of weights (see besnet.checkpoints.weights_source), or a checkpoint, run
    folder or model folder of besnet. Of a run the moving average is taken where there is one. The last layer is taken
    only if it is not known to be one of other classes. model: what the network was built from. classes: those that the
    network will be trained on. ValueError for weights that do not fit.
    """
    path = Path(source)
    if is_of_besnet(path):
        return from_besnet(network, path, model, classes)
    return from_library(network, resolve(source, library_network(model)), classes)


def settle_normalisation(network: Network, model: Mapping[str, Any], start: Start | None) -> dict[str, list[float]]:
    """Give the network the mean and the std of what it starts from, where the config leaves them open; returns both."""
    if start is not None and start.normalisation is not None:
        if model.get("mean") is None:
            network.mean = start.normalisation.mean
        if model.get("std") is None:
            network.std = start.normalisation.std
    return {"mean": list(network.mean), "std": list(network.std)}


def from_library(network: Network, weights: Weights, classes: Sequence[str]) -> Start:
    """Start from weights under the names of the network's library."""
    about, state = weights.published, weights.state
    known = about.classes if about else ()
    if network.head and known and list(map(canonical, known)) != list(map(canonical, classes)):
        head = f"{library_head(network)}."
        state = {name: value for name, value in state.items() if not name.startswith(head)}
    new = load_library_weights(network, state, weights.where, new_head=bool(network.head))
    said = f"starting from {weights.where} ({weights.digest[:16]}), " + replaced(new, len(known), len(classes))
    described = about or weights.like
    if about is None and described is not None:
        said += f"; normalised as {described}, because the file does not say"
    return Start(said, described.normalisation if described else None, published=about)


def from_besnet(network: Network, path: Path, model: Mapping[str, Any], classes: Sequence[str]) -> Start:
    """Start from another model of besnet."""
    own = str(model.get("network", "besnet"))
    given = model_folder.given(path, own if ":" in own else None)
    trained, file = given.trained, given.name
    head = f"{network.head}."
    own_head = {name: value.clone() for name, value in network.state_dict().items() if name.startswith(head)}
    same_classes = trained.classes == list(classes)
    flat = trained.network.flat_weights()
    if flat is not None:
        load_library_weights(network, flat, file, new_head=True)
        theirs = network.state_dict()
    else:
        theirs = trained.network.state_dict()
    if not same_classes:
        theirs = theirs | own_head
    try:
        network.load_state_dict(theirs)
    except RuntimeError as error:
        raise ValueError(
            f"{file}: weights of another network than the config's model ({str(error).splitlines()[1].strip()})"
        ) from None
    said = f"starting from {file}, " + replaced(not same_classes, len(trained.classes), len(classes))
    if trained.trained_on is None and trained.inherited is not None:
        said += "; it does not record the videos that it was trained on"
    return Start(said, trained.network.normalisation, trained.inherited)


def replaced(new: bool, known: int, wanted: int) -> str:
    """What was loaded, as the end of a sentence."""
    if not new:
        return "all of its weights"
    knows = f"it knows {known} other classes" if known else "it has none of this size"
    return f"all but its last layer: {knows}, and the {wanted} of this data get a new one"


def differences(about: Published, clip: ClipShape, crop_size: int) -> str:
    """One line where a training shows its network other clips than its weights were trained on; else empty."""
    found = [] if crop_size == about.crop_size else [f"{about.crop_size} pixels, not {crop_size}"]
    if about.clip is not None:
        plan, rate = about.clip, clip.target_fps and clip.target_fps / clip.frame_interval
        if clip.num_frames != plan.num_frames:
            found.append(f"{plan.num_frames} frames, not {clip.num_frames}")
        if clip.sampling != "dense" or rate != plan.target_fps / plan.frame_interval:
            ours = f"{rate:g} fps" if rate and clip.sampling == "dense" else "other distances"
            found.append(f"frames at {plan.target_fps / plan.frame_interval:g} fps, not {ours}")
    return f"{about} was trained with {'; with '.join(found)}" if found else ""
