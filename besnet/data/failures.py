"""A run's own record of videos that failed while training, and of what took their place."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Failure:
    """One clip, of a video that `prepare` had passed, that could not be read in training.

    repeat: which of the video's clips in this epoch.
    """

    epoch: int
    row: int
    video: str
    why: str
    substitute: int
    repeat: int = 0

    @property
    def key(self) -> tuple[int, int, int]:
        """(epoch, row, repeat): what was asked for."""
        return self.epoch, self.row, self.repeat


class FailureLog:
    """Durable list of failures, one JSON object a line, one file a rank; a replay obeys it.

    Each record reaches the disk before its batch is used, so that a resumed run trains on the same substitutes.
    """

    def __init__(self, folder: Path, rank: int, num_videos: int, largest_share: float = 0.01) -> None:
        self.path = folder / f"failures_{rank}.jsonl"
        self.num_videos = num_videos
        self.largest_share = largest_share
        self.known: dict[tuple[int, int, int], Failure] = {}
        self.read()

    def read(self) -> None:
        """Learn what every rank has recorded so far."""
        for file in sorted(self.path.parent.glob("failures_*.jsonl")):
            for line in file.read_text().splitlines():
                try:
                    failure = Failure(**json.loads(line))
                except (json.JSONDecodeError, TypeError):
                    continue  # a line cut short by a kill: its batch was never used
                self.known[failure.key] = failure

    def substitutes(self) -> dict[tuple[int, int, int], int]:
        """Which row stands in for a clip: {(epoch, row, repeat): row of the substitute}."""
        return {key: failure.substitute for key, failure in self.known.items()}

    def append(self, failures: list[Failure]) -> None:
        """Record failures durably. ValueError once too many distinct videos have failed."""
        new = [failure for failure in failures if failure.key not in self.known]
        if not new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a") as file:
            if file.tell() and not self.path.read_bytes().endswith(b"\n"):
                file.write("\n")
            for failure in new:
                file.write(json.dumps(asdict(failure)) + "\n")
                self.known[failure.key] = failure
            file.flush()
            os.fsync(file.fileno())
        self.read()
        failed = {failure.row for failure in self.known.values()}
        if len(failed) > self.largest_share * self.num_videos:
            raise ValueError(
                f"{len(failed)} of {self.num_videos} training videos failed to decode, more than "
                f"{self.largest_share:.0%} (the last: {new[-1].video}: {new[-1].why}); listed in {self.path}: "
                "run `besnet prepare` again on this data"
            )
