"""BatchNorm over two ranks against BatchNorm over all their clips at once."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from besnet.training.sync_norm import SyncNorm, SyncNorms

RANKS = 2


def clips_and_weights() -> tuple[Tensor, Tensor]:
    """Clips of both ranks with different statistics, and the gradient that arrives from above."""
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(4, 3, 2, 5, 6, generator=generator, dtype=torch.float64)
    clips[2:] = clips[2:] * 3 + 1
    return clips, torch.randn(4, 3, 2, 5, 6, generator=generator, dtype=torch.float64)


def norm() -> nn.BatchNorm3d:
    made = nn.BatchNorm3d(3).double()
    with torch.no_grad():
        made.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        made.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    return made


def rank(number: int, port: int, folder: str) -> None:
    """What one rank sees, on the disk."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=number, world_size=RANKS)
    clips, above = (tensor[2 * number : 2 * number + 2].clone() for tensor in clips_and_weights())
    clips.requires_grad_()
    synced = SyncNorms().apply(nn.Sequential(norm()))
    assert type(synced[0]) is SyncNorm  # type: ignore[index]
    out = synced(clips)
    (out * above).sum().backward()
    assert clips.grad is not None
    weights = [weight.grad for weight in synced.parameters()]
    torch.save([out.detach(), clips.grad, weights, list(synced.buffers())], f"{folder}/{number}.pt")
    dist.destroy_process_group()


def test_two_ranks_are_one_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "tests.test_sync_norm", str(port), str(tmp_path)]
    ranks = [
        subprocess.Popen([*words, str(number)], cwd=Path(__file__).resolve().parents[1]) for number in range(RANKS)
    ]
    assert [process.wait(timeout=200) for process in ranks] == [0, 0]
    whole, (clips, above) = norm(), clips_and_weights()
    clips.requires_grad_()
    out = whole(clips)
    (out * above).sum().backward()
    assert clips.grad is not None
    seen_by = [torch.load(tmp_path / f"{number}.pt") for number in range(RANKS)]
    torch.testing.assert_close(torch.cat([seen[0] for seen in seen_by]), out.detach())
    torch.testing.assert_close(torch.cat([seen[1] for seen in seen_by]), clips.grad)
    for number, weight in enumerate(whole.parameters()):
        torch.testing.assert_close(sum(seen[2][number] for seen in seen_by), weight.grad)
    for seen in seen_by:
        for found, wanted in zip(seen[3], whole.buffers(), strict=True):
            torch.testing.assert_close(found, wanted)
    model = SyncNorms().revert(nn.Sequential(whole))
    assert type(model[0]) is nn.BatchNorm3d  # type: ignore[index]


if __name__ == "__main__":
    rank(int(sys.argv[3]), int(sys.argv[1]), sys.argv[2])
