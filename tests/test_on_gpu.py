"""What a GPU computes is what the CPU computes, and a training step never makes the device wait."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from besnet.data.augment import Augmentation
from besnet.data.clips import Clip, collate
from besnet.data.evaluation_clips import VideoClips
from besnet.data.transfer import copy_stream, to_device
from besnet.data.transforms import evaluation_views, training_batch
from besnet.models.besnet import BesNet
from besnet.models.folding import fold
from besnet.models.network import lay_channels_last
from besnet.training.module import ActionModule
from besnet.training.recipe import Recipe

pytestmark = pytest.mark.gpu
SEED = np.random.SeedSequence(0)


@pytest.fixture(autouse=True)
def full_products() -> Iterator[None]:
    """float32 with all its bits, as the CPU computes."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def small(padding: str = "replicate") -> BesNet:
    torch.manual_seed(0)
    return BesNet(5, (1, 2), blocks=(1, 1), width=16, temporal_padding=padding)  # type: ignore[arg-type]


def test_its_logits_are_those_of_the_cpu_in_every_form() -> None:
    clips = torch.randn(2, 3, 8, 48, 56)
    for padding in ("replicate", "zeros"):
        network = small(padding).eval()
        draws = torch.arange(network.num_temporal_layers) % 2
        with torch.no_grad():
            wanted = [network(clips), network(clips, draws), network(clips)]
            lay_channels_last(network.cuda())
            found = [network(clips.cuda()), network(clips.cuda(), draws), fold(network)(clips.cuda())]
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler
def test_its_logits_are_the_same_compiled() -> None:
    network, clips = small().eval().cuda(), torch.randn(2, 3, 8, 48, 48, device="cuda")
    draws = (torch.arange(network.num_temporal_layers) % 2).cuda()
    compiled = torch.compile(network)
    with torch.no_grad():
        torch.testing.assert_close(compiled(clips, draws), network(clips, draws), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(compiled(clips), network(clips), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler
def test_its_training_step_is_the_same_compiled_by_block() -> None:
    network, twin, clips = small().cuda(), small().cuda(), torch.randn(4, 3, 8, 48, 48, device="cuda")
    network.compile_blocks()
    for draws in (torch.zeros(network.num_temporal_layers, dtype=torch.int64), torch.ones(4, dtype=torch.int64)):
        for one in (network, twin):
            one.zero_grad()
            one(clips, draws).square().mean().backward()
        for own, other in zip(network.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(own.grad, other.grad, rtol=1e-3, atol=1e-4)


def batch_of(count: int, augmentation: Augmentation | None) -> list[Clip]:
    rng = np.random.default_rng(SEED)
    clips = []
    for row in range(count):
        size = (4, int(rng.integers(30, 60)), int(rng.integers(30, 60)), 3)
        frames = torch.from_numpy(rng.integers(0, 256, size=size, dtype=np.uint8))
        changes = augmentation.draw(rng) if augmentation else ()
        clips.append(Clip(row=row, label=row % 5, frames=frames, flip=bool(row % 2), looped=False, changes=changes))
    return clips


@pytest.mark.parametrize("augmentation", [None, Augmentation(colour=0.4, hue=0.1, rand_augment=2, erase=1.0)])
def test_its_training_clips_are_those_of_the_cpu(augmentation: Augmentation | None) -> None:
    batch, normalisation = collate(batch_of(6, augmentation)), small().normalisation
    wanted = training_batch(batch, 32, normalisation)
    found = training_batch(batch.to(torch.device("cuda")), 32, normalisation).cpu()
    apart = (found - wanted).abs()
    assert apart.mean() < 0.01, "rounding to a neighbouring level"
    assert (apart > 0.1).float().mean() < 0.01


def test_its_views_are_those_of_the_cpu() -> None:
    frames = torch.randint(0, 256, (2, 4, 40, 60, 3), dtype=torch.uint8)
    wanted = evaluation_views(frames, 32, 3, small().normalisation)
    found = evaluation_views(frames.cuda(), 32, 3, small().normalisation).cpu()
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_a_copy_is_made_beside_what_the_gpu_computes_and_stays_whole() -> None:
    device = torch.device("cuda")
    frames = VideoClips(0, torch.full((1, 4, 64, 64, 3), 7, dtype=torch.uint8)).pin_memory().frames
    assert frames is not None
    assert frames.is_pinned()
    to_device([frames], device)  # what is made once may wait
    torch.cuda._sleep(2**33)  # seconds of work on the stream of the steps
    busy = torch.cuda.Event()
    busy.record()
    (there,) = to_device([frames], device)
    copy_stream(device).synchronize()
    assert not busy.query(), "the copy was made meanwhile"
    assert bool((there == 7).all())
    sums = []
    for number in range(50):  # memory that is free again is taken for the next copy only when it has been read
        (there,) = to_device([torch.full((2**20,), number, dtype=torch.uint8).pin_memory()], device)
        torch.cuda._sleep(2**20)
        sums.append(there.sum())
        del there
    assert torch.stack(sums).tolist() == [number * 2**20 for number in range(50)]


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # torch calls it a prototype
def test_a_training_step_waits_for_nothing() -> None:
    """Copies, transforms, mixing, forward, backward and update, of a batch in page-locked memory."""
    task = ActionModule(small(), Recipe(mixup=0.2, cutmix=1.0, ema=0.9)).cuda().train()
    optimizer = task.recipe.build_optimizer(task.network)
    augmentation = Augmentation(colour=0.4, hue=0.1, rand_augment=4, erase=1.0)
    batch = collate(batch_of(16, augmentation)).pin_memory()

    def step() -> torch.Tensor:
        there = batch.to(torch.device("cuda"))
        clips = training_batch(there, 32, task.network.normalisation)
        optimizer.zero_grad()
        loss = task.learn(*task.mixed(clips, there.labels))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.network.parameters(), 1.0)
        optimizer.step()
        assert task.ema is not None
        task.ema.update(task.network, 1)
        return loss

    step()  # what is made once may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()
