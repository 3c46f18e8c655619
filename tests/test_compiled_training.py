"""Training steps under torch.compile with a fresh draw of dilations each: one graph, eager's losses."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.utils import counters

from besnet.models.besnet import BesNet

LAYERS = 4


def draws(step: int) -> torch.Tensor:
    return torch.randint(3, (LAYERS,), generator=torch.Generator().manual_seed(step))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(10_000 + step)
    return torch.randn(2, 3, 6, 32, 32, generator=generator), torch.randint(5, (2,), generator=generator)


def losses(run: nn.Module, network: BesNet, steps: range) -> list[float]:
    """Train for these steps; the loss of each."""
    optimiser = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4)
    values = []
    for step in steps:
        clips, labels = batch(step)
        loss = F.cross_entropy(run(clips, draws(step)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    return values


def compiled_and_eager(backend: str, activation_checkpointing: bool = False) -> tuple[nn.Module, BesNet, BesNet]:
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    network = BesNet(
        5,
        (1, 2, 3),
        blocks=(1, 1),
        width=8,
        zero_init_residual=False,
        activation_checkpointing=activation_checkpointing,
    ).train()
    twin = copy.deepcopy(network)
    return torch.compile(network, backend=backend, fullgraph=True), network, twin  # type: ignore[return-value]


def graphs() -> int:
    """Graphs that torch has compiled so far, by its own count."""
    return counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_draws_do_not_recompile_a_training_step(activation_checkpointing: bool) -> None:
    run, network, twin = compiled_and_eager("aot_eager", activation_checkpointing)
    first = losses(run, network, range(2))
    assert graphs() == 1
    rest = losses(run, network, range(2, 12))
    assert graphs() == 1
    expected = losses(twin, twin, range(2)) + losses(twin, twin, range(2, 12))
    assert first + rest == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the compiler looks at it
def test_equal_blocks_share_one_compiled_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks of two kinds, for training and for evaluation; fresh draws compile nothing."""
    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))
    monkeypatch.setattr(torch.compiler.config, "recompile_limit", 1)
    torch.manual_seed(0)
    network = BesNet(5, (1, 2), blocks=(3,), width=4, zero_init_residual=False)
    twin = copy.deepcopy(network)
    assert network.num_temporal_layers == 2 * 3
    network.compile_blocks()
    for step in range(3):
        clips, labels = batch(step)
        draws = torch.randint(2, (6,), generator=torch.Generator().manual_seed(step))
        for one in (network, twin):
            one.zero_grad()
            F.cross_entropy(one(clips, draws), labels).backward()
        assert graphs() == 2
        for (name, own), other in zip(network.named_parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(own.grad, other.grad, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(clips), twin.eval()(clips))
    assert graphs() == 4
    assert network.state_dict().keys() == twin.state_dict().keys()
    assert not any(module._compiled_call_impl for module in copy.deepcopy(network).modules()), "copies are plain"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # the inductor's own use of it
def test_a_thousand_steps_of_the_inductor() -> None:
    """No recompilation after the first two steps; 20 steps' losses are eager's within the rounding of float32."""
    run, network, twin = compiled_and_eager("inductor")
    start = losses(run, network, range(2))
    seen = graphs()
    values = start + losses(run, network, range(2, 20))
    expected = losses(twin, twin, range(2)) + losses(twin, twin, range(2, 20))
    assert values == pytest.approx(expected, rel=1e-5)
    losses(run, network, range(20, 1000))
    assert graphs() == seen == 1
