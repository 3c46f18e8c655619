"""Preparing real folders, tables and annotations, and what is said when that cannot be done."""

import errno
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from besnet import cli
from besnet.cli.process import WRONG_USE
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.watchdog import HUNG


def index(source: Path, out: Path, **more: object) -> Manifest:
    return prepare(source, out, index_only=True, workers=2, **more)  # type: ignore[arg-type]


@pytest.fixture
def clips(shared_data: Path, tmp_path: Path) -> Path:
    """A folder with a few short real videos and tables that list them."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("unordered.mov", "video_90.mov", "test_non_zero_start.mp4", "discard_first_keyframe.mp4"):
        shutil.copy(shared_data / "odd" / name, folder)
    return folder


def table(folder: Path, text: str) -> Path:
    path = folder / "videos.csv"
    path.write_text(text)
    return path


def test_real_kinetics_lists_every_video(shared_data: Path, tmp_path: Path) -> None:
    manifest = index(shared_data / "kinetics" / "kinetics400_val.csv", tmp_path)
    assert len(manifest) == 19_906
    assert len(manifest.select("val")) == 3
    assert len(manifest.select("val", "missing")) == 19_903
    assert manifest.classes == (shared_data / "kinetics" / "classes_400.txt").read_text().splitlines()
    ready = [manifest[int(n)] for n in manifest.select("val")]
    assert {row.id[:11] for row in ready} == {"R6llTwEh07w", "SOX5yA1l24A", "WUzgd7C1pWA"}
    assert {manifest.classes[row.label] for row in ready} == {"using segway"}
    missing = manifest[0]
    assert (missing.id, missing.state) == ("0wR5jVB-WPk_000417_000427", "missing")
    assert "0wR5jVB-WPk" in missing.why


def test_weizmann_folds_by_person(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shared_data / "weizmann" / "index.csv"
    manifest = index(source, tmp_path, test="person=daria,denis,eli", val="person=ido", name="fold 1")
    assert [len(manifest.select(split)) for split in ("train", "val", "test")] == [50, 10, 30]
    assert {manifest[int(n)].id.split("/")[2].split("_")[0] for n in manifest.select("test")} == {
        "daria",
        "denis",
        "eli",
    }
    assert "test  30 ready, 0 missing, 0 broken" in capsys.readouterr().out
    again = index(source, tmp_path / "again", test="person=daria,denis,eli", val="person=ido", name="fold 1")
    for name in ("dataset.json", "manifest.jsonl", "manifest.npy"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert again.passport == manifest.passport


@pytest.mark.parametrize("layout", ["train/{c}/{f}", "{c}/train/{f}", "{c}/{f}"])
def test_class_folders(clips: Path, tmp_path: Path, layout: str) -> None:
    root = tmp_path / "root"
    for label, file, split in (("b", "unordered.mov", "train"), ("a", "video_90.mov", "validation")):
        to = root / layout.replace("train", split).format(c=label, f=file)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips / file, to)
    to = root / layout.format(c="a", f="test_non_zero_start.mp4")
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(clips / "test_non_zero_start.mp4", to)
    manifest = index(root, tmp_path / "out")
    assert manifest.classes == ["a", "b"]
    rows = {os.path.basename(manifest[n].path): manifest[n] for n in range(3)}
    assert (rows["unordered.mov"].label, rows["unordered.mov"].split, rows["unordered.mov"].frames) == (1, "train", 4)
    assert rows["video_90.mov"].split == ("train" if layout == "{c}/{f}" else "val")
    assert (rows["video_90.mov"].width, rows["video_90.mov"].height) == (320, 568)


def test_kinetics_layouts_and_labels(clips: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    for file, name in (
        ("unordered.mov", "riding_a_bike/AAAAAAAAAA1_000003_000013.mov"),
        ("video_90.mov", "flat-AAAAAA2.mp4"),
        ("test_non_zero_start.mp4", "deep/er/riding_a_bike/AAAAAAAAAA3_000000_000010.mp4"),
    ):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips / file, videos / name)
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nriding a bike,AAAAAAAAAA1,3,13,train\n"
        "waving hand,flat-AAAAAA2,5,15,train\n"
    )
    (notes / "validate.csv").write_text(
        'label,youtube_id,time_start,time_end,split\n"Riding_a bike",AAAAAAAAAA3,0,10,validate\n'
    )
    (notes / "test.csv").write_text(
        "youtube_id,time_start,time_end,split\nAAAAAAAAAA9,0,10,test\nAAAAAAAAAA1,3,14,test\n"
    )
    manifest = index(notes, tmp_path / "out", videos=videos)
    rows = {manifest[n].id: manifest[n] for n in range(len(manifest))}
    assert {id: (r.state, r.split, r.label) for id, r in rows.items()} == {
        "AAAAAAAAAA1_000003_000013": ("ready", "train", 0),
        "flat-AAAAAA2_000005_000015": ("ready", "train", 1),
        "AAAAAAAAAA3_000000_000010": ("ready", "val", 0),
        "AAAAAAAAAA9_000000_000010": ("missing", "test", -1),
        "AAAAAAAAAA1_000003_000014": ("missing", "test", -1),
    }


def test_broken_videos_keep_their_row_and_reason(shared_data: Path, tmp_path: Path) -> None:
    text = "label,path\n" + "".join(f"x,{p.name}\n" for p in sorted((shared_data / "odd").iterdir()))
    manifest = index(table(tmp_path, text), tmp_path / "out", videos=shared_data / "odd")
    broken = {manifest[int(n)].id: manifest[int(n)].why for n in manifest.select("train", "broken")}
    assert set(broken) == {"audio_only.mp4", "corrupted.mp4"}
    assert "no picture stream" in broken["audio_only.mp4"]
    assert "damaged" in broken["corrupted.mp4"]
    for n in manifest.select("train"):
        with manifest.open(int(n)) as reader:
            row = manifest[int(n)]
            assert (len(reader), reader.width, reader.height) == (row.frames, row.width, row.height)


def test_a_video_that_takes_too_long_or_crashes_is_broken(clips: Path, tmp_path: Path) -> None:
    (clips / "slow.mp4").write_bytes((clips / "unordered.mov").read_bytes())
    from besnet.data.prepare import pool
    from besnet.data.prepare.process_video import Job

    before, pool.START_SEC = pool.START_SEC, 0.0
    try:
        found = list(pool.run_jobs([Job(0, str(clips / "slow.mp4"))], 1, 0.0))
    finally:
        pool.START_SEC = before
    assert found[0].why == "did not finish within 0 s"


@pytest.mark.parametrize(("kind", "code"), [(errno.ENOSPC, WRONG_USE), (errno.ESTALE, HUNG), (errno.ETIMEDOUT, HUNG)])
def test_a_full_disk_or_a_lost_server_is_no_fault_of_the_video(
    kind: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker says so, and the parent ends: the video is not done."""
    from besnet.data.prepare import pool, worker
    from besnet.data.prepare.process_video import Job

    def full(job: Job) -> None:
        raise OSError(kind, os.strerror(kind))

    monkeypatch.setattr(worker, "process_video", full)
    reply = json.dumps(worker.serve(Job(0, "a.mp4"))).encode() + b"\n"
    read, write = os.pipe()
    os.write(write, reply)
    busy = SimpleNamespace(process=SimpleNamespace(stdout=os.fdopen(read)), job=Job(0, "a.mp4"), reply=b"")
    os.close(write)
    with pytest.raises(OSError, match=rf"{os.strerror(kind)}, while it was prepared: 'a\.mp4'") as caught:
        pool._answer(busy)  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as end:
        sys.exit(cli.explained(caught.value))
    assert end.value.code == code
    assert capsys.readouterr().err.count("\n") == 1
    busy.process.stdout.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,file\na,unordered.mov\n", "no column 'path'; it has: label, file"),
        ("label,path\na,unordered.mov\na,unordered.mov\n", r"csv:3: 'unordered.mov' is listed twice, first in .*csv:2"),
        ("label,path,split\na,unordered.mov,train\nb,video_90.mov,val\n", "csv:3: label 'b' is none of the 1 classes"),
        ("label,path,split\na,unordered.mov,dev\n", r"videos\.csv:2: split 'dev'"),
        ("label,path\na\n", r"videos\.csv:2: not 2 fields as in the first line"),
        ("label,path\na,../unordered.mov\n", "leads outside"),
        ("label,path\na,gone.mp4\n", r"no readable video among 1 \(the first: no file gone\.mp4\)"),
        ("label,path\n", "no rows"),
        ("label,path\n,unordered.mov\n", r"videos\.csv:2: label is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_named(clips: Path, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index(table(clips, text), tmp_path / "out")


def test_what_is_wrong_with_the_request_is_named(clips: Path, tmp_path: Path) -> None:
    good = table(clips, "label,path,person\na,unordered.mov,kim\n")
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ({"source": tmp_path / "gone"}, "gone: no such file or folder"),
        ({"source": tmp_path / "file" / "x.csv"}, "no such file"),
        ({"source": good, "out": tmp_path / "file" / "out"}, "cannot be written to"),
        ({"source": good, "out": Path("/proc/nowhere")}, "cannot be written to"),
        ({"source": good, "test": "who=kim"}, "no column 'who'; there are: label, path, person"),
        ({"source": good, "test": "person=lee"}, "no row with person 'lee'"),
        ({"source": good, "test": "kim"}, "write it as column=value"),
        ({"source": good, "classes": "kinetics40"}, "neither a text file nor one of"),
        ({"source": good, "classes": "kinetics400"}, "label 'a' is none of the 400 classes"),
        ({"source": clips.parent / "empty"}, "no videos in class folders"),
        ({"source": good, "timeout_sec": 0}, "--timeout_sec 0: at least 1"),
        ({"source": good, "copy": True}, "exclude each other"),
    ):
        with pytest.raises(ValueError, match=message):
            index(**{"out": tmp_path / "out", **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("renames", range(5))
def test_stopped_between_the_last_renames_it_goes_on(
    clips: Path, tmp_path: Path, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, fresh, rename = tmp_path / "out", tmp_path / "fresh", os.replace
    prepare(table(clips, "label,path\na,unordered.mov\n"), out, copy=True, workers=1)
    grown = table(clips, "label,path\na,unordered.mov\nb,video_90.mov\n")
    done = []

    def stop(source: Path, to: Path) -> None:
        if ".work" in source.parts + to.parts and ".partial" not in source.name:
            if len(done) == renames:
                raise KeyboardInterrupt
            done.append(to)
        rename(source, to)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(grown, out, copy=True, workers=1)
    prepare(grown, out, copy=True, workers=1)
    prepare(grown, fresh, copy=True, workers=1)
    for path in sorted(path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()):
        assert (out / path).read_bytes() == (fresh / path).read_bytes()
    assert not (out / ".work").exists()
