"""Videos and lists in object storage: the bytes of the same on a local disk, whatever the network does."""

import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from besnet import cli
from besnet.data import fetching
from besnet.data.file_systems import Held
from besnet.data.prepare import bucket as buckets
from besnet.data.prepare import copies as copying
from besnet.data.prepare import prepare
from besnet.data.prepare.bucket import Bucket
from besnet.data.prepare.copies import Copies, own_folder, scratch_folder
from besnet.data.prepare.listing import Listing
from besnet.data.prepare.object_storage import ObjectStorage
from besnet.data.prepare.parts import Part
from besnet.data.prepare.process_video import Job
from besnet.data.prepare.sources import list_source
from besnet.training import exit_codes
from besnet.watchdog import HUNG
from tests.bucket_servers import BucketServer
from tests.prepared import bytes_of
from tests.shard_server import Faulty
from tests.test_bucket import stored
from tests.test_listing import touch, write
from tests.test_sources import tar_with


@pytest.fixture(scope="module")
def uploaded(bucket_server: BucketServer, table: Path) -> str:
    """The table and its videos in a bucket, in a folder of the same name."""
    place = ObjectStorage(f"{bucket_server.address}/{table.parent.name}")
    for path in [table, *table.parent.glob("t*/*.mp4")]:
        place.write(str(path.relative_to(table.parent)), path.read_bytes())
    return place.address


@pytest.fixture
def server(bucket_server: BucketServer, machine: Callable[[str], None]) -> Iterator[BucketServer]:
    bucket_server.asked.clear()
    yield bucket_server
    bucket_server.answer = lambda handler, data: False


def command(source: str, out: object, *more: str) -> int:
    return cli.run("prepare", [source, str(out), "--copy", "--videos_per_shard=3", "--workers=1", *more])


