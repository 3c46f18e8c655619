"""A network with another last layer, as a model that predicts and is written to a folder."""

from dataclasses import asdict, replace

import numpy as np
import torch

from besnet.checkpoints.header import LoadedCheckpoint, united
from besnet.checkpoints.model_folder import LoadedModel
from besnet.checkpoints.store import bytes_hash
from besnet.data.known import fingerprints
from besnet.data.manifest import Manifest
from besnet.evaluation.inference import InferenceSettings
from besnet.evaluation.linear_heads import Head, Score
from besnet.models.build import build


def with_head(
    given: LoadedModel, head: Head, manifest: Manifest, learned: np.ndarray, inference: InferenceSettings, score: Score
) -> LoadedModel:
    """The network with this head as its last layer. ValueError for a network whose last layer takes none."""
    source = given.trained
    model = source.model | {"num_classes": len(manifest.classes)}
    network = build(model)
    if not network.head:
        raise ValueError(f"{given.name}: its last layer is not known, so it cannot be replaced")
    state = {name: value.cpu() for name, value in source.network.state_dict().items()}
    own = network.state_dict()
    weight, bias = f"{network.head}.weight", f"{network.head}.bias"
    if bias not in own or own[weight].numel() != head.weight.size:
        raise ValueError(f"{given.name}: its last layer {network.head} is not linear in its features, with a bias")
    state[weight] = torch.from_numpy(head.weight).reshape(own[weight].shape)
    state[bias] = torch.from_numpy(head.bias)
    network.load_state_dict(state)
    shape, plan = inference.shape, inference.plan
    trained = LoadedCheckpoint(
        network=network.eval(),
        model=model,
        classes=manifest.classes,
        passport=asdict(manifest.passport),
        config={
            "data": {"folder": str(manifest.folder), "clip": asdict(shape), "crop_size": inference.crop_size},
            "evaluation": asdict(replace(plan, crop_size=None)),
            "pretrained": given.name,
            "probe": asdict(score),
        },
        position={},
        ema=source.ema,
        revision=source.revision,
        versions=source.versions,
        multi_label=manifest.multi_label,
        trained_on=united(fingerprints(manifest, learned), source.inherited),
    )
    digest = bytes_hash(given.hash.encode() + head.weight.tobytes() + head.bias.tobytes())
    return replace(given, trained=trained, hash=digest, run=None, temperature=None, said="", named=True)
