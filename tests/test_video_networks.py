"""Video networks of other libraries, as the rest of besnet expects a network."""

import pytest
import torch
import torchvision
from torch import nn

from besnet.models.video_networks import KINDS, VideoNetwork, video_network


@pytest.mark.parametrize("name", KINDS)
def test_every_network_takes_its_clips_and_gives_logits_and_features(name: str) -> None:
    """On the meta device: shapes, and no time. The last layer is the one that the table names."""
    kind = KINDS[name]
    with torch.device("meta"):
        network = video_network(name, 7)
        clips = torch.empty(2, 3, max(kind.frames[0], 16), max(kind.size[0], 112), max(kind.size[0], 112))
    assert network.eval()(clips).shape == (2, 7)
    head = network.get_submodule(network.head)
    assert isinstance(head, nn.Linear | nn.Conv3d)
    assert head.weight.shape[:2] == (7, network.features(clips).shape[1])
    network.check_clip(clips.shape[2], clips.shape[3])


@torch.no_grad()
def test_it_answers_as_outside_of_besnet() -> None:
    torch.manual_seed(0)
    own = torchvision.models.video.r3d_18(num_classes=5).eval()
    network = VideoNetwork(own, 5, KINDS["r3d_18"]).eval()
    clips = torch.randn(2, 3, 4, 48, 48)
    assert torch.equal(network(clips), own(clips))
    torch.testing.assert_close(own.fc(network.features(clips)), own(clips))
    assert torch.equal(network(clips, torch.zeros(0, dtype=torch.int64)), own(clips))
    with pytest.raises(ValueError, match="0 indices are expected"):
        network(clips, torch.zeros(1, dtype=torch.int64))


def test_frozen_batch_norm_stays_in_evaluation_mode() -> None:
    network = video_network("r3d_18", 3, frozen_bn=True).train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert not any(weight.requires_grad for norm in norms for weight in norm.parameters())


@pytest.mark.parametrize(
    ("name", "num_frames", "crop_size", "why"),
    [
        ("mvit_v2_s", 8, 224, "num_frames 8: the network takes 16 frames"),
        ("mvit_v2_s", 32, 224, "num_frames 32: the network takes 16 frames"),
        ("mvit_v1_b", 16, 256, "crop_size 256: the network takes 224 pixels"),
        ("s3d", 8, 224, "num_frames 8: the network takes at least 14 frames"),
        ("s3d", 16, 112, "crop_size 112: the network takes at least 224 pixels"),
        ("i3d_r50", 1, 112, "num_frames 1: the network takes at least 2 frames"),
    ],
)
def test_clips_that_do_not_go_in_are_refused(name: str, num_frames: int, crop_size: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        KINDS[name].check_clip(num_frames, crop_size)


def test_a_name_that_is_not_in_the_table_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'r3d_18'"):
        video_network("r3d18", 5)
