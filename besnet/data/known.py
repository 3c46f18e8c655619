"""Whether a network was trained on a video: by the bytes of the file, as it was published or as it was prepared, or by
its id and class in a data set of the same name."""

import hashlib
from collections import defaultdict

import numpy as np

from besnet.data.manifest import STATES, Manifest, Row


def fingerprints(manifest: Manifest, rows: np.ndarray) -> np.ndarray:
    """Fingerprints of these videos, to be stored in a checkpoint: ascending int64, up to three for each video.

    A file that several videos are parts of identifies none of them, and is left out.
    """
    pieces = defaultdict(set)
    for row in np.flatnonzero(manifest.columns["state"] == STATES.index("ready")).tolist():
        facts = manifest[row]
        pieces[facts.source_hash].add(facts.hash)
    found: set[int] = set()
    for row in rows.tolist():
        facts = manifest[row]
        whole = len(pieces[facts.source_hash]) == 1
        found |= {mark for kind, mark in marks(manifest, facts).items() if whole or kind != "source"}
    return np.array(sorted(found), dtype=np.int64)


def among(manifest: Manifest, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Those of `rows` whose videos are among the ones that `fingerprints` were taken of."""
    marked = set(known.tolist())
    chosen = [row for row in rows.tolist() if not marked.isdisjoint(marks(manifest, manifest[row]).values())]
    return np.array(chosen, dtype=np.int64)


def marks(manifest: Manifest, facts: Row) -> dict[str, int]:
    """The marks of one video by their kind, 64 bits each."""
    name = manifest.classes[facts.label] if facts.label >= 0 else ""
    facts_of = {"hash": facts.hash, "source": facts.source_hash, "id": f"{manifest.name}\n{facts.id}\n{name}"}
    return {kind: mark(f"{kind}\n{text}") for kind, text in facts_of.items() if text}


def mark(text: str) -> int:
    """64 bits of a hash."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
