"""The dilation layer against plain F.conv3d calls, one for each dilation."""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from besnet.models.dilation import DilationConv


def plain(layer: DilationConv, x: Tensor, dilation: int) -> Tensor:
    """One dilation by the definition: pad explicitly, then one dilated convolution."""
    if layer.temporal_padding == "zeros":
        x = F.pad(x, (0, 0, 0, 0, dilation, dilation))
    else:
        x = torch.cat([x[:, :, :1]] * dilation + [x] + [x[:, :, -1:]] * dilation, 2)
    k = layer.weight.shape[-1]
    return F.conv3d(
        x, layer.weight, stride=(1, layer.stride, layer.stride), padding=(0, k // 2, k // 2), dilation=(dilation, 1, 1)
    )


def mean_of_plain(layer: DilationConv, x: Tensor) -> Tensor:
    return torch.stack([plain(layer, x, d) for d in layer.dilations]).mean(0)


@st.composite
def cases(draw: st.DrawFn) -> tuple[DilationConv, Tensor]:
    """Layers and inputs of any small shape; dilations reach beyond the clip."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    kernel_size = draw(st.sampled_from([1, 3]))
    layer = DilationConv(
        draw(st.integers(1, 5)),
        draw(st.integers(1, 5)),
        draw(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True)),
        kernel_size,
        draw(st.sampled_from([1, 2])),
        draw(st.sampled_from(["zeros", "replicate"])),
    ).double()
    shape = draw(st.tuples(*(st.integers(1, top) for top in (3, 7, 5, 5))))
    x = torch.randn(shape[0], layer.in_channels, *shape[1:], dtype=torch.float64)
    if draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last_3d)
        layer = layer.to(memory_format=torch.channels_last_3d)
    return layer, x


def assert_same(layer: DilationConv, x: Tensor, actual: Tensor, expected: Tensor) -> None:
    """Values, and the gradients of the input and of the weight, to 1e-10."""
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)
    slope = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad(actual, [x, layer.weight], slope),
        torch.autograd.grad(expected, [x, layer.weight], slope),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_averaged_is_the_mean_of_plain_convolutions(case: tuple[DilationConv, Tensor]) -> None:
    layer, x = case
    x.requires_grad_()
    assert_same(layer, x, layer(x), mean_of_plain(layer, x))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), mean_of_plain(layer, x), rtol=0, atol=1e-10)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(), st.integers(0, 3))
def test_drawn_is_the_plain_convolution_with_that_dilation(case: tuple[DilationConv, Tensor], draw: int) -> None:
    layer, x = case
    x.requires_grad_()
    dilation = layer.dilations[draw % len(layer.dilations)]
    for given_as in (dilation, torch.tensor(dilation)):
        assert_same(layer, x, layer(x, given_as), plain(layer, x, dilation))


@pytest.mark.parametrize("channels", [(4, 4), (16, 4)])
@pytest.mark.parametrize("padding", ["zeros", "replicate"])
@pytest.mark.parametrize("batch", [1, 2])
def test_channels_last_memory_stays_so(
    channels: tuple[int, int], padding: Literal["zeros", "replicate"], batch: int
) -> None:
    layer = DilationConv(*channels, (1, 2, 4), temporal_padding=padding)
    x = torch.randn(batch, channels[0], 8, 5, 5).contiguous(memory_format=torch.channels_last_3d)
    for dilation in (None, 1, 9, torch.tensor(2)):
        assert layer(x, dilation).is_contiguous(memory_format=torch.channels_last_3d)
        with torch.no_grad():
            assert layer(x, dilation).is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("channels", [(4, 4), (16, 4)])
def test_float32_to_1e5(channels: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = DilationConv(*channels, (1, 2, 4))
    x = torch.randn(2, channels[0], 8, 5, 5)
    torch.testing.assert_close(layer(x), mean_of_plain(layer, x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [(64, 64), (64, 16)])
@pytest.mark.parametrize("draw", [None, 2])
def test_bfloat16_within_rounding(channels: tuple[int, int], draw: int | None) -> None:
    """Against float64 the layer may be off by a few units of bfloat16's last place (2^-8 of the largest value)."""
    torch.manual_seed(0)
    layer = DilationConv(*channels, (1, 2))
    x = torch.randn(2, channels[0], 8, 5, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        actual = layer(x, None if draw is None else torch.tensor(draw))
    assert actual.dtype == torch.bfloat16
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16())
    exact, wide = layer.double(), x.double()
    expected = mean_of_plain(exact, wide) if draw is None else plain(exact, wide, draw)
    assert (actual.double() - expected).abs().max() < 3 * 2**-8 * expected.abs().max()


def test_a_learned_mixture_starts_uniform_and_learns() -> None:
    torch.manual_seed(0)
    for channels in ((3, 5), (5, 3)):
        layer = DilationConv(*channels, (1, 3), mixture="learned").double()
        x = torch.randn(2, channels[0], 6, 3, 3, dtype=torch.float64)
        torch.testing.assert_close(layer(x), mean_of_plain(layer, x), rtol=0, atol=1e-10)
        assert layer.mixture_logits is not None
        with torch.no_grad():
            layer.mixture_logits.copy_(torch.tensor([0.0, torch.log(torch.tensor(3.0))]))
        expected = 0.25 * plain(layer, x, 1) + 0.75 * plain(layer, x, 3)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-7)
        layer(x).square().sum().backward()
        assert layer.mixture_logits.grad is not None
        assert layer.mixture_logits.grad.abs().min() > 0


def test_compiled_draws_share_one_graph() -> None:
    """Two draws from a tensor, then twenty more: no further compilation, the eager answer each time."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = DilationConv(4, 4, (1, 2, 3))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 4, 6, 3, 3)
    for dilation in (1, 2):
        compiled(x, torch.tensor(dilation))
    with torch.compiler.set_stance("fail_on_recompile"):
        for dilation in [1, 2, 3] * 7:
            torch.testing.assert_close(compiled(x, torch.tensor(dilation)), plain(layer, x, dilation))
