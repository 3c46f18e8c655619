"""BatchNorm statistics of the averaged network, measured in batches by any number of ranks."""

import torch
from torch import nn

from besnet.models.besnet import BesNet
from besnet.models.recalibration import batch_norms, measure_batch, set_statistics


def network() -> BesNet:
    torch.manual_seed(0)
    return BesNet(3, dilations=(1, 2), blocks=(1, 1), width=8, zero_init_residual=False, dropout=0.5)


def first_norm(model: BesNet) -> nn.Module:
    return model.backbone.get_submodule("bn1")


def test_one_batch_gives_its_own_mean_and_variance() -> None:
    """The first BatchNorm sees the same values whatever the statistics: the oracle is the mean and variance of them."""
    model, clips = network(), torch.randn(4, 3, 5, 32, 32) * 2 + 1
    with torch.no_grad():
        values = model.backbone.get_submodule("conv1")(clips.transpose(1, 2).flatten(0, 1))
    set_statistics(model, measure_batch(model, clips).unsqueeze(0), torch.tensor([4]))
    torch.testing.assert_close(first_norm(model).running_mean, values.mean((0, 2, 3)))
    torch.testing.assert_close(first_norm(model).running_var, values.var((0, 2, 3)))


def test_batches_combine_by_their_size() -> None:
    model = network()
    batches = [torch.randn(n, 3, 5, 32, 32) + shift for n, shift in ((3, 0.0), (1, 2.0))]
    with torch.no_grad():
        values = model.backbone.get_submodule("conv1")(torch.cat(batches).transpose(1, 2).flatten(0, 1))
    measured = torch.stack([measure_batch(model, clips) for clips in batches])
    set_statistics(model, measured, torch.tensor([3, 1]))
    torch.testing.assert_close(first_norm(model).running_mean, values.mean((0, 2, 3)))
    torch.testing.assert_close(first_norm(model).running_var, values.var((0, 2, 3), correction=0), rtol=1e-3, atol=0)


def test_every_layer_is_measured_as_it_is_used() -> None:
    """With the new statistics the network in evaluation mode answers that batch as with the batch's own statistics."""
    model, clips = network(), torch.randn(8, 3, 5, 64, 64)
    set_statistics(model, measure_batch(model, clips).unsqueeze(0), torch.tensor([8]))
    with torch.no_grad():
        used = model.eval()(clips)
        for norm in batch_norms(model):
            norm.train()
        torch.testing.assert_close(used, model(clips), rtol=2e-2, atol=2e-2)


def test_measuring_leaves_the_model_alone_and_is_the_same_every_time() -> None:
    model, clips = network().train(), torch.randn(2, 3, 5, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    first, second = measure_batch(model, clips), measure_batch(model, clips)
    assert torch.equal(first, second)
    assert [module.training for module in model.modules()] == modes
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(norm.momentum == nn.BatchNorm2d(1).momentum for norm in batch_norms(model))
