"""New BatchNorm statistics for the network as it is used: with its dilations averaged, on training videos.

Statistics gathered while single dilations were drawn do not fit averaged activations, whose variance is smaller. They
are measured batch by batch, each batch on its own, and combined in the order of the batches: the outcome depends on how
the videos were put into batches but not on how many ranks measured them.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from besnet.models.network import Network


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def norm_channels(model: nn.Module) -> int:
    """The channels of all BatchNorms together."""
    return sum(norm.num_features for norm in batch_norms(model))


@torch.no_grad()
def measure_batch(model: Network, clips: Tensor) -> Tensor:
    """Statistics of one batch of clips (B, 3, T, H, W), or of kept maps → float64 (2, channels of all BatchNorms), CPU.

    Row 0 holds the means, row 1 the mean squares. Every BatchNorm normalises with the batch's own statistics meanwhile,
    everything else is in evaluation mode; the model is left as it was found. At least two values a channel are needed.
    BatchNorms that kept maps pass by have their own statistics as the outcome.
    """
    norms = batch_norms(model)
    passed = [model.get_submodule(name) for name in model.passed] if clips.shape[1] != 3 else []
    own_norms = {norm for module in passed for norm in batch_norms(module)}
    training = {module: module.training for module in model.modules()}
    kept = [(norm.momentum, norm.running_mean, norm.running_var, norm.num_batches_tracked) for norm in norms]
    try:
        model.eval()
        for norm in norms:
            if norm in own_norms:
                continue
            norm.train()
            own = norm.running_mean
            assert own is not None
            norm.momentum = 1.0  # so that running_mean and running_var become this batch's
            norm.running_mean, norm.running_var = torch.zeros_like(own), torch.ones_like(own)
            norm.num_batches_tracked = (
                torch.zeros_like(norm.num_batches_tracked) if norm.num_batches_tracked is not None else None
            )
        model(clips)
        mean = torch.cat([norm.running_mean.double() for norm in norms if norm.running_mean is not None])
        variance = torch.cat([norm.running_var.double() for norm in norms if norm.running_var is not None])
    finally:
        for norm, (momentum, *buffers) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.running_mean, norm.running_var, norm.num_batches_tracked = buffers
        for module, mode in training.items():
            module.training = mode
    return torch.stack([mean, variance + mean.square()]).cpu()


def set_statistics(model: nn.Module, measured: Tensor, clips: Tensor) -> None:
    """Write the statistics of all batches into the model's BatchNorms.

    measured: float64 (batches, 2, channels), each row from `measure_batch`, in the order of the batches.
    clips: (batches,), the number of clips in each batch, its weight.
    """
    load_statistics(model, mean_of_batches(measured, clips))


def mean_of_batches(measured: Tensor, clips: Tensor) -> Tensor:
    """The statistics of all batches, weighed by their clips: (batches, 2, channels) → (2, channels), as one batch's."""
    weights = clips.double() / clips.double().sum()
    return (measured * weights.view(-1, 1, 1)).sum(0)


@torch.no_grad()
def load_statistics(model: nn.Module, statistics: Tensor) -> None:
    """Write means and mean squares, float64 (2, channels), into the model's BatchNorms."""
    mean, mean_square = statistics
    variance = (mean_square - mean.square()).clamp_min(0)
    start = 0
    for norm in batch_norms(model):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        end = start + norm.num_features
        norm.running_mean.copy_(mean[start:end])
        norm.running_var.copy_(variance[start:end])
        start = end
    assert start == len(mean), "measured on another network"
