"""Shards as written by prepare: what other readers find in them, what the encode keeps, what damage does."""

import gc
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import av
import numpy as np
import pytest

from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.data.row import hash_bytes
from besnet.data.shards import members, write_shard
from besnet.video.opening import open_video

NAMES = ("unordered.mov", "video_90.mov", "test_non_zero_start.mp4", "nasa_13013_rotated.mp4", "h264_10bits.mp4")


@pytest.fixture(scope="module")
def sources(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of seven real videos, one of them broken and one missing."""
    folder = tmp_path_factory.mktemp("sources")
    for name in (*NAMES, "corrupted.mp4"):
        shutil.copy(shared_data / "odd" / name, folder)
    lines = [f"{'ab'[n % 2]},{name},{'train' if n < 4 else 'test'}" for n, name in enumerate((*NAMES, "corrupted.mp4"))]
    (folder / "table.csv").write_text("\n".join(["label,path,split", *lines, "a,gone.mp4,train"]) + "\n")
    return folder


@pytest.fixture(scope="module")
def encoded(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return prepare(sources / "table.csv", tmp_path_factory.mktemp("encoded"), videos_per_shard=3, workers=2)


def upright_frames(path: Path) -> np.ndarray:
    with open_video(path) as reader:
        return reader.read(range(len(reader)))


def test_times_sizes_and_pictures_are_those_of_the_source(encoded: Manifest, sources: Path) -> None:
    assert [encoded[n].state for n in range(7)] == ["ready"] * 5 + ["broken", "missing"]
    for n, name in enumerate(NAMES):
        row = encoded[n]
        assert row.in_shard
        assert row.source_hash == hash_bytes((sources / name).read_bytes())
        truth = upright_frames(sources / name)
        with open_video(sources / name) as source, encoded.open(n) as reader, encoded.open(n, "decord") as other:
            assert np.allclose(reader.times_sec, source.times_sec, atol=1e-3)
            frames = reader.read(range(len(reader)))
            assert np.array_equal(other.read(range(len(other))), frames)
        assert frames.shape == (row.frames, row.height, row.width, 3)
        assert max(row.width, row.height) / min(row.width, row.height) == pytest.approx(
            max(truth.shape[1:3]) / min(truth.shape[1:3]), rel=0.01
        )
        assert min(row.width, row.height) == min(256, *truth.shape[1:3])
        if frames.shape == truth.shape:
            # Colours too: a lost colour matrix or range would cost far more than the encode does. The 10-bit test
            # picture has edges of pure colour, which halving the colour resolution again blurs.
            error = np.mean((frames.astype(float) - truth) ** 2) + 1e-9
            assert 10 * np.log10(255**2 / error) > (22 if "10bits" in name else 33), name


def test_the_quality_asked_for_is_reached(encoded: Manifest, sources: Path) -> None:
    for shard in encoded.about.shards:
        with tarfile.open(encoded.folder / shard.path) as tar:
            for info in tar:
                if info.name.endswith(".json"):
                    about = json.load(tar.extractfile(info))  # type: ignore[arg-type]
                    assert about["psnr_db"] >= 40, about
                    assert about["ssim"] >= 0.98, about
                    assert about["class"] in ("a", "b")


def test_every_fourth_frame_needs_no_other_kind(encoded: Manifest) -> None:
    for n in range(5):
        with encoded.open(n) as reader:
            index = reader._index
            spare = index.spare[index.position]
            assert not spare[::4].any()
            assert spare[1:-4:4].all()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_plain_webdataset_reads_the_shards(encoded: Manifest) -> None:
    import webdataset

    paths = [str(encoded.folder / shard.path) for shard in encoded.about.shards]
    found = {}
    for sample in webdataset.WebDataset(paths, shardshuffle=False):
        about = json.loads(sample["json"])
        found[about["id"]] = sample["mp4"]
    gc.collect()  # webdataset leaves its files to the collector
    assert set(found) == set(NAMES)
    for n in range(5):
        assert hash_bytes(found[encoded[n].id]) == encoded[n].hash


def test_copy_keeps_the_original_bytes(sources: Path, tmp_path: Path, encoded: Manifest) -> None:
    manifest = prepare(sources / "table.csv", tmp_path, copy=True, workers=2)
    for n, name in enumerate(NAMES):
        row = manifest[n]
        data = (tmp_path / row.path).read_bytes()[row.offset : row.offset + row.size]
        assert data == (sources / name).read_bytes()
        with manifest.open(n) as reader, open_video(sources / name) as source:
            assert np.array_equal(reader.read([1]), source.read([1]))
    assert manifest.passport.source == encoded.passport.source
    assert manifest.passport.encode != encoded.passport.encode


def test_whole_videos_are_cut(shared_data: Path, tmp_path: Path) -> None:
    name = "SOX5yA1l24A.mp4"
    (tmp_path / "videos").mkdir()
    shutil.copy(shared_data / "kinetics" / name, tmp_path / "videos")
    notes = tmp_path / "kinetics_val.csv"
    notes.write_text("label,youtube_id,time_start,time_end,split\nx,SOX5yA1l24A,3,5,val\n")
    indexed = tmp_path / "indexed"
    with pytest.raises(ValueError, match="only where videos are re-encoded"):
        prepare(notes, indexed, videos=tmp_path / "videos", index_only=True)
    manifest = prepare(notes, tmp_path / "out", videos=tmp_path / "videos", workers=1)
    with manifest.open(0) as reader, open_video(tmp_path / "videos" / name) as source:
        first = int(np.searchsorted(source.times_sec, 3 - 1e-6))
        assert np.allclose(reader.times_sec, source.times_sec[first : first + 60] - source.times_sec[first], atol=1e-3)
        wanted = source.read(range(first, first + 60)).astype(float)
        assert 10 * np.log10(255**2 / np.mean((reader.read(range(60)) - wanted) ** 2)) > 36
    assert manifest[0].id == "SOX5yA1l24A_000003_000005"


def test_the_same_command_again_does_nothing_and_another_begins_anew(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare(sources / "table.csv", tmp_path, copy=True)
    stamp = (tmp_path / "dataset.json").stat().st_mtime_ns
    assert prepare(sources / "table.csv", tmp_path, copy=True).passport == first.passport
    assert (tmp_path / "dataset.json").stat().st_mtime_ns == stamp
    assert "nothing to do" in capsys.readouterr().out
    again = prepare(sources / "table.csv", tmp_path, copy=True, videos_per_shard=2)
    assert len(again.about.shards) > len(first.about.shards)
    assert {p.name for p in (tmp_path / "shards").iterdir()} == {Path(s.path).name for s in again.about.shards}


@pytest.mark.parametrize("how", [{}, {"copy": True}, {"index_only": True}])
def test_a_list_that_has_grown_takes_over_what_has_not_changed(
    sources: Path, tmp_path: Path, how: dict[str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(sources, videos)
    late = videos / NAMES[2]
    late.rename(tmp_path / "late")
    first = prepare(videos / "table.csv", out, videos_per_shard=2, workers=2, **how)
    assert first[2].state == "missing"
    (tmp_path / "late").rename(late)
    shutil.copy(videos / NAMES[0], videos / NAMES[1])  # replaced by another video
    capsys.readouterr()
    prepare(videos / "table.csv", out, videos_per_shard=2, workers=2, **how)
    assert "3 videos were reused" in capsys.readouterr().out
    prepare(videos / "table.csv", tmp_path / "fresh", videos_per_shard=2, workers=2, **how)
    assert tree(out) == tree(tmp_path / "fresh")


@pytest.mark.parametrize("how", [{}, {"copy": True}, {"index_only": True}])
def test_what_was_lost_of_a_finished_result_is_made_again(
    sources: Path, tmp_path: Path, how: dict[str, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(sources / "table.csv", tmp_path, videos_per_shard=2, workers=2, **how)
    whole = tree(tmp_path)
    # What is cut off each file, 0 for all of it, and how many of the five videos that are ready need not be made again.
    losses = [("manifest.npy", 40, 5), ("manifest.npy", 0, 5), ("manifest.jsonl", 9, 0)]
    if "index_only" not in how:
        losses += [("shards/train-000000.tar", 0, 5 if how else 3), ("shards/train-000001.tar", 600, 5)]
    for name, cut, kept in losses:
        (tmp_path / name).chmod(0o644)
        (tmp_path / name).unlink()
        if cut:
            (tmp_path / name).write_bytes(whole[name][:-cut])
        capsys.readouterr()
        prepare(sources / "table.csv", tmp_path, videos_per_shard=2, workers=2, **how)
        said = capsys.readouterr().out
        assert said.startswith(f"{kept} videos were reused") == (kept > 0), (name, said)
        assert tree(tmp_path) == whole, name
    prepare(sources / "table.csv", tmp_path, videos_per_shard=2, workers=2, **how)
    assert "nothing to do" in capsys.readouterr().out


def test_shards_of_others_are_never_removed(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "mine.tar").write_bytes(b"precious")
    with pytest.raises(ValueError, match="choose another folder"):
        prepare(sources / "table.csv", tmp_path, copy=True)
    assert (tmp_path / "shards" / "mine.tar").read_bytes() == b"precious"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in (".lock", ".plan")
    }


def kill_and_go_on(source: Path, undisturbed: Path, out: Path, instants: int, videos_per_shard: int) -> None:
    """Prepare the same source again and again, killed at random instants, until it ends by itself."""
    script = (
        "import sys; from pathlib import Path; from besnet.data.prepare import prepare\n"
        f"prepare(Path(sys.argv[1]), Path(sys.argv[2]), videos_per_shard={videos_per_shard}, workers=2)"
    )
    command = [sys.executable, "-c", script, str(source), str(out)]
    began = time.monotonic()
    subprocess.run([*command[:-1], str(undisturbed)], check=True, capture_output=True)
    length = time.monotonic() - began
    rng = random.Random(3)
    killed = 0
    for _ in range(instants):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(rng.uniform(0.2, max(0.5, 1.2 * length / max(1, instants**0.5))))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
            process.wait()
        if (out / "dataset.json").exists() and rng.random() < 0.5:
            shutil.rmtree(out)  # it got through: once more from the beginning
    subprocess.run(command, check=True, capture_output=True)
    assert killed >= instants // 3
    assert tree(out) == tree(undisturbed)


def test_killed_twice_it_ends_with_the_same_bytes(sources: Path, tmp_path: Path) -> None:
    kill_and_go_on(sources / "table.csv", tmp_path / "a", tmp_path / "b", 2, 2)


@pytest.mark.slow
def test_killed_at_twenty_instants_it_ends_with_the_same_bytes(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted(shared_data.glob("weizmann/videos/*/*.avi"))[::3]
    lines = [f"{p.parent.name},{p},{'test' if n % 3 == 0 else 'train'}" for n, p in enumerate(paths)]
    (tmp_path / "table.csv").write_text("\n".join(["label,path,split", *lines]) + "\n")
    kill_and_go_on(tmp_path / "table.csv", tmp_path / "a", tmp_path / "b", 20, 4)


def test_a_tar_cut_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_shard(path, [{"__key__": f"{n:03d}", "mp4": bytes([n]) * 700, "json": b"{}"} for n in range(6)])
    whole = path.read_bytes()
    assert [(m.key, m.extension, m.size) for m in members(path)][:2] == [("000", "json", 2), ("000", "mp4", 700)]
    assert all(whole[m.offset : m.offset + m.size] == bytes([int(m.key)]) * 700 for m in members(path) if m.size == 700)
    last = max(m.offset + m.size for m in members(path))
    for length in [*range(0, last, 256), last]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.tar"):
            list(members(path))


@pytest.mark.parametrize("name", ["/etc/canary.mp4", "../canary.mp4", "a/../../canary.mp4"])
def test_members_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))
    with pytest.raises(ValueError, match="leads outside"):
        list(members(tmp_path / "a.tar"))


def test_links_in_a_tar_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("a.mp4")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(ValueError, match="not a plain file"):
        list(members(tmp_path / "a.tar"))


def test_the_colour_matrix_survives(tmp_path: Path) -> None:
    """A picture in BT.709 and full range looks the same from the shard as from the file."""
    (tmp_path / "x").mkdir()
    path = tmp_path / "x" / "colours.mp4"
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range = 1, 2
        for _ in range(8):
            frame = av.VideoFrame.from_ndarray(patches, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="JPEG"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    manifest = prepare(tmp_path, tmp_path / "out", workers=1)
    with manifest.open(0) as reader, open_video(path) as source:
        error = np.abs(reader.read([4]).astype(float) - source.read([4]))
    assert error.mean() < 3, error.mean()
