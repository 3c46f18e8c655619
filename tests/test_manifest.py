"""The manifest as a reader sees it, and as eight processes share it."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from besnet.data.manifest import Manifest, Row
from besnet.data.manifest_writing import write_manifest


def made_up(count: int) -> list[Row]:
    splits, states = ("train", "val", "test"), ("ready", "missing", "broken")
    return [
        Row(
            id=f"video {n} é\n", label=n % 7 - 1, split=splits[n % 3], state=states[n % 5 % 3], why="why" * (n % 5 > 0),
            path=f"class {n % 7}/video_{n:09d}_000010_000020.mp4", size=1000 + n, frames=300, fps=29.97,
            duration_sec=n / 8, width=340, height=256, hash=f"{n:032x}", source_hash=f"{n + 1:032x}",
        )
        for n in range(count)
    ]  # fmt: skip


def test_rows_and_columns_come_back(tmp_path: Path) -> None:
    rows = made_up(50)
    manifest = write_manifest(tmp_path, "made up", list("abcdef"), ".", rows)
    for m in (manifest, Manifest.load(tmp_path), pickle.loads(pickle.dumps(manifest))):
        assert [m[n] for n in range(len(m))] == rows
        assert m[-1] == rows[-1]
        assert m.labels.tolist() == [row.label for row in rows]
        assert m.select("val").tolist() == [n for n, r in enumerate(rows) if (r.split, r.state) == ("val", "ready")]
        assert m.select("test", None).tolist() == list(range(2, 50, 3))
        assert (m.name, m.classes) == ("made up", list("abcdef"))
    assert len(pickle.dumps(manifest)) < 400, "a worker must get the folder's name, not the rows"
    with pytest.raises(IndexError):
        manifest[50]
    with pytest.raises(ValueError, match="no split 'dev'"):
        manifest.select("dev")


def test_the_passport_follows_what_matters(tmp_path: Path) -> None:
    def passport(change: dict[str, object], encode: dict[str, object] | None = None) -> tuple[str, str]:
        row = Row("a", 0, "train", "ready", path="a.mp4", frames=9, hash="1", source_hash="2")
        found = write_manifest(tmp_path, "x", ["c"], ".", [Row(**{**vars(row), **change})], encode).passport
        return found.source, found.encode

    source, encode = passport({})
    assert passport({}) == (source, encode)
    for change in ({"id": "b"}, {"label": -1}, {"split": "val"}, {"state": "broken"}, {"source_hash": "3"}):
        assert passport(change)[0] != source, change
        assert passport(change)[1] == encode
    assert passport({"path": "elsewhere.mp4"}) == (source, encode)
    for other in (passport({"hash": "4"}), passport({}, {"short_side": 128})):
        assert other[0] == source
        assert other[1] != encode


def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no prepared data here.*besnet prepare"):
        Manifest.load(tmp_path)
    write_manifest(tmp_path, "x", list("abcdef"), ".", made_up(9))
    for name in ("manifest.jsonl", "manifest.npy"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-30])
        with pytest.raises(ValueError, match="prepare"):
            Manifest.load(tmp_path)
        (tmp_path / name).write_bytes(whole)
    Manifest.load(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match=r"dataset\.json: written by besnet \? in format 99"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.mp4", "a/../../b.mp4", "", "http://host/a.mp4", "a\0b"])
def test_a_row_that_leads_out_of_the_root_is_not_opened(tmp_path: Path, path: str) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside.mp4").write_bytes(b"canary")
    manifest = write_manifest(tmp_path / "inside", "x", ["c"], ".", [Row("v", 0, "train", "ready", path=path)])
    with pytest.raises(ValueError, match=r"v: the path .* leads outside"):
        manifest.open(0)


def test_only_ready_videos_open(tmp_path: Path, shared_data: Path) -> None:
    rows = [
        Row("gone", 0, "train", "missing", "no file"),
        Row("here", 0, "train", "ready", path="unordered.mov", size=1606),
    ]
    manifest = write_manifest(tmp_path, "x", ["c"], str(shared_data / "odd"), rows)
    with pytest.raises(ValueError, match="gone: missing: no file"):
        manifest.open(0)
    for backend in ("pyav", "decord"):
        with manifest.open(1, backend) as reader:
            assert reader.read([3]).shape == (1, 50, 50, 3)


def test_a_file_that_was_replaced_is_not_opened(tmp_path: Path, shared_data: Path) -> None:
    whole = (shared_data / "odd" / "unordered.mov").read_bytes()
    (tmp_path / "v.mov").write_bytes(whole)
    rows = [Row("v", 0, "train", "ready", path="v.mov", size=len(whole)), Row("w", 0, "train", "ready", path="w.mov")]
    manifest = write_manifest(tmp_path, "x", ["c"], ".", rows)
    manifest.open(0).close()
    other = (shared_data / "odd" / "video_90.mov").read_bytes()
    (tmp_path / "v.mov").write_bytes(other)
    for backend in ("pyav", "decord"):
        changed = rf"v\.mov: changed since it was prepared \({len(other)} bytes, not 1606\): run `besnet verify`"
        with pytest.raises(ValueError, match=changed):
            manifest.open(0, backend)
    with pytest.raises(ValueError, match=r"w\.mov: cannot be opened: No such file"):
        manifest.open(1)


def test_a_video_inside_a_shard_is_read_by_its_bytes(tmp_path: Path, shared_data: Path) -> None:
    video = (shared_data / "odd" / "unordered.mov").read_bytes()
    (tmp_path / "s.tar").write_bytes(bytes(512) + video + bytes(100))
    rows = [
        Row("v", 0, "train", "ready", path="s.tar", offset=512, size=len(video), in_shard=True),
        Row("cut", 0, "train", "ready", path="s.tar", offset=700, size=len(video), in_shard=True),
    ]
    manifest = write_manifest(tmp_path, "x", ["c"], ".", rows)
    with manifest.open(0) as reader:
        assert len(reader) == 4
    with pytest.raises(ValueError, match="ends before byte"):
        manifest.open(1)


def test_the_size_of_kinetics_fits(tmp_path: Path) -> None:
    """240,000 rows: one process opens, shuffles and finds the first in little memory."""
    write_manifest(tmp_path, "large", list("abcdef"), ".", made_up(240_000))
    script = (
        "import sys, numpy as np; from pathlib import Path; from besnet.data.manifest import Manifest\n"
        "m = Manifest.load(Path(sys.argv[1])); rows = m.select('train'); np.random.default_rng(0).shuffle(rows)\n"
        "row = m[int(rows[0])]; peak = open('/proc/self/status').read().split('VmHWM:')[1].split()[0]\n"
        "print(len(m), row.frames, peak)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    count, frames, kilobytes = map(int, done.stdout.split())
    assert (count, frames) == (240_000, 300)
    assert kilobytes < 400 * 1024
    assert json.loads((tmp_path / "dataset.json").read_text())["rows"] == 240_000
    assert np.load(tmp_path / "manifest.npy", mmap_mode="r").nbytes < 6_000_000


SHARE = """
import random, sys
from pathlib import Path
from besnet.data.manifest import Manifest

