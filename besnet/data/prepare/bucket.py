"""A preparation whose result goes to object storage: shard by shard, each checked there before it counts.

`<address>/.work` holds the plan, a mark for each part that has begun, and a record of each shard: its size, hash and
videos, and what became of them. A record is written only once the shard's bytes were read back; the last call makes the
manifest of the records alone. Two writers of one part are harmless: their bytes are the same.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from besnet.data import fetching
from besnet.data.dataset import Shard
from besnet.data.fetching import LONG_ANSWER_SEC
from besnet.data.file_systems import Held
from besnet.data.manifest import Manifest
from besnet.data.prepare.copies import scratch_folder
from besnet.data.prepare.listing import Listing
from besnet.data.prepare.object_storage import ObjectStorage, address_of
from besnet.data.prepare.parts import Part, listing_name, listing_text, read_listing
from besnet.data.prepare.process_video import Outcome
from besnet.data.prepare.request import Request
from besnet.data.prepare.staging import Staging
from besnet.data.remote_transfer import SLOWEST, RemoteFile

BEGUN = "begun"  # ending of the mark of the part that lists the source
LISTED_SEC, LOOK_AGAIN_SEC = 120.0, 5.0
MANIFEST = ("manifest.jsonl", "manifest.npy", "dataset.json")  # dataset.json last: it makes the rest count


@dataclass(frozen=True)
class Packed:
    """A finished shard (None if none of its videos is ready), and where its videos begin: {row: offset}."""

    shard: Shard | None
    places: dict[int, int]


def folder_of(out: Path) -> Path:
    """The folder on this machine with the manifest of a result: `out` itself, unless it is an address."""
    address = address_of(out)
    return out if address is None else Bucket(address).scratch


class Bucket(ObjectStorage):
    """The place of a result in object storage."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        own = hashlib.blake2b(self.address.encode(), digest_size=8).hexdigest()
        self.scratch = scratch_folder() / own
        self._packed: dict[str, Packed] = {}

    def local(self, request: Request) -> Request:
        """The same request for this machine's own folder."""
        if request.index_only:
            raise ValueError(f"{self.address}: object storage holds shards: leave --index_only out")
        self.scratch.mkdir(parents=True, exist_ok=True)
        return replace(request, out=self.scratch)

    def listed_before(self, key: str) -> Listing | None:
        """The listing that a part has left."""
        name = f".work/{listing_name(key)}"
        return read_listing(self.read(name).decode()) if self.has(name) else None

    def listed_once(self, key: str, part: Part, make: Callable[[], Listing]) -> Listing:
        """A listing that the first part makes, while those that come at the same time wait for it, and all read.

        One that was killed is not waited for for long: locks only save work.
        """
        name, until_sec = f".work/{listing_name(key)}", time.monotonic() + LISTED_SEC
        first = self.create(f"{name}.{BEGUN}", part.journal.encode())
        if not first and self.read(f"{name}.{BEGUN}").decode() != part.journal:
            while not self.has(name) and time.monotonic() < until_sec:
                print(f"{self.address}: another part lists the source: waiting", flush=True)
                time.sleep(LOOK_AGAIN_SEC)
        found = self.listed_before(key)
        if found is None:
            found = make()
            self.write(name, listing_text(found).encode())
        return found

    def is_finished(self, plan: str) -> bool:
        """Whether the result of this plan is there, then copied here but for its shards. ValueError for another one."""
        held = self.held()
        for name in (".plan", ".work/plan"):
            if name in held and self.read(name).decode() != plan:
                raise ValueError(
                    f"{self.address}/{name}: a preparation of another list, other files or other settings: choose "
                    "another address, or delete it"
                )
        if ".plan" not in held:
            if "dataset.json" in held:
                raise ValueError(f"{self.address}: has a data set that was not written here: choose another address")
            self.write(".work/plan", plan.encode())
            return False
        for name in MANIFEST:
            (self.scratch / name).write_bytes(self.read(name))
        return all(self._is_there(shard, held) for shard in Manifest.load(self.scratch).about.shards)

    def restore(self, staging: Staging, shards: Collection[str], part: Part | None = None) -> None:
        """Take what is recorded of these shards into this machine's journal; a part marks that it has begun."""
        if part is not None:
            self.write(f".work/{part.journal}", b"")
        held = self.held()
        for name in held:
            if name.startswith(".work/outcomes-") and part is None:
                (staging.folder / Path(name).name).touch()
            packed = name.removeprefix(".work/").removesuffix(".json")
            if not name.startswith(".work/shards/") or packed not in shards:
                continue
            about = json.loads(self.read(name))
            shard = Shard(**about["shard"]) if about["shard"] else None
            if shard is not None and not self._is_there(shard, held):
                continue  # it was lost since: its videos are done again
            places = {int(row): offset for row, offset in about["places"].items()}
            self._packed[packed] = Packed(shard, places)
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
        self.write(f".work/{name}.json", json.dumps(record | {"outcomes": [asdict(one) for one in outcomes]}).encode())
        self._packed[name] = packed
        path.unlink(missing_ok=True)

    def publish(self, plan: str) -> None:
        """Bring the manifest there, dataset.json last; then remove what is no longer needed."""
        for name in MANIFEST:
            self.write(name, (self.scratch / name).read_bytes())
        self.write(".plan", plan.encode())
        self.remove([name for name in self.held() if name.startswith(".work/")])
        print(f"{self.address}: complete. To train from it, copy {', '.join(MANIFEST)} to a folder, and set root in")
        print(f"dataset.json to {self.address}")

    def _is_there(self, shard: Shard, held: dict[str, Held]) -> bool:
        return shard.path in held and held[shard.path].size == shard.size

    def _upload(self, path: Path, name: str, shard: Shard) -> None:
        """Write an object until its bytes read back are those of the shard. Unreachable where no attempt succeeds."""
        check, file = path.with_name(f"{path.name}.check"), RemoteFile(self.address, name)
        for attempt in range(1, fetching.ATTEMPTS + 1):
            try:
                fetching.answer(
                    file, lambda system, to: system.put_file(str(path), to), LONG_ANSWER_SEC + shard.size / SLOWEST
                )
                fetching.download(file.address, check, shard.size, shard.hash, fetching.Tally())
                return
            except fetching.Unreachable as error:
                if attempt == fetching.ATTEMPTS or not error.passing:
                    raise
                print(f"besnet: {error}; upload {attempt + 1} of {fetching.ATTEMPTS}", file=sys.stderr, flush=True)
                time.sleep(fetching.FIRST_PAUSE_SEC * 2 ** (attempt - 1))
            finally:
                check.unlink(missing_ok=True)
