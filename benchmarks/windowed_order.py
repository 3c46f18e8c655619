"""The demo's network trained in the windowed order of remote shards, and in the global one: is the accuracy the same?

    make prove-windowed                                     # three seeds each: half an hour on two cores
    python -m benchmarks.windowed_order --quick             # one epoch, to see that every step runs

The stick figures lie in shards of 12 videos, of which the windowed order mixes 4 at a time. A lab trains both. Exit
code 1 unless the mean of the windowed order differs from that of the global one by at most the spread of its seeds.
"""

import argparse
import json
import sys
from pathlib import Path

import yaml

from besnet import cli

DATA, CONFIG = Path("data/stick_figures/easy"), Path("configs/stick_figures.yaml")
VIDEOS_A_SHARD, WINDOW = 12, 4
ORDERS = [f"windowed: --data.shuffle=shards --data.shuffle_window={WINDOW}", "global: --data.shuffle=videos"]


def ran(*words: object) -> None:
    """Run a besnet command; the proof ends where it fails."""
    if cli.run(str(words[0]), [str(word) for word in words[1:]]):
        sys.exit(1)


def main() -> int:
    """Run the proof; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/lab/windowed_order"))
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if not (DATA / "index.csv").exists():
        ran("draw", DATA)
    prepared = DATA / "small_shards"
    ran("prepare", DATA / "index.csv", prepared, "--short_side=96", f"--videos_per_shard={VIDEOS_A_SHARD}")
    config = yaml.safe_load(CONFIG.read_text())
    config["data"]["folder"] = str(prepared)
    if asked.quick:
        config["trainer"]["max_epochs"] = 1
    asked.out.mkdir(parents=True, exist_ok=True)
    written = asked.out / "stick_figures.yaml"
    written.write_text(yaml.safe_dump(config, sort_keys=False))
    plan = [
        f"--controls={json.dumps(ORDERS)}",
        f"--seeds={asked.seeds}",
        "--frame_interval_scales=[1]",
        "--variants=[]",
    ]
    ran("lab", f"--config={written}", f"--out={asked.out}", *plan)
    results = json.loads((asked.out / "results.json").read_text())
    found = {control["name"]: control["top1"] for control in results["controls"]}
    for name, top1 in found.items():
        seeds = ", ".join(f"{100 * one:.1f}" for one in top1["by_seed"])
        print(f"{name:9} {100 * top1['mean']:.1f} %  (seeds: {seeds})")
    spread = max(found["global"]["by_seed"]) - min(found["global"]["by_seed"])
    difference = found["windowed"]["mean"] - found["global"]["mean"]
    good = abs(difference) <= spread
    said = "within" if good else "OUTSIDE"
    print(f"difference {100 * difference:+.1f} points, spread of the seeds {100 * spread:.1f}: {said}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