def pss():
    return int(open('/proc/self/smaps_rollup').read().split('Pss:')[1].split()[0])

import json, numpy
Manifest.load(Path(sys.argv[2]))[0]
print(pss(), flush=True); sys.stdin.readline()
m = Manifest.load(Path(sys.argv[1])); rng = random.Random(0)
for _ in range(20_000): m[rng.randrange(len(m))]
labels = m.labels
print(pss(), flush=True); sys.stdin.readline()
"""


def test_eight_workers_share_one_manifest(tmp_path: Path) -> None:
    """What eight processes that read rows take together stays below a tenth of the manifest each."""
    (tmp_path / "large").mkdir()
    (tmp_path / "small").mkdir()
    write_manifest(tmp_path / "large", "large", list("abcdef"), ".", made_up(100_000))
    write_manifest(tmp_path / "small", "small", list("abcdef"), ".", made_up(10))
    command = [sys.executable, "-c", SHARE, str(tmp_path / "large"), str(tmp_path / "small")]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    totals = []
    for _ in range(2):
        totals.append(sum(int(w.stdout.readline()) for w in workers if w.stdout))
        for worker in workers:
            if worker.stdin:
                worker.stdin.write("\n")
                worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    size = (tmp_path / "large" / "manifest.jsonl").stat().st_size / 1024
    assert totals[1] - totals[0] < 8 * 0.1 * size, (totals, size)
