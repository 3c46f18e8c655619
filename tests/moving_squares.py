"""A tiny data set of real H.264 files: a bright square that moves left, right, up or down over noise."""

import csv
from pathlib import Path

import av
import numpy as np

from besnet.data.prepare import prepare

DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
SIZE = 56
FRAMES = 16


def draw(path: Path, direction: tuple[int, int], seed: int, frames: int = FRAMES, fps: int = 30) -> None:
    """Write one video; the square ends where it began, so that only the order of the frames tells the direction."""
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 90, size=(SIZE // 8, SIZE // 8, 3)).repeat(8, 0).repeat(8, 1)
    colour = rng.integers(170, 256, size=3)
    start = rng.integers(SIZE, size=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "ultrafast"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(frames):
            picture = background.copy()
            top, left = (start + 3 * number * np.array(direction)) % SIZE
            where = (np.arange(14) + top) % SIZE, (np.arange(14) + left) % SIZE
            picture[np.ix_(*where)] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def make(folder: Path, train: int = 24, test: int = 9) -> Path:
    """Draw, list and prepare a data set; returns its prepared folder."""
    rows = []
    names = list(DIRECTIONS)
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            label = names[number % len(names)]
            path = f"{split}/{label}_{number}.mp4"
            draw(folder / path, DIRECTIONS[label], seed=number + 1000 * (split == "test"))
            rows.append((label, path, split))
    with open(folder / "index.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "path", "split"])
        writer.writerows(rows)
    prepare(folder / "index.csv", folder / "prepared", index_only=True, workers=1)
    return folder / "prepared"
