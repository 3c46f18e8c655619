"""Drawn actions joined to long videos with known times: are they found?

Each film shows one figure that does the repeated actions one after the other, with pauses in which it stands still.
The films for training are cut by a table of spans, the pauses are the background; the films for testing are searched.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.prove_labels import besnet
from besnet.files import write_table
from besnet.stick_figures.body import draw_person
from besnet.stick_figures.scene import draw_scene, render

ACTIONS = ["wave", "clap", "kick", "march", "jumping_jack", "bow"]
FILMS = {"train": 40, "val": 4, "test": 12}
FPS = 15
BACKGROUND = "rest"
WANTED = 0.8
CONFIG = Path(__file__).resolve().parent.parent / "configs" / "stick_figures.yaml"
TRAIN = [
    "--data.clip.frame_interval=4", "--data.crop.kind=whole", "--data.balance=0.5",
    "--evaluation.pairs=[]", "--trainer.max_epochs=30",
]  # fmt: skip


def film(path: Path, seed: int) -> Iterator[tuple[str, float, float]]:
    """Write one film; the label, start and end of each of its actions, seconds."""
    rng = np.random.default_rng(seed)
    scene, person = draw_scene(rng, "easy"), draw_person(rng)
    done = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "superfast", "crf": "21"})
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        stream.codec_context.thread_count = 1
        for label in [*rng.permutation(ACTIONS).tolist(), ""]:
            pause, length = (round(FPS * float(rng.uniform(*some))) for some in ((0.6, 2.0), (1.8, 3.2)))
            timing = draw_scene(rng, "easy").actor.timing
            still = replace(scene, fps=Fraction(FPS), frames=length, boxes=np.repeat(scene.boxes[:1], length, axis=0))
            moving = replace(still, actor=replace(scene.actor, timing=timing))
            parts = [render(still, person, "bow", [0] * pause)]
            if label:
                parts.append(render(moving, person, label))
                yield label, (done + pause) / FPS, (done + pause + length) / FPS
                done += length
            done += pause
            for part in parts:
                for image in part:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        container.mux(stream.encode())


def draw(folder: Path) -> Path:
    """Draw all films; returns their table, which is written last."""
    rows = [["label", "path", "start", "end", "split"]]
    for split, count in FILMS.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            name = f"{split}/{number:03d}.mp4"
            seed = 1000 * list(FILMS).index(split) + number
            for label, start, end in film(folder / name, seed):
                rows.append([label, name, f"{start:.6f}", f"{end:.6f}", split])
    write_table(folder / "index.csv", rows)
    return folder / "index.csv"


def prove(folder: Path, run: Path, words: list[str]) -> float:
    """mAP at tIoU 0.5 on the films for testing."""
    index = folder / "index.csv"
    if not index.exists():
        draw(folder)
    besnet("prepare", index, folder / "prepared", "--short_side", 96, "--background", BACKGROUND)
    besnet("train", "--config", CONFIG, "--out", run, "--data.folder", folder / "prepared", *TRAIN, *words)
    besnet("evaluate", "--spans", index, "--ckpt_path", run, "--background", BACKGROUND, "--every_sec", 0.2,
           "--out", run / "spans")  # fmt: skip
    found = json.loads((run / "spans" / "results.json").read_text())["spans"]
    return float(found["map"][found["tiou"].index(0.5)])


def main() -> None:
    """Exits with 1 below the wanted mAP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/stick_figures/films"))
    parser.add_argument("--out", type=Path, default=Path("runs/prove_spans"))
    given, words = parser.parse_known_args()  # the others are besnet train's
    reached = prove(given.data, given.out, words)
    print(f"\nmAP at tIoU 0.5: {100 * reached:.1f} %")
    raise SystemExit(reached < WANTED)


if __name__ == "__main__":
    main()
