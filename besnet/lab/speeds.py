"""The same videos at several speeds: what each network loses there, compared with a reference.

A video at twice the speed has half as many frames, and so has its clip: the clip covers the same share of the action,
and the action goes twice as far from one frame to the next.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from besnet.data.manifest import Manifest
from besnet.evaluation.statistics import estimate, paired_difference, share
from besnet.evaluation.truth import own_numbers
from besnet.lab.comparisons import TRAINED
from besnet.lab.controls import Control
from besnet.lab.outcomes import Outcomes
from besnet.lab.plan import Plan
from besnet.lab.results import Videos, of_controls, read_by_all, right
from besnet.video.sampling import ClipShape


def at_speed(clip: ClipShape, speed: float) -> ClipShape:
    """The clip that covers the same share of a video at that speed: fewer frames of a faster one, equally far apart."""
    return replace(clip, num_frames=max(1, round(clip.num_frames / speed)))


def variant(speed: float) -> str:
    """The name of a speed as an inference variant."""
    return f"speed_{speed:g}"


@dataclass(frozen=True)
class SpeedSets:
    """The prepared data of each speed, 1 among them; or none."""

    manifests: dict[float, Manifest]

    @classmethod
    def read(cls, folder: Path, split: str, classes: list[str]) -> "SpeedSets":
        """From <folder>/<speed>/prepared. ValueError without speed 1, and for unknown classes or other videos."""
        found: dict[float, Manifest] = {}
        for path in sorted(folder.glob("*/prepared")):
            try:
                found[float(path.parent.name)] = Manifest.load(path)
            except ValueError as error:
                raise ValueError(f"--speed_data: {path}: {error}") from error
        if 1.0 not in found or len(found) < 2:
            raise ValueError(
                f"--speed_data {folder}: 1/prepared and other speeds are expected in it: `besnet draw {folder} "
                "--speeds [0.5,1,2]`, then `besnet prepare` on each"
            )
        wanted = sorted(ids(found[1.0], found[1.0].select(split, state=None)))
        for manifest in found.values():
            own_numbers(manifest, classes)  # refuses classes that are not those of the training data
            if not wanted or sorted(ids(manifest, manifest.select(split, state=None))) != wanted:
                raise ValueError(f"--speed_data: {manifest.folder}: its {split} videos are not those of speed 1")
        return cls(dict(sorted(found.items())))

    @property
    def variants(self) -> list[str]:
        """The names of its speeds as inference variants."""
        return [variant(speed) for speed in self.manifests]

    @property
    def by_name(self) -> dict[str, Manifest]:
        """The prepared data of each speed, by the speed's name."""
        return {variant(speed): manifest for speed, manifest in self.manifests.items()}

    def plans(self, whole: Plan) -> dict[str, Plan]:
        """How the networks of a lab are evaluated at each speed, by the speed's name."""
        return {variant(speed): self.plan(whole, speed) for speed in self.manifests}

    def plan(self, whole: Plan, speed: float) -> Plan:
        """How they are evaluated at one speed: as they were trained."""
        manifest = self.manifests[speed]
        return replace(
            whole,
            folder=str(manifest.folder),
            passport=asdict(manifest.passport),
            clip=asdict(at_speed(whole.shape, speed)),
            factors=[],
            families=[],
        )

    def gather(self, whole: Plan, found: Mapping[str, Mapping[str, Outcomes]], classes: list[str]) -> "AtSpeeds":
        """The outcomes for the videos that could be read at every speed; found: of the runs, by the speed's name."""
        parts = {}
        for speed, manifest in self.manifests.items():
            rows = self.plan(whole, speed).rows(manifest)
            outcomes, videos = read_by_all(found[variant(speed)], manifest, rows, classes)
            unread = {video["id"] for video in videos.unread}
            names = [name for name in ids(manifest, rows) if name not in unread]
            parts[speed] = outcomes, videos, {name: place for place, name in enumerate(names)}
        _, videos, order = parts[1.0]
        common = [name for name in order if all(name in places for _, _, places in parts.values())]
        runs: dict[str, Outcomes] = {}
        for speed, (outcomes, _, places) in parts.items():
            mine = np.array([places[name] for name in common])
            for run, one in outcomes.items():
                seen = one.of(mine)
                runs.setdefault(run, replace(seen, right={}))
                runs[run].right[variant(speed)] = seen.right[TRAINED]
        at = np.array([order[name] for name in common])
        frames = {speed: self.plan(whole, speed).shape.num_frames for speed in self.manifests}
        looped = {speed: next(iter(of.looped.values())) for speed, (_, of, _) in parts.items()}
        return AtSpeeds(runs, replace(videos, labels=videos.labels[at], groups=videos.groups[at]), frames, looped)


@dataclass(frozen=True)
class AtSpeeds:
    """The outcomes of each run at each speed, of the same videos; a clip's frames, and the share that looped."""

    outcomes: dict[str, Outcomes]
    videos: Videos
    frames: dict[float, int]
    looped: dict[float, float]

    def figures(self, controls: Sequence[Control], seeds_of: Mapping[str, int], reference: str) -> dict[str, Any]:
        """The accuracy of each control at each speed, and what it loses there more than the reference does."""
        networks = of_controls(controls, seeds_of, self.outcomes)
        groups = self.videos.groups

        def values(control: str, speed: float, some: list[int]) -> np.ndarray:
            return right({seed: networks[control][seed] for seed in some}, variant(speed))

        rows = []
        for name, own in networks.items():
            both = sorted(own.keys() & networks[reference].keys())
            there: dict[str, Any] = {}
            for speed in self.frames if own else ():
                there[f"{speed:g}"] = share(values(name, speed, sorted(own)), groups)
                if both and name != reference and speed != 1:
                    terms = [values(*term, both) for term in ((name, speed), (name, 1.0), (reference, speed),
                                                              (reference, 1.0))]  # fmt: skip
                    change = paired_difference(terms[0] - terms[1] - terms[2] + terms[3], groups)
                    there[f"{speed:g}"] |= {"against_reference": change, "logits": logits(terms, groups)}
            rows.append({"name": name, "seeds": sorted(own), "speeds": there})
        return {
            "reference": reference,
            "videos": len(groups),
            "groups": len(set(groups.tolist())),
            "speeds": [
                {"speed": speed, "num_frames": count, "looped": self.looped[speed]}
                for speed, count in self.frames.items()
            ],
            "controls": rows,
        }


def ids(manifest: Manifest, rows: np.ndarray) -> list[str]:
    """The ids of videos."""
    return [manifest[row].id for row in rows]


def logits(terms: Sequence[np.ndarray], groups: np.ndarray) -> dict[str, Any] | None:
    """The figures of (A - B) - (C - D) in logits of accuracy, from right and wrong (seeds, videos) of each.

    Each accuracy's logit is linear near its mean (the delta method). None where one is 0 or 1: its logit is infinite.
    """
    shares = [float(values.mean()) for values in terms]
    if any(mean in (0, 1) for mean in shares):
        return None
    first, second, third, fourth = (
        math.log(mean / (1 - mean)) + (values - mean) / (mean * (1 - mean))
        for values, mean in zip(terms, shares, strict=True)
    )
    return estimate(first - second - third + fourth, groups).plain()
