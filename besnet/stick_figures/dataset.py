"""The data set: videos of moving stick figures as H.264 files, and the table that lists them."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np

from besnet.files import write_table
from besnet.progress import Meter
from besnet.stick_figures.actions import CLASSES, DURATION_PAIRS
from besnet.stick_figures.body import Person, draw_person
from besnet.stick_figures.scene import Scene, Variant, draw_scene, render

SPLITS = ["train", "val", "test"]
DEFAULT_VIDEOS = {
    "easy": (480, 180),
    "hard": (2040, 1020),
    "pairs": (960, 240),
    "durations": (1360, 680),
}  # train, test


@dataclass(frozen=True)
class Job:
    """One video to be drawn."""

    folder: Path
    seed: int
    variant: Variant
    split: str
    number: int
    speed: float = 1.0

    @property
    def label(self) -> str:
        """Every person does every action once, so the label says nothing about the person."""
        return self._classes[self.number % len(self._classes)]

    @property
    def person_name(self) -> str:
        return f"{self.split}_{self._person:03d}"

    @property
    def _classes(self) -> list[str]:
        return CLASSES if self.variant != "durations" else [name for pair in DURATION_PAIRS for name in pair]

    @property
    def _person(self) -> int:
        return self.number // len(self._classes)

    @property
    def path(self) -> str:
        """Relative to the table."""
        return f"videos/{self.split}/{self.label}_{self.number:04d}.mp4"

    @property
    def labels(self) -> str:
        """What the table says: the label; of two figures those of both."""
        return self.label if self.variant != "pairs" else f"{self.label}; {self.partner}"

    @property
    def partner(self) -> str:
        """What the second of two figures does, drawn by itself: it may be the same."""
        return str(np.random.default_rng([*self._key, 3, self.number]).choice(CLASSES))

    @property
    def _key(self) -> list[int]:
        return [self.seed, SPLITS.index(self.split)]

    def draw(self) -> tuple[Scene, Person]:
        """Scene and person: functions of the seed and of the place in the data set, not of the label."""
        key = self._key
        scene = draw_scene(np.random.default_rng([*key, 1, self.number]), self.variant, self.speed)
        if self.variant == "pairs":
            scene.bystanders[0].label = self.partner
        return scene, draw_person(np.random.default_rng([*key, 2, self._person]))


def write_video(job: Job) -> None:
    """Render and encode one video. The encoder has one thread: its bytes do not depend on the cores."""
    scene, person = job.draw()
    path = job.folder / job.path
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=scene.fps,
                                      options={"preset": "superfast", "crf": "21", "threads": "1"})  # fmt: skip
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        for image in render(scene, person, job.label):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def plan(folder: Path, variant: Variant, seed: int, train_videos: int | None, test_videos: int | None) -> list[Job]:
    """All the videos of a data set, in the order of the table; val is a third of test."""
    train, test = DEFAULT_VIDEOS[variant]
    train = train if train_videos is None else train_videos
    test = test if test_videos is None else test_videos
    if min(train, test) < 1:
        raise ValueError(
            f"a data set needs videos: train_videos is {train} and test_videos {test}; give at least 1 each"
        )
    counts = {"train": train, "val": -(-test // 3), "test": test}
    return [Job(folder, seed, variant, split, n) for split, count in counts.items() for n in range(count)]


def _drawn(jobs: list[Job], workers: int) -> Iterator[None]:
    if workers == 1:
        for job in jobs:
            write_video(job)
            yield
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(write_video, job) for job in jobs]):
                future.result()
                yield
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def draw_dataset(out: Path, variant: Variant = "easy", seed: int = 0, train_videos: int | None = None,
                 test_videos: int | None = None, workers: int | None = None,
                 speeds: list[float] | None = None) -> None:  # fmt: skip
    """Draw moving stick figures into <out>/videos and list them in <out>/index.csv.

    The table (label, path, split, person; relative paths) is written last: where it exists, the data set is complete.
    The same arguments give the same bytes with any number of workers.

    Args:
        out: folder to write to.
        variant: "hard" adds figures, clutter, occlusion, camera motion, low contrast, and a wide range of speeds and
            viewpoints. "pairs" shows two figures side by side, each with an action of its own: a video has the
            labels of both. "durations" is hard, with eight classes of which two each differ by duration alone: slow or
            fast, once or twice.
        seed: another seed gives other figures in other scenes.
        train_videos: by default 480 for easy, 2,040 for hard, 960 for pairs, 1,360 for durations. A figure does every
            action once.
        test_videos: by default 180, 1,020, 240 and 680. The val split has a third as many.
        workers: drawing processes; by default one per core.
        speeds: such as [0.5,1,2]: draw the test videos alone, again at each of these speeds, into <out>/0.5, <out>/1
            and <out>/2. At speed 2 everything moves twice as fast, and a video has half as many frames.

    Raises ValueError for an unknown variant or a count below 1, OSError where the folder cannot be written.
    """
    if variant not in DEFAULT_VIDEOS:
        raise ValueError(f"unknown variant {variant!r}: choose {', '.join(DEFAULT_VIDEOS)}")
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers is {workers}: give at least 1")
    jobs = plan(Path(out), variant, seed, train_videos, test_videos)
    if speeds is not None:
        if train_videos is not None or variant == "durations" or len(set(speeds)) < len(speeds):
            raise ValueError(
                f"speeds {speeds}: each once, of test videos alone (leave train_videos out), and not of the variant "
                "durations, whose labels another speed would change"
            )
        tests = [job for job in jobs if job.split == "test"]
        jobs = [replace(job, folder=Path(out) / f"{speed:g}", speed=speed) for speed in speeds for job in tests]
    folders = list(dict.fromkeys(job.folder for job in jobs))
    for folder in folders:
        (folder / "index.csv").unlink(missing_ok=True)
    for place in {job.folder / "videos" / job.split for job in jobs}:
        place.mkdir(parents=True, exist_ok=True)

    meter = Meter(len(jobs), "videos")
    for _ in _drawn(jobs, min(workers, len(jobs))):
        meter.add(1)
    meter.close()
    header = ("label", "path", "split", "person")
    for folder in folders:
        mine = [(job.labels, job.path, job.split, job.person_name) for job in jobs if job.folder == folder]
        write_table(folder / "index.csv", [header, *mine])
