"""The verb `maps`: what the frozen layers of a config put out for every frame, kept as a data set to train on."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from besnet.checkpoints.lock import only_writer
from besnet.checkpoints.pretrained import load_pretrained, settle_normalisation
from besnet.checkpoints.weights_source import library_network
from besnet.data.clips import Clip, collate
from besnet.data.crop import whole_of
from besnet.data.dataset import Maps
from besnet.data.manifest import Manifest
from besnet.data.manifest_writing import load_checked, write_manifest
from besnet.data.maps import maps_file
from besnet.data.paths import hash_file
from besnet.data.row import MAX_FILE_BYTES, hash_bytes
from besnet.data.transforms import training_batch
from besnet.evaluation.ranks import choose_device
from besnet.files import replacing
from besnet.models.build import applicable, build
from besnet.models.kept_maps import kept_maps, passed_hash
from besnet.models.network import Network
from besnet.progress import Meter
from besnet.settings import data_folder, read_settings
from besnet.training.memory import keep_freed_memory
from besnet.video.reader import Reader
from besnet.watchdog import watched

MOST_FRAMES = 32  # that go through the network at once, with their mirror images
# Fewer than this and kernels for small batches compute them, which round in other places than those of a training.
LEAST_FRAMES = 16


def maps(
    config: Path,
    out: Path,
    data: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    watchdog_minutes: float = 30.0,
) -> None:
    """Keep what the frozen layers of a config (recipe.freeze) put out for every frame of a data set and for its mirror
    image, once for all trainings of the layers above them.

    Writes a data set with the same videos, labels and splits, which `besnet train` and `lab` with this config, and
    `evaluate`, take in place of the prepared videos. A killed command resumes.

    Args:
        config: of a training with pretrained, recipe.freeze and data.crop.kind whole or borderless.
        out: folder for the data set.
        data: prepared data set; by default that of the config.
        cache: folder of the maps, which several data sets of the same videos may share; by default `maps` in --out.
        device: auto, cpu, cuda or cuda:N.
        watchdog_minutes: minutes without progress after which the process exits with code 69.
    """
    settings = read_settings(config)[1]
    manifest = load_checked(data or data_folder(config, settings))
    if manifest.maps is not None:
        raise ValueError(f"{manifest.folder}: keeps maps itself: name the prepared videos with --data")
    if out.resolve() == manifest.folder.resolve():
        raise ValueError(f"--out {out}: the prepared videos are there: choose another folder")
    network, about = frozen_network(config, settings)
    where = choose_device(device)
    network.to(where)
    if where.type == "cpu":
        keep_freed_memory()
    known = hash_bytes(f"{about} {where.type}".encode())[:16]  # a GPU rounds in other places
    place = (cache or out / "maps") / known
    inside = place.parent.resolve().is_relative_to(out.resolve())
    root = os.path.relpath(place.parent, out) if inside else str(place.parent.resolve())
    with only_writer(out, "preparation of maps"), only_writer(place, "preparation of maps"):
        there = {path.name.split("-")[0]: path for path in place.glob("*-*.maps")}
        meter, rows, size, done = Meter(len(manifest), "videos"), [], 0, 0
        with watched(watchdog_minutes) as pulse:
            for number in range(len(manifest)):
                facts = manifest[number]
                pulse(f"maps of {facts.id}")
                if facts.state == "ready":
                    path = kept(place, there, network, about, manifest, number)
                    facts = replace(
                        facts, path=f"{known}/{path.name}", offset=0, size=path.stat().st_size,
                        hash=digest_of(path), in_shard=False,
                    )  # fmt: skip
                    size, done = size + facts.size, done + 1
                rows.append(facts)
                meter.add(1)
        meter.close()
        encode = manifest.about.encode | {"maps": asdict(about)}
        write_manifest(out, manifest.name, manifest.classes, root, rows, encode, multi_label=manifest.multi_label)
    print(
        f"{out}: the maps of {done} videos after {about.blocks} blocks of {about.network}, "
        f"{size / 1e9:.2f} GB: besnet train --config {config} --data.folder {out}"
    )


def frozen_network(config: Path, settings: dict[str, Any]) -> tuple[Network, Maps]:
    """The network of a config as its training starts, and what its maps are. ValueError where none can be kept."""
    recipe, own = settings.get("recipe", {}), settings.get("data", {})
    blocks, source = recipe.get("freeze"), settings.get("pretrained")
    if type(blocks) is not int:
        raise ValueError(f"{config}: recipe.freeze: a number of blocks is expected, whose maps are kept")
    if source is None:
        raise ValueError(f"{config}: pretrained is expected: maps are kept of the weights that a training starts from")
    whole = whole_of(own.get("crop", {}).get("kind"))
    if not whole:
        raise ValueError(f"{config}: data.crop.kind whole or borderless is expected: maps are kept of whole pictures")
    arguments = applicable(settings.get("model", {}) | {"num_classes": 1})
    network = build(arguments)
    start = load_pretrained(network, source, arguments, ["any"])
    settle_normalisation(network, arguments, start)
    network.eval().take_maps(blocks)
    crop_size = own.get("crop_size", 224)
    name = library_network(arguments) or "besnet"
    return network, Maps(name, blocks, passed_hash(network), crop_size, whole, list(network.mean), list(network.std))


def kept(place: Path, there: dict[str, Path], network: Network, about: Maps, manifest: Manifest, number: int) -> Path:
    """The file with the maps of a video, named by the hash of the video's bytes and by that of its own; written unless
    it is there. ValueError where the video cannot be read."""
    facts = manifest[number]
    if not facts.hash:
        raise ValueError(f"{facts.id}: the manifest has no hash of its bytes: run `besnet prepare` again")
    path = there.get(facts.hash)
    if path is not None:
        if hash_file(path)[0] == digest_of(path):
            return path
        path.unlink()
    with manifest.open(number) as reader:
        assert isinstance(reader, Reader)
        content = maps_file(maps_of(reader, network, about), reader.times_sec)
    path = place / f"{facts.hash}-{hash_bytes(content)}.maps"
    with replacing(path) as file:
        file.write(content)
    there[facts.hash] = path
    return path


def digest_of(path: Path) -> str:
    """The hash that a file of maps is named by."""
    return path.stem.split("-")[1]


def maps_of(reader: Reader, network: Network, about: Maps) -> np.ndarray:
    """The maps of all frames of a video and of their mirror images, as training sees them: float32 (frames, 2, h, w,
    C). ValueError where they would be more than a file of a data set may hold."""
    device = next(network.parameters()).device
    count, found = len(reader), []
    for numbers in np.array_split(np.arange(count), -(-count // MOST_FRAMES)):
        filled = np.resize(numbers, max(len(numbers), LEAST_FRAMES))
        frames = torch.from_numpy(reader.read(filled))
        sides = collate([Clip(0, 0, frames, mirrored, False) for mirrored in (False, True)]).to(device)
        clips = training_batch(sides, about.crop_size, network.normalisation, about.whole)
        some = kept_maps(network, clips).permute(2, 0, 3, 4, 1)
        if some[0].nbytes * count > MAX_FILE_BYTES:
            raise ValueError(f"{reader.name}: the maps of its {count} frames are more than {MAX_FILE_BYTES} bytes")
        found.append(some[: len(numbers)].cpu().numpy())
    return np.concatenate(found)
