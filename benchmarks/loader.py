"""CPU time of a clip, from the file to RGB frames: besnet, bare libavcodec, and other projects' pipelines.

    make bench-loader     (DATA=folder of Kinetics videos and J-HMDB, default ../shared/data)

One thread, the same 16 frames for everyone, CPU milliseconds a clip (not elapsed time), pipelines taking turns. The
first column of ratios is against bare libavcodec; A/A is bare libavcodec against itself, the error of every ratio.
PyTorchVideo takes part where it is installed (`pip install pytorchvideo==0.1.5 fvcore iopath parameterized`).
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import decord
import numpy as np
import torch

from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.video.sampling import ClipShape, uniform_clips

FRAMES = 16
Clip = tuple[Path, int, np.ndarray]  # file, manifest row, frame numbers
Pipeline = Callable[[Clip], object]


def bare(clip: Clip) -> object:
    """What libavcodec needs at least: seek to the key frame before, decode to the last frame, convert the wanted."""
    path, _, numbers = clip
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        tick = 1 / stream.average_rate / stream.time_base
        wanted = {round(n * tick) + (stream.start_time or 0) for n in np.unique(numbers).tolist()}
        container.seek(min(wanted), stream=stream)
        pictures = []
        for frame in container.decode(stream):
            if frame.pts in wanted:
                pictures.append(frame.reformat(format="rgb24", threads=1).to_ndarray())
                if len(pictures) == len(wanted):
                    break
    assert len(pictures) == len(wanted), path
    return np.stack(pictures)


def besnet(manifest: Manifest) -> Pipeline:
    def read(clip: Clip) -> object:
        with manifest.open(clip[1]) as reader:
            return reader.read(clip[2])

    return read


def besnet_grid(manifest: Manifest, grid: int) -> Pipeline:
    def read(clip: Clip) -> object:
        with manifest.open(clip[1]) as reader:
            return reader.read(clip[2] // grid * grid)

    return read


def besnet_decord(manifest: Manifest) -> Pipeline:
    def read(clip: Clip) -> object:
        with manifest.open(clip[1], "decord") as reader:
            return reader.read(clip[2])

    return read


def as_mmaction2(clip: Clip) -> object:
    """Bytes of the file, a decord reader with one thread, one batch of frames."""
    reader = decord.VideoReader(io.BytesIO(clip[0].read_bytes()), num_threads=1)
    return list(reader.get_batch(clip[2].tolist()).asnumpy())


def as_pyslowfast(clip: Clip) -> object:
    """PyAV: seek to before the clip, decode and convert every frame of its span, then pick."""
    path, _, numbers = clip
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        tick = float(1 / stream.average_rate / stream.time_base)
        start, end = int(numbers.min() * tick), int(numbers.max() * tick)
        container.seek(max(start - 1024, 0), any_frame=False, backward=True, stream=stream)
        frames = {}
        for frame in container.decode(video=0):
            if frame.pts < start:
                continue
            if frame.pts > end:
                break
            frames[frame.pts] = frame
    pictures = [frames[pts].reformat(format="rgb24", threads=1).to_ndarray() for pts in sorted(frames)]
    video = torch.as_tensor(np.stack(pictures))
    return torch.index_select(video, 0, torch.linspace(0, len(video) - 1, len(numbers)).long())


def pytorchvideo() -> Pipeline | None:
    """Its EncodedVideo with PyAV, and the subsampling that its datasets apply."""
    try:
        # Its import asks for a module that torchvision has renamed.
        import torchvision.transforms._functional_tensor as renamed

        sys.modules.setdefault("torchvision.transforms.functional_tensor", renamed)
        from pytorchvideo.data.encoded_video import EncodedVideo
        from pytorchvideo.transforms.functional import uniform_temporal_subsample
    except ImportError as error:
        print(f"PyTorchVideo is not here ({error}): left out")
        return None

    def read(clip: Clip) -> object:
        path, _, numbers = clip
        video = EncodedVideo.from_path(str(path), decode_audio=False)
        rate = float(av_rate(path))
        found = video.get_clip(numbers.min() / rate, (numbers.max() + 1) / rate)["video"]
        video.close()
        return uniform_temporal_subsample(found, len(numbers))

    return read


def av_rate(path: Path) -> float:
    """Frames a second of a file (remembered: it is not the pipeline's time)."""
    if path not in RATES:
        with av.open(str(path)) as container:
            RATES[path] = float(container.streams.video[0].average_rate)
    return RATES[path]


RATES: dict[Path, float] = {}


def measure(pipelines: dict[str, Pipeline], clips: dict[str, list[Clip]], rounds: int) -> dict[str, float]:
    """CPU milliseconds a clip; the pipelines take turns, clip by clip."""
    spent = dict.fromkeys(pipelines, 0.0)
    for name, pipeline in pipelines.items():
        pipeline(clips[name][0])
    for turn in range(rounds):
        for n in range(len(next(iter(clips.values())))):
            names = list(pipelines)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                began = time.process_time()
                pipelines[name](clips[name][n])
                spent[name] += time.process_time() - began
    total = rounds * len(next(iter(clips.values())))
    return {name: 1000 * seconds / total for name, seconds in spent.items()}


def unpack(manifest: Manifest, folder: Path) -> dict[int, Path]:
    """The videos of shards as files, for those who read files."""
    paths = {}
    for row in np.flatnonzero(manifest.columns["state"] == 0).tolist():
        facts = manifest[row]
        paths[row] = folder / f"{row}.mp4"
        shard = Path(manifest.root) / facts.path
        with open(shard, "rb") as file:
            file.seek(facts.offset)
            paths[row].write_bytes(file.read(facts.size))
    return paths


def table(title: str, spent: dict[str, float], against: str) -> None:
    print(f"\n{title}")
    for name, milliseconds in spent.items():
        print(f"  {name:44} {milliseconds:7.1f} ms   {spent[against] / milliseconds:5.2f}x as cheap as {against}")


def compare(
    name: str, raw: Manifest, shards: Manifest, folder: Path, intervals: list[int], starts: int, peers: bool
) -> None:
    """Print the tables of one data set."""
    rows = np.flatnonzero((raw.columns["state"] == 0) & (shards.columns["state"] == 0)).tolist()
    files = {row: Path(raw.root) / raw[row].path for row in rows}
    encoded = unpack(shards, folder)
    theirs = pytorchvideo() if peers else None
    for interval in intervals:
        rng = np.random.default_rng(interval)
        clips: list[Clip] = []
        for row in rows:
            count = raw[row].frames
            span = (FRAMES - 1) * interval + 1
            for _ in range(starts):
                start = int(rng.integers(max(1, count - span + 1)))
                clips.append((files[row], row, (start + interval * np.arange(FRAMES)) % count))
        on_encoded = [(encoded[row], row, numbers) for _, row, numbers in clips]
        pipelines: dict[str, Pipeline] = {
            "bare libavcodec": bare,
            "bare libavcodec again (A/A)": bare,
            "besnet, raw files": besnet(raw),
            "besnet, shards": besnet(shards),
        }
        if interval % 4 == 0:
            pipelines["besnet, shards, grid of 4"] = besnet_grid(shards, 4)
        if peers:
            pipelines["besnet, shards, decord"] = besnet_decord(shards)
            pipelines["as MMAction2 (decord)"] = as_mmaction2
            pipelines["as PySlowFast (PyAV)"] = as_pyslowfast
            if theirs:
                pipelines["PyTorchVideo"] = theirs
        lists = dict.fromkeys(pipelines, clips)
        if peers:
            for peer in [key for key in pipelines if key.startswith(("as ", "PyTorch"))]:
                pipelines[f"{peer}, our re-encoded files"] = pipelines[peer]
                lists[f"{peer}, our re-encoded files"] = on_encoded
        spent = measure(pipelines, lists, 2)
        title = f"{name}: {len(rows)} videos, {FRAMES} frames at interval {interval}, {len(clips)} random starts"
        table(title, spent, "bare libavcodec")
        print(f"  shards against raw: {spent['besnet, raw files'] / spent['besnet, shards']:.2f}x", end="")
        if interval % 4 == 0:
            print(f", on the grid: {spent['besnet, raw files'] / spent['besnet, shards, grid of 4']:.2f}x", end="")
        print()


def views(raw: Manifest, shards: Manifest) -> None:
    """Ten clips per video (three crops each are cut from the same frames): one decode against one decode a view."""
    for name, manifest in (("raw files", raw), ("shards", shards)):
        spent = [0.0, 0.0]
        for row in np.flatnonzero(manifest.columns["state"] == 0).tolist():
            began = time.process_time()
            with manifest.open(row) as reader:
                numbers = uniform_clips(reader.times_sec, ClipShape(FRAMES, 4), 10)
                reader.read(np.unique(numbers))
            middle = time.process_time()
            for clip in numbers:
                for _ in range(3):
                    with manifest.open(row) as reader:
                        reader.read(clip)
            spent[0] += middle - began
            spent[1] += time.process_time() - middle
        print(f"10 x 3 views, {name}: one decode is {spent[1] / spent[0]:.1f}x cheaper than 30")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--starts", type=int, default=8, help="random starts a Kinetics video and interval")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        kinetics = arguments.data / "kinetics"
        tables = []
        jhmdb = sorted((arguments.data / "jhmdb").glob("*/*.mp4"))
        for name, paths in (("kinetics", sorted(kinetics.glob("*.mp4"))), ("jhmdb", jhmdb[:: len(jhmdb) // 40])):
            tables.append(work / f"{name}.csv")
            tables[-1].write_text("label,path\n" + "".join(f"x,{path.resolve()}\n" for path in paths))
        made = []
        with contextlib.redirect_stdout(io.StringIO()):
            for source in tables:
                for index_only in (True, False):
                    made.append(prepare(source, work / f"{source.stem}{index_only}", index_only=index_only))
        before = sum(made[0][n].size for n in range(len(made[0])))
        after = sum(made[1][n].size for n in range(len(made[1])))
        print(f"Kinetics: shards hold {after / before:.3f} of the bytes of the raw files")
        (work / "a").mkdir()
        (work / "b").mkdir()
        compare("Kinetics", made[0], made[1], work / "a", [4], arguments.starts, peers=True)
        compare("Kinetics", made[0], made[1], work / "a", [1, 2, 4, 8], arguments.starts, peers=False)
        compare("J-HMDB", made[2], made[3], work / "b", [1], 1, peers=True)
        views(made[0], made[1])


if __name__ == "__main__":
    main()