@pytest.mark.filterwarnings("ignore")
def test_parts_make_the_bytes_of_one_machine_behind_a_bad_server(
    server: BucketServer,
    uploaded: str,
    whole: dict[str, str],
    machine: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A part is killed after an upload and goes on on another machine; the last part is left to the last call."""
    parts = {"s3": 4, "gs": 2}[server.protocol]
    source, out = f"{uploaded}/index.csv", f"{server.address}/from_bucket"
    faulty = server.answer = Faulty(server, share=0.15, seed=0, faults=("drop", "truncate", "503"))
    write, seen = Bucket.write, []

    def killed(self: Bucket, name: str, data: bytes) -> None:
        if name.startswith(".work/shards/"):
            raise KeyboardInterrupt
        write(self, name, data)

    for part in range(parts - 1):
        machine(f"{part}")
        server.asked.clear()
        if part == parts // 2 - 1:
            with monkeypatch.context() as patched:
                patched.setattr(Bucket, "write", killed)
                assert command(source, out, f"--part={part}/{parts}") == 130
            machine("another")
        assert command(source, out, f"--part={part}/{parts}") == 0
        seen.append(set(server.got(".mp4")))
        listed = [path for _, path in server.asked if f"prefix={uploaded.rpartition('/')[2]}" in path]
        assert bool(listed) == (part == 0), "listed once"
        assert not list(scratch_folder().glob("copies-*"))
    machine("last")
    server.asked.clear()
    assert command(source, out) == 0
    seen.append(set(server.got(".mp4")))
    assert sum(map(len, seen)) == len(set.union(*seen)) == 33, "each part reads its own videos only"
    assert set(faulty.done) == {"drop", "truncate", "503"}
    assert stored(out) == whole
    server.asked.clear()
    machine("later")
    assert command(source, out) == 0
    assert not server.got(".mp4"), "already prepared"


def test_a_server_that_is_down_leaves_nothing_that_counts(
    server: BucketServer,
    uploaded: str,
    whole: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A part ends with one line; the same command later ends the work. So it is where access is refused."""
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    source, out = f"{uploaded}/index.csv", tmp_path / "out"
    for status, passing in ((503, True), (403, False)):

        def fail(handler: Any, data: bytes, status: int = status) -> bool:
            if not server.read_by(handler.command, handler.path).endswith(".mp4"):
                return False
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        for thread in threading.enumerate():  # of videos beside the one that ended the last command
            if thread.name.startswith("fetches"):
                thread.join()
        server.answer = fail
        server.asked.clear()
        if passing:
            assert command(source, out, "--part=0/2") == HUNG
        else:
            with pytest.raises(SystemExit) as end:
                command(source, out, "--part=0/2")
            assert end.value.code == exit_codes.WRONG_USE
        last = capsys.readouterr().err.splitlines()[-1]
        assert re.match(rf"besnet: {server.address}/.*\.mp4: cannot be fetched", last)
        assert len(set(server.got(".mp4"))) <= 2, "the others are not asked for"
        if status == 403:
            assert all(server.got(".mp4").count(path) <= 2 for path in set(server.got(".mp4")))
        assert (out / ".work" / "outcomes-0-of-2.jsonl").read_bytes() == b""
    server.answer = lambda handler, data: False
    assert command(source, out) == 0
    assert bytes_of(out) == whole


def as_address(folder: Path) -> Path:
    return Path(f"file://{folder}")


def write_kinds(folder: Path) -> None:
    """A small source of each kind, its files empty."""
    names = ["walk/b.mp4", "walk/a.mp4", "run/deep/c.avi", "run/c.mp4", "run/.hidden.mp4", "run/note.pdf"]
    touch(folder / "classes", *(f"{split}/{name}" for split in ("train", "val") for name in names))
    touch(folder / "table", "walk/a.mp4", "run/c.mp4")
    write(
        folder / "table" / "index.csv", "label,path,split\nwalk,walk/a.mp4,train\nrun,./run/c.mp4,val\nrun,x.mp4,val\n"
    )
    touch(folder / "plain", "a.mp4", "b.mp4")
    write(folder / "plain" / "train.txt", "a.mp4 0\n")
    write(folder / "plain" / "val.txt", "b.mp4 1\n")
    touch(folder / "kinetics", "x/k1_000001_000011.mp4", "k2.mp4")
    write(folder / "kinetics" / "train.csv",
          "label,youtube_id,time_start,time_end\nwalk,k1,1,11\nrun,k2,5,15\nrun,k3,5,15\n")  # fmt: skip
    touch(folder / "ucf", "Walk/v_Walk_g01_c01.avi", "Run/v_Run_g01_c01.avi")
    write(folder / "ucf" / "classInd.txt", "1 Walk\n2 Run\n")
    write(folder / "ucf" / "trainlist01.txt", "Walk/v_Walk_g01_c01.avi 1\n")
    write(folder / "ucf" / "testlist01.txt", "Run/v_Run_g01_c01.avi\n")
    touch(folder / "something", "7.webm")
    write(folder / "something" / "labels.json", '{"Holding something": "0"}')
    write(folder / "something" / "train.json", '[{"id": "7", "template": "Holding [something]"}]')
    tar_with(folder / "tars" / "train.tar", {"a.mp4": b"film", "a.cls": b"1", "b.mp4": b"movie", "b.cls": b"0"})


def test_every_kind_of_source_is_listed_as_on_a_local_disk(
    tmp_path: Path, machine: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tars").mkdir()
    write_kinds(tmp_path)
    for kind in sorted(path for path in tmp_path.iterdir() if path.name != "first"):
        here = list_source(kind, None, {}, 1)
        said = capsys.readouterr().out
        away = list_source(as_address(kind), None, {}, 1)
        assert [replace(e, where="") for e in away.entries] == [replace(e, where="") for e in here.entries], kind
        assert all(entry.where.startswith(f"file://{kind}") for entry in away.entries)
        assert (away.name, away.classes, away.root) == (here.name, here.classes, f"file://{here.root}")
        assert capsys.readouterr().out == said
        assert away.objects.keys() == {entry.path for entry in here.entries if entry.path}
        touch(kind, "out/.work/plan")
        again = list_source(as_address(kind), None, {}, 1, as_address(kind / "out"), kept=away)
        assert again is away, "nothing has changed but for the result"
    table = tmp_path / "table" / "index.csv"
    for videos in (tmp_path / "table", as_address(tmp_path / "table")):
        assert len(list_source(table, videos, {}, 1).entries) == 3
    write(table, f"label,path\nwalk,file://{tmp_path}/table/walk/a.mp4\n")
    assert list_source(as_address(table), None, {}, 1).entries[0].path == "walk/a.mp4"
    with pytest.raises(ValueError, match=f"^file://{table}:2: .*is in object storage: name its folder with --videos"):
        list_source(as_address(table), tmp_path, {}, 1)
    with pytest.raises(ValueError, match="leads outside"):
        list_source(as_address(table), as_address(tmp_path / "plain"), {}, 1)
    with pytest.raises(ValueError, match="no such file or folder"):
        list_source(as_address(tmp_path / "nothing"), None, {}, 1)
    assert not list(scratch_folder().iterdir())


def test_tars_and_spans_are_prepared_as_on_a_local_disk(
    squares: Path, tmp_path: Path, machine: Callable[[str], None]
) -> None:
    """Copied out of tars and cut out of long videos, which several parts of one video share; encoded too."""
    videos = sorted((squares.parent / "train").glob("*.mp4"))[:3]
    (tmp_path / "tars").mkdir()
    members = {f"{n}.mp4": video.read_bytes() for n, video in enumerate(videos)} | {f"{n}.cls": b"0" for n in range(3)}
    tar_with(tmp_path / "tars" / "train.tar", members)
    films = tmp_path / "films"
    films.mkdir()
    shutil.copy(videos[0], films)
    write(films / "index.csv", "label,path,start,end\n" + "".join(
        f"walk,{videos[0].name},{start},{start + 0.15}\n" for start in (0, 0.2, 0.3)))  # fmt: skip
    for source, settings in ((tmp_path / "tars", {"copy": True}), (films / "index.csv", {"background": "none"})):
        results = []
        for where in (source, as_address(source)):
            out = tmp_path / f"out{len(results)}{source.name}"
            prepare(where, out, workers=2, videos_per_shard=2, **settings)  # type: ignore[arg-type]
            results.append(bytes_of(out))
        assert results[0] == results[1]
        assert len(results[0]) > 3
    with pytest.raises(ValueError, match="not read in place"):
        prepare(as_address(films / "index.csv"), tmp_path / "x", index_only=True)


def jobs_of(folder: Path, sizes: dict[str, int], shared: bool = False) -> list[Job]:
    """Jobs on files of these sizes."""
    for name, size in sizes.items():
        (folder / name).write_bytes(name[:1].encode() * size)
    held, at = ObjectStorage(f"file://{folder}").held(), f"file://{folder}"
    listed = [(held[name].size, held[name].tag) for name in sizes]
    return [Job(n, f"{at}/{name}", at=at, listed=facts, shared=shared)
            for n, (name, facts) in enumerate(zip(sizes, listed, strict=True))]  # fmt: skip


def test_copies_stay_within_the_bound_and_only_their_own_are_removed(
    tmp_path: Path, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    jobs = jobs_of(tmp_path / "source", {f"{letter}.mp4": 1000 for letter in "abcdefgh"})
    monkeypatch.setenv("BESNET_CACHE_GB", "3.5e-6")
    with own_folder() as folder:
        foreign = scratch_folder() / "mine.txt"
        foreign.write_text("keep")
        with pytest.raises(ValueError, match=r"4 videos at a time take up to .* GB here: raise BESNET_CACHE_GB"):
            Copies(jobs, 4, folder)
        copies, most = Copies(jobs, 2, folder), 0
        for job in copies.bring(jobs):
            assert Path(job.path).read_bytes() == Path(jobs[job.number].path.removeprefix("file://")).read_bytes()
            most = max(most, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
            copies.drop(job.number)
        assert 2000 <= most <= 3500
    assert sorted(scratch_folder().iterdir()) == [foreign]


def test_leftovers_of_killed_processes_go_and_those_at_work_stay(machine: Callable[[str], None]) -> None:
    with own_folder() as at_work:
        killed = scratch_folder() / "copies-0123"
        killed.mkdir()
        killed.with_suffix(".lock").touch()
        with own_folder():
            assert at_work.exists()
            assert not killed.exists()


def test_bytes_are_those_that_were_listed(
    tmp_path: Path, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ETag that is an MD5 finds a wrong byte; one that is not (encrypted objects) is left alone; others are new."""
    from fsspec.implementations.local import LocalFileSystem

    (job,) = jobs_of(tmp_path, {"a.mp4": 100})
    tags = {"right": hashlib.md5(b"a" * 100).hexdigest(), "no hash": "0" * 32}
    get, times = LocalFileSystem.get_file, []

    def harmed_once(self: Any, path: str, to: str, **more: Any) -> None:
        get(self, path, to, **more)
        times.append(path)
        if len(times) == 1:
            Path(to).write_bytes(b"x" * 100)

    for tag, transfers in (("right", 2), ("no hash", 3)):
        times.clear()
        listed = (100, tags[tag])
        with monkeypatch.context() as patched, own_folder() as folder:
            patched.setattr(LocalFileSystem, "get_file", harmed_once)
            patched.setattr(copying.ObjectStorage, "now", lambda self, name, listed=listed: Held(*listed))
            asked = [replace(job, listed=listed)]
            (found,) = Copies(asked, 1, folder).bring(asked)
            assert Path(found.path).read_bytes() == b"a" * 100
            assert len(times) == transfers
    with own_folder() as folder, pytest.raises(ValueError, match="has changed since it was listed"):
        list(Copies([replace(job, listed=(100, "another"))], 1, folder).bring([replace(job, listed=(100, "another"))]))
    for thread in threading.enumerate():
        if str(job.path) in thread.name:  # threads of other tests may be there, and are not of this one
            thread.join(10)
            assert not thread.is_alive(), "nothing is fetched after the end"


def test_of_parts_that_start_together_one_lists(machine: Callable[[str], None], tmp_path: Path) -> None:
    bucket, seen = Bucket(f"file://{tmp_path}/out"), []

    def make() -> Listing:
        seen.append(1)
        return Listing("name", "root", [])

    first, second = Part(0, 2), Part(1, 2)
    assert bucket.create(".work/listing-key.json.begun", first.journal.encode())
    waiting = threading.Thread(target=bucket.listed_once, args=("key", second, make))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(buckets, "LOOK_AGAIN_SEC", 0.01)
        waiting.start()
        assert bucket.listed_once("key", first, make) == Listing("name", "root", []), "killed before, it lists again"
        waiting.join()
        assert seen == [1]
        (tmp_path / "out" / ".work" / "listing-key.json").unlink()
        patched.setattr(buckets, "LISTED_SEC", 0.05)
        bucket.listed_once("key", second, make)
    assert seen == [1, 1], "one that was killed is not waited for for ever"
