"""Hostile files meet prepare and the readers: each gets its reason, nobody dies of it. `make fuzz-video` runs 1,000."""

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from besnet.data.prepare import prepare
from besnet.data.prepare.pool import run_jobs
from besnet.data.prepare.process_video import Job
from besnet.video.container import VideoError
from besnet.video.opening import open_video
from tests.hostile import hostile_files

DEADLINE_SEC = 20.0


class Watch:
    """The most memory that any child of this process had, looked at ten times per second."""

    def __init__(self) -> None:
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        me = psutil.Process()
        while not self._end.wait(0.1):
            for child in me.children():
                try:
                    self.most = max(self.most, child.memory_info().rss)
                except psutil.Error:
                    continue

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def fuzz(shared_data: Path, folder: Path, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    files = hostile_files(shared_data, folder, count)
    files += sorted((shared_data / "odd").iterdir())
    jobs = [
        Job(n, str(path), mode="encode" if n % 4 == 0 else "index", short_side=96, to=str(folder / f"{n}.out"))
        for n, path in enumerate(files)
    ]
    began = time.monotonic()
    with Watch() as watch:
        outcomes = {outcome.number: outcome for outcome in run_jobs(jobs, 2, DEADLINE_SEC)}
    took = time.monotonic() - began
    assert sorted(outcomes) == list(range(len(files)))
    ready = [n for n, outcome in outcomes.items() if outcome.facts]
    broken = [n for n in outcomes if n not in ready]
    assert all(outcomes[n].why for n in broken)
    assert watch.most < 2**30, f"{watch.most >> 20} MiB"
    refused = 0
    for n in ready:
        facts = outcomes[n].facts
        assert facts
        # What was let through gives every frame it promises, or says why not; decord may refuse what PyAV reads.
        for backend in ("pyav", "decord"):
            try:
                with open_video(files[n], backend) as reader:
                    count_read = len(reader)
                    wanted = np.linspace(0, count_read - 1, 8).astype(int)
                    frames = reader.read(wanted)
                    assert frames.shape == (8, reader.height, reader.width, 3)
                    assert n % 4 == 0 or count_read == facts["frames"]
            except VideoError:
                assert backend == "decord", files[n]
                refused += 1
    kinds = Counter(outcomes[n].why.split(": ", 1)[-1][:50] for n in broken)
    with capsys.disabled():
        print(
            f"\n{len(files)} hostile and odd files in {took:.0f} s: {len(broken)} refused, {len(ready)} read "
            f"({refused} not by decord); largest worker {watch.most >> 20} MiB"
        )
        for why, times in kinds.most_common(12):
            print(f"  {times:4} {why}")
    slow = [str(files[n]) for n in broken if "did not finish" in outcomes[n].why]
    assert len(slow) <= 2 + count // 100, slow
    assert took < DEADLINE_SEC * (4 + len(slow)) + len(files)


def test_a_hundred_hostile_files(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fuzz(shared_data, tmp_path, 100, capsys)


@pytest.mark.slow
def test_a_thousand_hostile_files(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fuzz(shared_data, tmp_path, 1000, capsys)


@pytest.mark.slow
def test_no_healthy_video_is_rejected(shared_data: Path, tmp_path: Path) -> None:
    paths = [
        *shared_data.glob("jhmdb/*/*.mp4"),
        *shared_data.glob("weizmann/videos/*/*.avi"),
        *shared_data.glob("kinetics/*.mp4"),
    ]
    assert len(paths) == 1021
    (tmp_path / "t.csv").write_text("label,path\n" + "".join(f"x,{path}\n" for path in sorted(paths)))
    manifest = prepare(tmp_path / "t.csv", tmp_path / "out", index_only=True, workers=2)
    assert len(manifest.select("train")) == 1021
