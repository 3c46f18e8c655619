"""Whether the kept maps of a data set are what a network computes itself: checked before any use of them."""

from besnet.data.crop import Whole
from besnet.data.manifest import Manifest
from besnet.models.kept_maps import passed_hash
from besnet.models.network import Network


def take_maps(network: Network, manifest: Manifest, crop_size: int, whole: Whole) -> None:
    """Let a network take the kept maps of a data set, if that is what it has. See `check_pictures`, `check_weights`."""
    if manifest.maps is not None:
        check_pictures(manifest, crop_size, whole)
        network.take_maps(manifest.maps.blocks)
        check_weights(network, manifest)


def check_pictures(manifest: Manifest, crop_size: int, whole: Whole) -> None:
    """ValueError where kept maps are of other pictures than a network is to see."""
    maps = manifest.maps
    if maps is not None and (whole, crop_size) != (maps.whole, maps.crop_size):
        kinds = {True: "whole", "borderless": "borderless", False: "crops"}
        raise ValueError(
            f"{manifest.folder}: keeps maps of pictures with data.crop.kind {kinds[maps.whole]} and data.crop_size "
            f"{maps.crop_size}, not {kinds[whole]} and {crop_size}: take the prepared videos, or keep other maps with "
            "`besnet maps`"
        )


def check_weights(network: Network, manifest: Manifest) -> None:
    """ValueError where kept maps were computed with other weights than the network's, or of other pixels."""
    maps = manifest.maps
    if maps is None:
        return
    own = passed_hash(network)
    if own != maps.weights:
        raise ValueError(
            f"{manifest.folder}: keeps maps of {maps.network} with other weights in its first {maps.blocks} blocks "
            f"({maps.weights[:8]}) than the network's ({own[:8]}): start from the same weights (pretrained), or keep "
            "other maps with `besnet maps`"
        )
    theirs = [tuple(maps.mean), tuple(maps.std)]
    if theirs != list(map(tuple, network.normalisation)):
        raise ValueError(
            f"{manifest.folder}: keeps maps of pixels with model.mean {maps.mean} and model.std {maps.std}, and the "
            f"network has {list(network.mean)} and {list(network.std)}: keep other maps with `besnet maps`"
        )
