"""A run's own record of videos that failed while training, and of what took their place."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from besnet.files import Journal

LEAST = 2  # videos that may fail however few there are


@dataclass(frozen=True)
class Failure:
    """One clip, of a video that `prepare` had passed, that could not be read in training.

    repeat: which of the video's clips in this epoch. data: the passport of the data that the rows belong to.
    """

    epoch: int
    row: int
    video: str
    why: str
    substitute: int
    repeat: int = 0
    data: str = ""

    @property
    def key(self) -> tuple[int, int, int]:
        """(epoch, row, repeat) of the requested clip."""
        return self.epoch, self.row, self.repeat


class FailureLog:
    """Durable list of failures, one JSON object a line, one file a rank; a replay on the same data obeys it.

    Each record reaches the disk before its batch is used, so that a resumed run trains on the same substitutes. data:
    the passport of the data: once it is repaired, what failed before means nothing.
    """

    def __init__(self, folder: Path, rank: int, num_videos: int, largest_share: float = 0.01, data: str = "") -> None:
        self.folder = folder
        self.journal = Journal(folder / f"failures_{rank}.jsonl")
        self.num_videos = num_videos
        self.largest_share = largest_share
        self.data = data
        self.known: dict[tuple[int, int, int], Failure] = {}
        self.read()
        self.before = frozenset(self.known)  # on record when this process began

    def read(self) -> None:
        """Learn what every rank has recorded so far."""
        self.known |= {failure.key: failure for failure in self._recorded() if failure.data in ("", self.data)}

    def _recorded(self) -> Iterator[Failure]:
        for file in sorted(self.folder.glob("failures_*.jsonl")):
            for record in Journal(file).records():
                try:
                    yield Failure(**record)
                except TypeError:
                    continue  # no record of ours

    def substitutes(self) -> dict[tuple[int, int, int], int]:
        """The substitutes of clips: {(epoch, row, repeat): row of the substitute}."""
        return {key: failure.substitute for key, failure in self.known.items()}

    def append(self, failures: list[Failure]) -> None:
        """Record failures durably. ValueError once too many distinct videos have failed since the process began."""
        dated = [replace(failure, data=self.data) for failure in failures]
        new = [failure for failure in dated if not self._same(failure)]
        if not new:
            return
        self.journal.append(*(asdict(failure) for failure in new))
        self.known |= {failure.key: failure for failure in new}
        self.read()
        failed = {failure.row for key, failure in self.known.items() if key not in self.before}
        if len(failed) > max(LEAST, self.largest_share * self.num_videos):
            raise ValueError(
                f"{len(failed)} of {self.num_videos} training videos failed to decode, more than "
                f"{self.largest_share:.0%} (the last: {new[-1].video}: {new[-1].why}); listed in {self.journal.path}: "
                "run `besnet prepare` again on this data"
            )

    def _same(self, failure: Failure) -> bool:
        """Whether this clip is on record with the same substitute, which a replay may find unreadable, too."""
        known = self.known.get(failure.key)
        return known is not None and known.substitute == failure.substitute
