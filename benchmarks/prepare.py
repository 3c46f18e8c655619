"""Throughput of `besnet prepare` against a bare decode, scale and encode with the same settings.

    make bench-prepare     (DATA=folder with Kinetics videos and J-HMDB, default ../shared/data)

Bare means: ffmpeg, where it is installed (set FFMPEG to another one), else the same loop through PyAV: decode, scale,
libx264 with the options and the quantisation that prepare chose. CPU seconds of both, child processes included.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from besnet.data.prepare import prepare
from besnet.data.prepare.encode import X264

LOOP = """
import sys, av
source, target, side, crf, options = sys.argv[1:6]
import json
with av.open(source, metadata_errors="ignore") as a, av.open(target, "w", format="mp4") as b:
    s = a.streams.video[0]; s.codec_context.thread_count = 1
    scale = min(1, int(side) / min(s.width, s.height))
    w, h = (2 * round(x * scale / 2) for x in (s.width, s.height))
    t = b.add_stream("libx264", rate=s.average_rate, options={**json.loads(options), "crf": crf})
    t.width, t.height, t.pix_fmt, t.codec_context.thread_count = w, h, "yuv420p", 1
    t.codec_context.time_base = s.time_base
    for frame in a.decode(s):
        frame = frame.reformat(w, h, "yuv420p", interpolation="BICUBIC"); frame.pict_type = 0
        b.mux(t.encode(frame))
    b.mux(t.encode())
"""


def bare(ffmpeg: str | None, source: str, target: Path, side: int, crf: float) -> None:
    """One video through ffmpeg or the loop."""
    if ffmpeg is None:
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            LOOP,
            source,
            str(target),
            str(side),
            str(crf),
            json.dumps(X264),
        ]
    else:
        scale = f"scale='if(gt(iw,ih),-2,min({side},iw))':'if(gt(iw,ih),min({side},ih),-2)':flags=bicubic"
        options = [word for key, value in X264.items() for word in (f"-{key}", value)]
        command = [ffmpeg, "-nostdin", "-v", "error", "-y", "-threads", "1", "-i", source, "-an", "-vf", scale]
        command += ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-threads", "1", "-crf", str(crf), *options, str(target)]
    subprocess.run(command, check=True)


def cpu_sec() -> float:
    """CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    ffmpeg = os.environ.get("FFMPEG") or shutil.which("ffmpeg")
    kinetics = sorted((arguments.data / "kinetics").glob("*.mp4"))
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        # Four names for each of the three videos: enough to keep every core busy to the end.
        (work / "videos").mkdir()
        for n in range(4):
            for path in kinetics:
                (work / "videos" / f"{path.stem}-{n}.mp4").symlink_to(path.resolve())
        names = sorted(p.name for p in (work / "videos").iterdir())
        (work / "t.csv").write_text("label,path\n" + "".join(f"x,{name}\n" for name in names))
        spent = {"prepare": 0.0, "bare": 0.0}
        for turn in range(arguments.rounds):
            out = work / f"out{turn}"
            began = cpu_sec()
            with contextlib.redirect_stdout(io.StringIO()):
                manifest = prepare(work / "t.csv", out, videos=work / "videos", workers=arguments.workers)
            spent["prepare"] += cpu_sec() - began
            chosen = {}
            for shard in manifest.about.shards:
                with tarfile.open(out / shard.path) as tar:
                    for info in tar:
                        if info.name.endswith(".json"):
                            about = json.load(tar.extractfile(info))  # type: ignore[arg-type]
                            chosen[about["id"]] = about["crf"]
            began = cpu_sec()
            with ThreadPoolExecutor(arguments.workers) as pool:
                tasks = [pool.submit(bare, ffmpeg, str(work / "videos" / n), work / n, 256, chosen[n]) for n in names]
                for task in tasks:
                    task.result()
            spent["bare"] += cpu_sec() - began
    total = arguments.rounds * len(names)
    rate = total / spent["prepare"]
    print(f"bare: {'ffmpeg' if ffmpeg else 'a PyAV loop'}; {len(names)} Kinetics videos, {arguments.workers} workers")
    for name, seconds in spent.items():
        print(f"  {name:8} {seconds / total:6.2f} CPU seconds a video")
    print(f"  prepare runs at {spent['bare'] / spent['prepare']:.2f} of the bare speed")
    print(f"  {rate:.2f} videos/s/core: {240_000 / rate / 3600:.0f} core hours for 240,000 ten-second videos")


if __name__ == "__main__":
    main()
