"""The network: its size, shapes, draws, and that every way of running it gives the same answer."""

from typing import Any

import pytest
import torch
from torch import nn

from besnet.models.besnet import BesNet
from besnet.models.folding import fold


def small(**arguments: object) -> BesNet:
    torch.manual_seed(0)
    arguments = {"blocks": (1, 1), "width": 8, "zero_init_residual": False} | arguments
    return BesNet(5, **arguments)  # type: ignore[arg-type]


def test_the_default_has_the_sources_size() -> None:
    """43.05 M parameters with 400 classes; torchvision's ResNet-50 with the 1x1 filters of its bottlenecks tripled."""
    with torch.device("meta"):
        model = BesNet(400)
        flat = BesNet(400, dilations=())
    assert model.num_temporal_layers == 32
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 43.05
    assert (
        sum(p.numel() for p in flat.parameters()) == 25_557_032 - 600 * 2048 - 600
    )  # torchvision's, 1000 → 400 classes
    assert flat.num_temporal_layers == 0


@pytest.mark.parametrize("block", ["bottleneck", "basic"])
@pytest.mark.parametrize("dilations", [(), (1,), (1, 2), (1, 3, 9)])
def test_any_clip_gives_logits(block: str, dilations: tuple[int, ...]) -> None:
    model = small(block=block, dilations=dilations)
    for frames, size in ((1, 32), (2, 33), (7, 40)):
        x = torch.randn(2, 3, frames, size, size)
        draws = torch.zeros(model.num_temporal_layers, dtype=torch.int64)
        assert model(x).shape == model(x, draws).shape == (2, 5)
        assert model.features(x).shape == (2, model.num_features)
        assert model._maps_and_features(x, None)[0].shape[:3] == (2, model.num_features, frames)


def test_each_draw_sets_its_own_layer() -> None:
    """Drawing index i everywhere is the network with that fixed dilation; a single draw changes the answer."""
    model = small(dilations=(1, 2, 4)).eval()
    x = torch.randn(1, 3, 9, 32, 32)
    for i, dilation in enumerate(model.dilations):
        fixed = small(dilations=(dilation,)).eval()
        fixed.load_state_dict(model.state_dict())
        torch.testing.assert_close(model(x, torch.full((4,), i)), fixed(x))
    zero = torch.zeros(4, dtype=torch.int64)
    for layer in range(4):
        one = zero.clone()
        one[layer] = 1
        assert (model(x, one) - model(x, zero)).abs().max() > 1e-6


def test_without_taps_the_order_of_frames_does_not_matter() -> None:
    x = torch.randn(1, 3, 6, 32, 32)
    flat, full = small(dilations=()).eval(), small().eval()
    torch.testing.assert_close(flat(x), flat(x.flip(2)))
    assert (full(x) - full(x.flip(2))).abs().max() > 1e-4


@pytest.mark.parametrize("drawn", [True, False])
def test_memory_layout_and_recomputation_change_nothing(drawn: bool) -> None:
    x = torch.randn(2, 3, 5, 32, 32)
    draws = torch.tensor([0, 1, 1, 0]) if drawn else None

    def run(model: BesNet, memory_format: torch.memory_format) -> tuple[torch.Tensor, ...]:
        logits = model(x.contiguous(memory_format=memory_format), draws)
        logits.square().sum().backward()
        return logits, *(p.grad for p in model.parameters() if p.grad is not None)

    reference = run(small(), torch.contiguous_format)
    for checkpointing in (False, True, (2,)):
        other = run(small(activation_checkpointing=checkpointing), torch.channels_last_3d)
        torch.testing.assert_close(other, reference, rtol=1e-4, atol=1e-5)
    same = run(small(activation_checkpointing=True), torch.contiguous_format)
    assert all(torch.equal(a, b) for a, b in zip(same, reference, strict=True))


def test_frozen_bn_keeps_statistics_and_parameters() -> None:
    model = small(frozen_bn=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items() if "bn" in name}
    model(torch.randn(2, 3, 3, 32, 32)).sum().backward()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(p.grad is None for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())


def test_norms_that_are_synchronised_between_ranks_are_frozen_and_counted_alike() -> None:
    arguments: dict[str, Any] = {"num_classes": 3, "blocks": (1, 1), "width": 8, "block": "basic"}
    frozen = nn.SyncBatchNorm.convert_sync_batchnorm(BesNet(**arguments, frozen_bn=True)).train()
    norms = [module for module in frozen.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert norms
    assert not any(norm.training for norm in norms)
    counted = nn.SyncBatchNorm.convert_sync_batchnorm(BesNet(**arguments, activation_checkpointing=True)).train()
    counted(torch.randn(2, 3, 4, 16, 16)).sum().backward()
    for norm in counted.modules():
        if isinstance(norm, nn.SyncBatchNorm):
            assert norm.num_batches_tracked == 1


def test_erase_relu_lets_negative_values_pass_the_sum() -> None:
    x = torch.randn(1, 3, 2, 32, 32)
    for erase, expected in ((True, True), (False, False)):
        model = small(erase_relu=erase, blocks=(1, 1)).eval()
        seen: list[bool] = []
        model.backbone.get_submodule("layer1.0").register_forward_hook(
            lambda _m, _x, y, seen=seen: seen.append(bool((y < 0).any()))
        )
        assert (model._maps_and_features(x, None)[0] >= 0).all()
        assert seen == [expected]


def test_compiled_network_takes_every_draw_without_recompiling() -> None:
    torch._dynamo.reset()
    model = small().eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(1, 3, 4, 32, 32)
    generator = torch.Generator().manual_seed(0)
    compiled(x, torch.randint(2, (4,), generator=generator))
    with torch.compiler.set_stance("fail_on_recompile"):
        for _ in range(10):
            draws = torch.randint(2, (4,), generator=generator)
            torch.testing.assert_close(compiled(x, draws), model(x, draws))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"dilations": (0,)}, "model.dilations must be at least 1, not 0"),
        ({"dilations": (2, 2)}, "dilations: distinct"),
        ({"temporal_padding": "reflect"}, "temporal_padding"),
        ({"block": "plain"}, "block"),
        ({"blocks": (1, 0)}, "blocks"),
        ({"activation_checkpointing": (3,)}, "stages 1 to 2 exist"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        small(**arguments)
    with pytest.raises(ValueError, match="4 indices are expected"):
        small()(torch.randn(1, 3, 2, 32, 32), torch.zeros(3, dtype=torch.int64))


def test_frame_features_are_frozen_and_know_no_order() -> None:
    torch.manual_seed(0)
    model = BesNet(5, (), block="basic", blocks=(1, 1), width=8, frame_features=True).train()
    clip = torch.randn(2, 3, 4, 32, 32)
    torch.testing.assert_close(model(clip), model(clip.flip(2)), atol=1e-5, rtol=1e-5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(clip).sum().backward()
    learning = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert learning == {"hidden.weight", "hidden.bias", "fc.weight", "fc.bias"}
    assert all((before[name] == value).all() for name, value in model.state_dict().items()), "statistics stay"
    torch.testing.assert_close(fold(model.eval())(clip), model(clip), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="single frames have no dilations"):
        BesNet(5, (1,), frame_features=True)
