"""A preparation whose result goes to object storage: shard by shard, each checked there before it counts.

`<address>/.work` holds the plan, a mark for each part that has begun, and a record of each shard: its size, hash and
videos, and what became of them. A record is written only once the shard's bytes were read back; the last call makes the
manifest of the records alone. Two writers of one part are harmless: their bytes are the same.
"""

import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from besnet.data import fetching
from besnet.data.cache import PROTOCOLS, cache_folder
from besnet.data.dataset import Shard
from besnet.data.manifest import Manifest
from besnet.data.prepare.parts import Part
from besnet.data.prepare.process_video import Outcome
from besnet.data.prepare.request import Request
from besnet.data.prepare.staging import Staging

MANIFEST = ("manifest.jsonl", "manifest.npy", "dataset.json")  # dataset.json last: it makes the rest count


@dataclass(frozen=True)
class Packed:
    """A finished shard (None if none of its videos is ready), and where its videos begin: {row: offset}."""

    shard: Shard | None
    places: dict[int, int]


def address_of(out: Path) -> str | None:
    """The address that a path stands for (`s3://bucket/name`, of which Path keeps one slash); None for a folder."""
    match = re.fullmatch(r"(\w+):/+(.+)", str(out))
    if not match or match[1] not in PROTOCOLS:
        return None
    return f"{match[1]}://{'/' * (match[1] == 'file')}{match[2]}"


def folder_of(out: Path) -> Path:
    """The folder on this machine with the manifest of a result: `out` itself, unless it is an address."""
    address = address_of(out)
    return out if address is None else Bucket(address).scratch


class Bucket:
    """The place of a result in object storage. OSError names it where it cannot be read or written."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        own = hashlib.blake2b(self.address.encode(), digest_size=8).hexdigest()
        self.scratch = cache_folder().parent / "prepare" / own
        self._packed: dict[str, Packed] = {}
        with self._named():
            try:
                from fsspec.core import url_to_fs

                more = {"auto_mkdir": True} if address.startswith("file:") else {}
                self._system: Any
                self._system, self._root = url_to_fs(self.address, **more)
            except ImportError as error:
                raise ValueError(f"{self.address}: {error}: pip install 'besnet[s3]'") from None

    def local(self, request: Request) -> Request:
        """The same request for this machine's own folder."""
        if request.index_only:
            raise ValueError(f"{self.address}: object storage holds shards: leave --index_only out")
        self.scratch.mkdir(parents=True, exist_ok=True)
        return replace(request, out=self.scratch)

    def is_finished(self, plan: str) -> bool:
        """Whether the result of this plan is there, then copied here but for its shards. ValueError for another one."""
        held = self._sizes()
        for name in (".plan", ".work/plan"):
            if name in held and self._read(name).decode() != plan:
                raise ValueError(
                    f"{self.address}/{name}: a preparation of another list, other files or other settings: choose "
                    "another address, or delete it"
                )
        if ".plan" not in held:
            if "dataset.json" in held:
                raise ValueError(f"{self.address}: has a data set that was not written here: choose another address")
            self._write(".work/plan", plan.encode())
            return False
        for name in MANIFEST:
            (self.scratch / name).write_bytes(self._read(name))
        return all(held.get(shard.path) == shard.size for shard in Manifest.load(self.scratch).about.shards)

    def restore(self, staging: Staging, part: Part | None = None) -> None:
        """Take what the parts have recorded into this machine's journal; a part marks that it has begun."""
        if part is not None:
            self._write(f".work/{part.journal}", b"")
        held = self._sizes()
        for name in held:
            if name.startswith(".work/outcomes-") and part is None:
                (staging.folder / Path(name).name).touch()
            if not name.startswith(".work/shards/"):
                continue
            about = json.loads(self._read(name))
            shard = Shard(**about["shard"]) if about["shard"] else None
            if shard is not None and held.get(shard.path) != shard.size:
                continue  # it was lost since: its videos are done again
            places = {int(row): offset for row, offset in about["places"].items()}
            self._packed[name.removeprefix(".work/").removesuffix(".json")] = Packed(shard, places)
            for outcome in about["outcomes"]:
                if outcome["number"] not in staging:
                    staging.add(Outcome(**outcome))

    def known(self, name: str) -> Packed | None:
        """A shard that is there."""
        return self._packed.get(name)

    def keep(self, name: str, path: Path, packed: Packed, outcomes: Sequence[Outcome]) -> None:
        """Bring a shard there, read it back, then record it; the local file is no longer needed."""
        if packed.shard is not None:
            self._upload(path, name, packed.shard)
        record = {"shard": packed.shard and asdict(packed.shard), "places": packed.places}
        self._write(f".work/{name}.json", json.dumps(record | {"outcomes": [asdict(one) for one in outcomes]}).encode())
        self._packed[name] = packed
        path.unlink(missing_ok=True)

    def publish(self, plan: str) -> None:
        """Bring the manifest there, dataset.json last; then remove what is no longer needed."""
        for name in MANIFEST:
            self._write(name, (self.scratch / name).read_bytes())
        self._write(".plan", plan.encode())
        with self._named():
            self._system.invalidate_cache()
            self._system.rm([f"{self._root}/{name}" for name in self._sizes() if name.startswith(".work/")])
        print(f"{self.address}: complete. To train from it, copy {', '.join(MANIFEST)} to a folder, and set root in")
        print(f"dataset.json to {self.address}")

    def _upload(self, path: Path, name: str, shard: Shard) -> None:
        """Write an object until its bytes read back are those of the shard."""
        check = path.with_name(f"{path.name}.check")
        for attempt in range(1, fetching.ATTEMPTS + 1):
            try:
                with self._named():
                    self._system.put_file(str(path), f"{self._root}/{name}")
                fetching.download(f"{self.address}/{name}", check, shard.size, shard.hash, fetching.Tally())
                return
            except OSError as error:
                if attempt == fetching.ATTEMPTS:
                    raise
                print(f"besnet: {error}; upload {attempt + 1} of {fetching.ATTEMPTS}", file=sys.stderr, flush=True)
                time.sleep(fetching.FIRST_PAUSE_SEC * 2 ** (attempt - 1))
            finally:
                check.unlink(missing_ok=True)

    def _sizes(self) -> dict[str, int]:
        """{name: bytes} of all objects of this result."""
        with self._named():
            self._system.invalidate_cache()
            found = self._system.find(self._root, detail=True)
        return {path[len(self._root) + 1 :]: int(about["size"]) for path, about in found.items()}

    def _read(self, name: str) -> bytes:
        with self._named():
            data: bytes = self._system.cat_file(f"{self._root}/{name}")
        return data

    def _write(self, name: str, data: bytes) -> None:
        with self._named():
            self._system.pipe_file(f"{self._root}/{name}", data)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """OSError with the address for whatever a file system of fsspec raises."""
        try:
            yield
        except ValueError:
            raise
        except Exception as error:
            line = (str(error).strip().splitlines() or [""])[0]
            raise OSError(f"{self.address}: {type(error).__name__}: {line:.300}") from None
