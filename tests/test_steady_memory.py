"""Thousands of clips in a row: memory does not grow."""

import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import pytest

from besnet.data.clips import ClipDraw, TrainingClips
from besnet.data.crop import RandomCrop
from besnet.data.prepare import prepare
from besnet.video.sampling import ClipShape

WARM = 400  # clips that fill pools and caches


def slope(shared_data: Path, folder: Path, backend: str, clips: int) -> tuple[float, float, list[float]]:
    """(bytes per clip, its standard error, resident bytes along the way) of reading clips in this process."""
    for name in ("video_90.mov", "test_non_zero_start.mp4", "h264_10bits.mp4"):
        shutil.copy(shared_data / "odd" / name, folder)
    names = [p.name for p in sorted(folder.iterdir())]
    for path in sorted(shared_data.glob("jhmdb/*/*.mp4"))[::60] + sorted(shared_data.glob("kinetics/*.mp4"))[:1]:
        names.append(str(path))
    lines = [f"x,{folder / name}\n" if "/" not in name else f"x,{name}\n" for name in names]
    (folder / "t.csv").write_text("label,path\n" + "".join(lines))
    manifest = prepare(folder / "t.csv", folder / "out", workers=2)
    data = TrainingClips(manifest, manifest.select("train"), ClipDraw(ClipShape(8, 2), RandomCrop()), 0, backend)  # type: ignore[arg-type]
    me, seen = psutil.Process(), []
    for n in range(clips):
        data[n // len(names), n % len(names), 0]
        if n >= WARM and n % (clips // 100) == 0:
            seen.append(float(me.memory_info().rss))
    at = np.arange(len(seen)) * (clips // 100)
    rate, start = np.polyfit(at, seen, 1)
    residual = float(np.sum((np.array(seen) - rate * at - start) ** 2))
    error = np.sqrt(residual / (len(seen) - 2) / np.sum((at - at.mean()) ** 2))
    return float(rate), float(error), seen


def check(shared_data: Path, folder: Path, backend: str, clips: int, capsys: pytest.CaptureFixture[str]) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # where no other test has used the memory before
        rate, error, seen = alone.submit(slope, shared_data, folder, backend, clips).result()
    with capsys.disabled():
        held = f"{seen[0] / 2**20:.1f} MiB resident"
        print(f"\n{clips} clips with {backend}: {rate:.1f} +- {error:.1f} bytes per clip, {held}")
    # A page that is touched late moves the fit by more than its own error: as much as 2 MiB in all is no growth.
    assert rate < max(3 * error, 2 * 2**20 / clips)


def test_hundreds_of_clips(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(shared_data, tmp_path, "pyav", 1_000, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_ten_thousand_clips(
    shared_data: Path, tmp_path: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check(shared_data, tmp_path, backend, 10_000, capsys)
