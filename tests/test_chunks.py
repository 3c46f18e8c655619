"""Views of several videos in one chunk: each video's outputs are its own, whatever else is in the chunk."""

import pytest
import torch
from torch import Tensor

from besnet.evaluation.forward import VIEWS_PER_CHUNK, Chunks, forward
from besnet.models.besnet import BesNet
from besnet.models.folding import fold


def through(run: object, videos: dict[int, Tensor]) -> dict[int, Tensor]:
    together: Chunks[int] = Chunks(run)  # type: ignore[arg-type]
    found = [pair for video, views in videos.items() for pair in together.add(video, views)]
    assert len(found) < len(videos), "the last ones wait for their chunk"
    return dict(found + together.rest())


@pytest.mark.parametrize("counts", [[1] * 13, [3, 1, 7, 2, 4], [30, 10, 1, 12], [6, 4]])
def test_outputs_do_not_depend_on_the_other_videos(counts: list[int]) -> None:
    torch.manual_seed(0)
    network = fold(BesNet(5, (1, 2), blocks=(1, 1), width=8).eval())
    seen: list[int] = []

    def run(views: Tensor) -> Tensor:
        seen.append(len(views))
        return network(views)

    videos = {number: torch.randn(count, 3, 4, 24, 24) for number, count in enumerate(counts)}
    found = through(run, videos)
    assert list(found) == list(videos), "each once, in their order"
    assert set(seen) == {VIEWS_PER_CHUNK}
    assert len(seen) == -(-sum(counts) // VIEWS_PER_CHUNK), "no more than the views need"
    backwards = through(run, dict(reversed(videos.items())))
    for number, views in videos.items():
        assert torch.equal(found[number], backwards[number])
        torch.testing.assert_close(found[number], forward(network, views), rtol=0, atol=1e-6)
