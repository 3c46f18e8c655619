"""Odd files, and those made here, against the program ffmpeg: its pictures, and ffprobe's times."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from besnet.video.opening import open_video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="no ffmpeg here"),
]

REFUSED = {"audio_only.mp4", "corrupted.mp4"}
PATTERN = "-f lavfi -i testsrc2=size=160x96:rate=30:duration=3"
SMALL = "-f lavfi -i smptebars=size=96x64:rate=30:duration=3"
ALT_REF = "-auto-alt-ref 1 -lag-in-frames 25 -arnr-maxframes 7 -arnr-strength 5 -b:v 100k"
# What each file is made by, in this order: later ones are cut out of earlier ones.
MADE: dict[str, list[str]] = {
    "vp8.webm": [f"{PATTERN} -c:v libvpx {ALT_REF} -passlogfile log8 -pass {n}" for n in (1, 2)],
    "vp9.webm": [f"{PATTERN} -c:v libvpx-vp9 {ALT_REF} -passlogfile log9 -pass {n}" for n in (1, 2)],
    "mpeg2.ts": [f"{PATTERN} -c:v mpeg2video -g 12 -bf 2 -b:v 800k"],
    **{f"mpeg2_cut.{extension}": ["-ss 1.1 -i mpeg2.ts -c copy"] for extension in ("ts", "mkv", "mpg")},
    "open.ts": [f"{PATTERN} -c:v libx264 -g 24 -bf 2 -x264-params open-gop=1"],
    **{f"open_cut.{extension}": ["-ss 1.5 -i open.ts -c copy"] for extension in ("ts", "mkv", "mp4")},
    "closed.ts": [f"{PATTERN} -c:v libx264 -g 24 -bf 2"],
    "hevc.mkv": [f"{PATTERN} -c:v libx265 -x265-params log-level=none:open-gop=1:keyint=24"],
    "hevc_cut.mkv": ["-ss 1.5 -i hevc.mkv -c copy"],
    "mpeg4.avi": [f"{PATTERN} -c:v mpeg4 -bf 2 -b:v 300k"],
    "h264.avi": [f"{PATTERN} -c:v libx264 -bf 3 -x264-params b-pyramid=normal"],
    "xvid.avi": [f"{PATTERN} -c:v libxvid -bf 2 -b:v 300k"],
    "interlaced.ts": [f"{PATTERN} -c:v libx264 -x264-params interlaced=1:tff=1 -flags +ilme+ildct"],
    "largest.mkv": [f"{SMALL} {PATTERN} -map 0 -map 1 -c:v libx264 -disposition:v:0 0 -disposition:v:1 0"],
    "default.mkv": [f"{SMALL} {PATTERN} -map 0 -map 1 -c:v libx264 -disposition:v:0 default -disposition:v:1 0"],
    "cover.mp4": [f"{PATTERN} {SMALL} -map 0 -map 1 -c:v libx264 -c:v:1 mjpeg -disposition:v:1 attached_pic"],
    "upright.mp4": [f"{PATTERN} -c:v libx264 -g 1"],
    **{
        f"message_{n}.{extension}": [f"-i upright.mp4 -c copy -bsf:v h264_metadata=display_orientation=insert:{how}"]
        for n, how in enumerate(["rotate=90", "rotate=180", "rotate=270", "flip=horizontal", "flip=vertical"])
        for extension in ("mp4", "ts")
    },
    "ffv1.mkv": [f"{PATTERN} -c:v ffv1"],
    "huffyuv.avi": [f"{PATTERN} -c:v huffyuv"],
    "raw.avi": [f"{PATTERN} -c:v rawvideo"],
    "prores.mov": [f"{PATTERN} -c:v prores_ks"],
    "film.gif": [f"{PATTERN}"],
}
MATRICES = ["1 0 0 1", "-1 0 0 1", "1 0 0 -1", "-1 0 0 -1", "0 1 1 0", "0 1 -1 0", "0 -1 1 0", "0 -1 -1 0"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.test_orientation import with_matrix

    folder = tmp_path_factory.mktemp("made")
    for name, commands in MADE.items():
        for command in commands:
            subprocess.run(["ffmpeg", "-v", "error", "-y", *command.split(), name], cwd=folder, check=True)
    for n, matrix in enumerate(MATRICES):
        with_matrix(folder / "upright.mp4", folder / f"matrix_{n}.mp4", *map(int, matrix.split()))
    whole = (folder / "closed.ts").read_bytes()
    (folder / "middle.ts").write_bytes(whole[len(whole) // 188 * 2 // 5 * 188 :])
    return folder


def pictures(path: Path) -> list[np.ndarray]:
    """As ffmpeg shows them: upright, the stream that it takes, none added or left out."""
    command = ["ffmpeg", "-v", "quiet", "-i", str(path), "-an", "-sn", "-vsync", "passthrough", "-pix_fmt", "rgb24"]
    data = subprocess.run([*command, "-f", "image2pipe", "-c:v", "ppm", "-"], capture_output=True, check=False).stdout
    found, at = [], 0
    while at < len(data):
        _, size, _, rest = data[at:].split(b"\n", 3)
        width, height = map(int, size.split())
        found.append(np.frombuffer(rest[: 3 * width * height], np.uint8).reshape(height, width, 3))
        at = len(data) - len(rest) + 3 * width * height
    return found


def times(path: Path, stream: int) -> list[float]:
    """ffprobe's, of the frames to which it gives one."""
    asked = ["-select_streams", str(stream), "-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0"]
    told = subprocess.run(["ffprobe", "-v", "quiet", *asked, str(path)], capture_output=True, text=True, check=False)
    numbers = [line.strip(",") for line in told.stdout.split()]
    return [float(number) for number in numbers if number not in ("", "N/A")]


def check(path: Path) -> None:
    truth = pictures(path)
    with open_video(path) as reader:
        assert len(reader) == len(truth), path.name
        found = reader.read(range(len(reader)))
        told = np.array(times(path, reader._stream.index))
        ours = reader.times_sec
    # ffmpeg forgets what an H.264 message says after its own frame; for the others see test_orientation.
    compared = 1 if path.name.startswith("message") else len(truth)
    for number, (one, other) in enumerate(zip(found[:compared], truth[:compared], strict=True)):
        assert one.shape == other.shape, path.name
        error = ((one.astype(float) - other) ** 2).mean()
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 40, (path.name, number)
    # AVI with B frames: ffprobe knows no time of the last frames.
    assert len(told) >= len(ours) - 3, path.name
    assert np.allclose(ours[: len(told)], told - told[0], atol=2e-3), path.name


def test_odd_files(shared_data: Path) -> None:
    paths = [path for path in sorted((shared_data / "odd").iterdir()) if path.name not in REFUSED]
    assert len(paths) >= 11
    for path in paths:
        check(path)


def test_files_made_for_every_mechanism(made: Path) -> None:
    paths = [path for path in sorted(made.iterdir()) if not path.name.startswith("log")]
    assert len(paths) == len(MADE) + len(MATRICES) + 1
    for path in paths:
        check(path)
