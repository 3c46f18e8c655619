"""Whether a network was trained on a video: by the bytes of the file, as it was published or as it was prepared, or by
its id and class in a data set of the same name."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from besnet.data.manifest import STATES, Manifest, Row
from besnet.data.paths import hash_file


def mark(text: str) -> int:
    """64 bits of a hash."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


WHOLE = ("hash", "source")  # marks of the bytes of whole videos
# stands among fingerprints where a network also learned from videos that nobody recorded
UNRECORDED = mark("unrecorded")


def fingerprints(manifest: Manifest, rows: np.ndarray) -> np.ndarray:
    """Fingerprints of these videos, to be stored with a network: ascending int64, up to three for each video.

    A file that several videos are parts of identifies none of them; its mark says that a part of it was trained on.
    """
    pieces = defaultdict(set)
    for row in np.flatnonzero(manifest.columns["state"] == STATES.index("ready")).tolist():
        facts = manifest[row]
        pieces[facts.source_hash].add(facts.hash)
    found: set[int] = set()
    for row in rows.tolist():
        facts = manifest[row]
        whole = len(pieces[facts.source_hash]) == 1
        found |= bytes_marks(facts.hash, "hash") | bytes_marks(facts.source_hash, "source" if whole else "part")
        found.add(own_id(manifest, facts))
    return np.array(sorted(found), dtype=np.int64)


def among(manifest: Manifest, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Those of `rows` whose videos are among the ones that `fingerprints` were taken of.

    A part of a file counts if another part of the file is, unless the data set itself has parts of it to train on: then
    it was asked to divide the file.
    """
    marked = set(known.tolist())
    found, parts = [], {}
    for row in rows.tolist():
        facts = manifest[row]
        # what one data set has prepared may be the source of another
        own = bytes_marks(facts.hash, *WHOLE) | bytes_marks(facts.source_hash, *WHOLE) | {own_id(manifest, facts)}
        if not marked.isdisjoint(own):
            found.append(row)
        elif not marked.isdisjoint(bytes_marks(facts.source_hash, "part")):
            parts[row] = facts.source_hash
    if parts:
        divided = {manifest[row].source_hash for row in manifest.select("train").tolist()}
        found += [row for row, source in parts.items() if source not in divided]
    return np.array(sorted(found), dtype=np.int64)


def count_known(manifest: Manifest, rows: np.ndarray, known: np.ndarray | None) -> int | None:
    """How many of `rows` are among the videos of these fingerprints; None where that is not recorded."""
    if known is None:
        return None
    count = len(among(manifest, rows, known))
    return count if count or UNRECORDED not in known else None


def known_files(files: Iterable[Path], known: np.ndarray, beat: Callable[[str], object]) -> list[Path]:
    """The files that are among the ones that `fingerprints` were taken of, by their bytes, or that a part of is.

    beat is called with each file's name. A file that cannot be read is not among them.
    """
    marked, found = set(known.tolist()), []
    for file in files:
        beat(str(file))
        with suppress(OSError, ValueError):
            if not marked.isdisjoint(bytes_marks(hash_file(file)[0], *WHOLE, "part")):
                found.append(file)
    return found


def bytes_marks(digest: str, *kinds: str) -> set[int]:
    """The marks of bytes with this hash: as a video is read (`hash`), as the file that it was prepared from (`source`),
    or as a file of which a part is a video (`part`)."""
    return {mark(f"{kind}\n{digest}") for kind in kinds if digest}


def own_id(manifest: Manifest, facts: Row) -> int:
    """The mark of a video by its id and class."""
    return id_mark(manifest.name, facts.id, manifest.classes[facts.label] if facts.label >= 0 else "")


def id_mark(name: str, id: str, label: str) -> int:
    """The mark of a video's id and class in the data set of a name; label: empty without one, or with several."""
    return mark(f"id\n{name}\n{id}\n{label}")
