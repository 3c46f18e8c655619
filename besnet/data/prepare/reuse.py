"""What an earlier preparation of the same folder made, to be taken over where a video has not changed.

Lists grow as downloads go on: a second run then re-encodes the new videos only. What is taken over is known by the
source's bytes, not by its date, and its own bytes are checked again.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from besnet.data.manifest import Manifest
from besnet.data.manifest_writing import summarise, write_columns
from besnet.data.paths import hash_file, read_range
from besnet.data.prepare.process_video import Job, Outcome, write_piece
from besnet.data.row import MAX_FILE_BYTES, hash_bytes
from besnet.data.shards import members

FACTS = ("size", "frames", "fps", "duration_sec", "width", "height", "hash", "source_hash", "why", "looks")
ROW_KEYS = {"id", "label", "split", "class", "group", "labels", "classes"}


class EarlierResult:
    """An earlier result, if it was made with the same settings."""

    def __init__(self, folder: Path, encode: dict[str, Any]) -> None:
        self._rows: dict[str, int] = {}
        self._notes: dict[int, tuple[str, int, int]] = {}
        self._folder = folder
        try:
            self._manifest = _load(folder)
            if self._manifest.about.encode != encode:
                return
            for shard in self._manifest.about.shards:
                with suppress(ValueError, OSError):  # lost or cut short: its videos are encoded again
                    for member in members(folder / shard.path):
                        if member.extension == "json":
                            self._notes[int(member.key)] = str(folder / shard.path), member.offset, member.size
            ready = (self._manifest.columns["state"] == 0).nonzero()[0]
            self._rows = {self._manifest[int(n)].id: int(n) for n in ready}
        except ValueError:
            # Not there, or damaged: everything is encoded again.
            self._rows = {}

    def of(self, id: str) -> dict[str, Any] | None:
        """What is known of a video, for `Job.before`."""
        number = self._rows.get(id)
        if number is None:
            return None
        row = self._manifest[number]
        path = str(self._folder / row.path) if self._manifest.about.shards else ""
        note = list(self._notes[number]) if number in self._notes else None
        facts = {name: getattr(row, name) for name in FACTS if getattr(row, name) != ""}
        return {"facts": facts, "path": path, "offset": row.offset, "note": note}


def _load(folder: Path) -> Manifest:
    """The manifest of a folder; its columns are written again if they alone are damaged."""
    try:
        return Manifest.load(folder)
    except ValueError:
        with suppress(OSError):
            write_columns(folder, summarise(folder))
        return Manifest.load(folder)


def reused_outcome(job: Job) -> Outcome | None:
    """The outcome of a job from an earlier result; None where the source or that result has changed."""
    before = job.before
    if before is None or (job.shared and not job.exact):  # with several rows for one file, its parts may differ now
        return None
    facts = before["facts"]
    try:
        if job.size is None:
            digest = hash_file(Path(job.path), MAX_FILE_BYTES)[0]
        else:
            digest = hash_bytes(read_range(job.path, job.offset, job.size))
        if digest != facts["source_hash"]:
            return None
        extra = {}
        if job.mode == "encode":
            data = read_range(before["path"], before["offset"], facts["size"])
            about = json.loads(read_range(*before["note"]))
            if hash_bytes(data) != facts["hash"] or about["hash"] != facts["hash"]:
                return None
            extra = {key: value for key, value in about.items() if key not in ROW_KEYS | set(FACTS)}
            write_piece(job.to, data)
    except (ValueError, OSError, KeyError, TypeError):
        return None
    return Outcome(job.number, facts=facts, extra=extra, reused=True)
