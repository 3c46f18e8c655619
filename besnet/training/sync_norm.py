"""BatchNorm over the clips of all ranks on a CPU too, where torch's own refuses to work."""

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, nn


class SyncNorms(LayerSync):
    """What `trainer.sync_batchnorm: true` does on a CPU."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Let every BatchNorm look at all ranks' clips."""
        for module in model.modules():
            if type(module) is nn.BatchNorm3d:
                module.__class__ = SyncNorm  # the same parameters and buffers, held by whoever holds them now
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Let every BatchNorm look at its own rank's clips again."""
        for module in model.modules():
            if type(module) is SyncNorm:
                module.__class__ = nn.BatchNorm3d  # type: ignore[assignment]
        return model


class SyncNorm(nn.BatchNorm3d):
    """BatchNorm3d that normalises with the mean and variance of all ranks' clips; every rank has the same number."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) → the same; as BatchNorm3d outside training."""
        if not self.training or not dist.is_initialized():
            return super().forward(x)
        mean = AllRanksMean.apply(x.mean((0, 2, 3, 4), keepdim=True))
        apart = x - mean
        variance = AllRanksMean.apply(apart.square().mean((0, 2, 3, 4), keepdim=True))
        self._remember(mean.detach().flatten(), variance.detach().flatten(), x.numel() // x.shape[1])
        shape = (1, -1, 1, 1, 1)
        return apart * (torch.rsqrt(variance + self.eps) * self.weight.view(shape)) + self.bias.view(shape)

    def _remember(self, mean: Tensor, variance: Tensor, values: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values *= dist.get_world_size()
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * values / max(values - 1, 1), self.momentum)
        self.num_batches_tracked += 1


class AllRanksMean(torch.autograd.Function):
    """The mean of a tensor over all ranks; so is its gradient, because every rank's loss depends on it."""

    @staticmethod
    def forward(ctx: object, own: Tensor) -> Tensor:
        """(...) → (...), the same on every rank."""
        return mean_of_ranks(own)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        """Mean over the ranks of what their losses say."""
        return mean_of_ranks(gradient)


def mean_of_ranks(own: Tensor) -> Tensor:
    """A new tensor with the mean of all ranks' tensors."""
    total = own.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / dist.get_world_size()
