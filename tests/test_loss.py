"""Losses and mixed labels against what they promise."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from besnet.data.mixing import mix
from besnet.data.order import MIX, generator
from besnet.training.loss import clip_losses, precision, training_loss

CLASSES = 5


def own_value_clips(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips that hold one number each, a power of two of their label, so that a mixture shows what it is made of."""
    labels = torch.arange(count) % CLASSES
    return (2.0**labels).view(-1, 1, 1, 1, 1).expand(-1, 3, 4, 24, 32).contiguous(), labels


@pytest.mark.parametrize("seed", range(8))
def test_a_blended_clip_and_its_label_are_the_same_mixture(seed: int) -> None:
    clips, labels = own_value_clips()
    mixed, targets = mix(clips, labels, CLASSES, 0.8, None, generator(0, MIX, seed, 0))
    torch.testing.assert_close(targets.sum(1), torch.ones(len(clips)))
    values = targets @ (2.0 ** torch.arange(CLASSES))
    torch.testing.assert_close(mixed, values.view(-1, 1, 1, 1, 1).expand_as(mixed))


@pytest.mark.parametrize("seed", range(8))
def test_the_pasted_share_of_the_volume_is_the_other_label_s_mass(seed: int) -> None:
    clips, labels = own_value_clips()
    mixed, targets = mix(clips, labels, CLASSES, None, 1.0, generator(0, MIX, seed, 0))
    torch.testing.assert_close(targets.sum(1), torch.ones(len(clips)))
    for clip, target in zip(mixed, targets, strict=True):
        volumes = torch.stack([(clip == 2.0**label).float().mean() for label in range(CLASSES)])
        torch.testing.assert_close(volumes, target)
        assert (clip == clip[:, :1]).all(), "the same rectangle on every frame"


def test_mixtures_belong_to_a_position_and_both_kinds_come() -> None:
    clips, labels = own_value_clips()

    def mixed(micro_batch: int, rank: int) -> torch.Tensor:
        return mix(clips, labels, CLASSES, 0.8, 1.0, generator(0, MIX, micro_batch, rank))[0]

    assert torch.equal(mixed(3, 1), mixed(3, 1))
    assert not torch.equal(mixed(3, 1), mixed(4, 1))
    assert not torch.equal(mixed(3, 1), mixed(3, 0))
    pasted = [bool((mixed(number, 0).log2() % 1 == 0).all()) for number in range(20)]
    assert 4 < sum(pasted) < 16


@pytest.mark.parametrize("ohem", [1, 3, 8])
@pytest.mark.parametrize("soft", [False, True])
def test_hard_examples_are_those_with_the_largest_loss(ohem: int, soft: bool) -> None:
    logits = torch.randn(8, CLASSES, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.arange(8) % CLASSES
    targets = torch.eye(CLASSES)[labels] * 0.7 + torch.eye(CLASSES)[labels.flip(0)] * 0.3 if soft else labels
    loss = training_loss(logits, targets, 0.1, ohem)
    chances = logits.detach().log_softmax(1)
    wanted = (targets if soft else torch.eye(CLASSES)[labels]) * 0.9 + 0.1 / CLASSES
    each = np.sort([float(-(wanted[i] * chances[i]).sum()) for i in range(8)])[::-1]
    assert loss.item() == pytest.approx(each[:ohem].mean(), rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert int((logits.grad.abs().sum(1) > 0).sum()) == ohem, "nothing is learned from the others"


def test_precision_under_a_mixture_is_the_share_that_has_the_answer() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(64, 9, generator=generator), torch.randint(9, (64,), generator=generator)
    same = precision(logits, labels)
    assert precision(logits, F.one_hot(labels, 9).float()) == same
    assert 0 < same[0] < same[1] < 100
    # one clip of 70 % class 0 and 30 % class 1: either answer is worth its share, both are among the five
    mixture = torch.tensor([[0.7, 0.3, 0, 0, 0, 0]])
    for answer, worth in ((0, 70), (1, 30), (2, 0)):
        top1, top5 = precision(torch.eye(6)[answer : answer + 1] + torch.arange(6, 0, -1) / 100, mixture)
        assert top1 == pytest.approx(worth)
        assert top5 == pytest.approx(100)


def test_without_hard_examples_the_loss_is_the_mean_over_all() -> None:
    logits, labels = torch.randn(8, CLASSES), torch.arange(8) % CLASSES
    torch.testing.assert_close(training_loss(logits, labels, 0.1), clip_losses(logits, labels, 0.1).mean())
    torch.testing.assert_close(training_loss(logits, labels, 0.1, 8), training_loss(logits, labels, 0.1))
