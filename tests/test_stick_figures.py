"""The drawn data set: what a frame may tell, what only the order of frames tells, and that it can be repeated."""

import csv
import hashlib
import warnings
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from besnet.stick_figures import CLASSES, MIRROR_PAIRS, REVERSALS, draw_dataset
from besnet.stick_figures.actions import pose_curve
from besnet.stick_figures.body import skeleton
from besnet.stick_figures.dataset import Job, plan
from besnet.stick_figures.scene import render


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_dataset(folder, train_videos=14, test_videos=3, workers=2)
    return folder


def test_the_classes_hold_three_reversal_pairs_and_no_mirror_pairs():
    assert len(CLASSES) == len(set(CLASSES)) >= 10
    assert len(REVERSALS) >= 3
    assert len({label for pair in REVERSALS for label in pair} & set(CLASSES)) == 2 * len(REVERSALS)
    assert MIRROR_PAIRS == []


@pytest.mark.parametrize(("first", "second"), REVERSALS)
def test_a_reversal_pair_is_the_same_movement_backwards(first: str, second: str):
    travelled = []
    for number in range(20):
        scene, person = Job(Path(), 5, "hard", "test", number).draw()
        there = pose_curve(first, scene.actor.timing, scene.times_sec)
        back = pose_curve(second, scene.actor.timing, scene.times_sec)
        for item in fields(there):
            np.testing.assert_array_equal(getattr(there, item.name), getattr(back, item.name)[::-1], err_msg=item.name)
        joints, joints_back = skeleton(person, there), skeleton(person, back)
        for name, joint in joints.items():
            np.testing.assert_allclose(joint, joints_back[name][::-1], atol=1e-12, err_msg=name)
        travelled.append(np.abs(joints["hand0"][0] - joints["hand0"][-1]).max())
    assert np.mean(travelled) > 0.05  # it does go somewhere


@pytest.mark.parametrize(("first", "second"), REVERSALS)
def test_with_a_still_camera_a_reversal_pair_shows_the_same_frames_backwards(first: str, second: str):
    scene, person = Job(Path(), 1, "easy", "train", 3).draw()
    scene.boxes[:] = scene.boxes[0]
    there = np.stack([np.asarray(image) for image in render(scene, person, first)])
    back = np.stack([np.asarray(image) for image in render(scene, person, second)])
    np.testing.assert_array_equal(there, back[::-1])
    assert np.abs(there[0].astype(int) - there[-1]).max() > 50


def test_camera_drift_runs_either_way_alike():
    drift = []
    for number in range(300):
        boxes = Job(Path(), 2, "easy", "train", number).draw()[0].boxes
        drift.append((boxes[-1] - boxes[0]) / np.abs(boxes[-1] - boxes[0]).max())
    mean, error = np.mean(drift, 0), np.std(drift, 0) / np.sqrt(len(drift))
    assert (np.abs(mean) < 4 * error).all()


def test_the_table_lists_the_videos_and_persons_stay_in_their_split(small: Path):
    rows = table(small)
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert [sum(row["split"] == split for row in rows) for split in ("train", "val", "test")] == [14, 1, 3]
    assert {row["path"] for row in rows} == {str(p.relative_to(small)) for p in small.rglob("*.mp4")}
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["person"], set()).add(row["split"])
    assert all(len(where) == 1 for where in splits.values())
    assert not list(small.rglob("*.part"))
    jobs = plan(small, "hard", 0, None, None)
    assert sum(job.split == "test" for job in jobs) >= 1000
    looks = [{repr(job.draw()[1]) for job in plan(small, "easy", 0, 36, 36) if job.split == split}
             for split in ("train", "test")]  # fmt: skip
    assert len(looks[0]) == len(looks[1]) == 3
    assert not looks[0] & looks[1]


def test_videos_are_h264_and_decode_to_what_was_drawn(small: Path):
    jobs = plan(small, "easy", 0, 14, 3)
    for job in jobs:
        scene, person = job.draw()
        with av.open(str(small / job.path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.pix_fmt == "yuv420p"
            assert abs(stream.average_rate - scene.fps) < Fraction(1, 100)
            assert 15 <= stream.average_rate <= 60
            assert stream.frames == scene.frames
        decoded = frames_of(small / job.path)
        assert decoded.shape == (scene.frames, scene.height, scene.width, 3)
        for frame, image in enumerate(render(scene, person, job.label)):
            if frame in (0, scene.frames // 2, scene.frames - 1):
                error = decoded[frame].astype(float) - np.asarray(image)
                assert 10 * np.log10(255**2 / np.mean(error**2)) > 28, job.path


@pytest.mark.parametrize("variant", ["easy", "hard"])
def test_the_same_seed_gives_the_same_bytes_with_one_and_two_workers(variant: str, tmp_path: Path):
    for workers in (1, 2):
        draw_dataset(tmp_path / str(workers), variant, 7, 3, 2, workers)
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")
    draw_dataset(tmp_path / "other", variant, 8, 1, 1, 1)
    first, other = hashes(tmp_path / "1"), hashes(tmp_path / "other")
    assert all(first[path] != other[path] for path in other if path.endswith(".mp4"))


def test_bad_arguments_are_refused_in_one_line(tmp_path: Path):
    with pytest.raises(ValueError, match="choose easy, hard or pairs"):
        draw_dataset(tmp_path, "medium")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give at least 1"):
        draw_dataset(tmp_path, train_videos=0)
    with pytest.raises(ValueError, match="workers is 0"):
        draw_dataset(tmp_path, workers=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        draw_dataset(tmp_path / "file", train_videos=1, test_videos=1)


def small_pictures(jobs: list[Job], frames: int) -> np.ndarray:
    """(N, frames, 24 x 24 x 3) of evenly spaced frames as they are drawn, squashed to a square."""
    pictures = []
    for job in jobs:
        scene, person = job.draw()
        picked = np.linspace(0, scene.frames - 1, frames).round().astype(int).tolist()
        images = list(render(scene, person, job.label, picked))
        pictures.append([np.asarray(image.resize((24, 24)), np.float32).ravel() / 255 for image in images])
    return np.array(pictures)


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    counts = {"train": 480, "test": 360}
    jobs = [[Job(Path(), 11, "easy", split, n) for n in range(count)] for split, count in counts.items()]
    return (*(small_pictures(side, 4) for side in jobs),
            *(np.array([CLASSES.index(job.label) for job in side]) for side in jobs))  # fmt: skip


def linear_accuracy(train: np.ndarray, test: np.ndarray, labels: np.ndarray, test_labels: np.ndarray) -> float:
    """Accuracy on unseen people of a logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not have converged
        model = LogisticRegression(C=0.01, max_iter=200).fit(scaler.transform(train), labels)
    return float(model.score(scaler.transform(test), test_labels))


def test_a_linear_model_of_the_mean_frame_stays_within_ten_points_of_chance(pictures):
    train, test, labels, test_labels = pictures
    accuracy = linear_accuracy(train.mean(1), test.mean(1), labels, test_labels)
    # 360 test videos: the standard error at chance is 1.5 points
    assert accuracy < 1 / len(CLASSES) + 0.10


@pytest.mark.parametrize("pair", REVERSALS)
def test_the_mean_frame_does_not_tell_a_reversal_pair_apart(pictures, pair):
    train, test, labels, test_labels = pictures
    first, second = (CLASSES.index(label) for label in pair)
    side, test_side = np.isin(labels, (first, second)), np.isin(test_labels, (first, second))
    accuracy = linear_accuracy(train.mean(1)[side], test.mean(1)[test_side], labels[side], test_labels[test_side])
    assert abs(accuracy - 0.5) < 0.2  # 60 test videos: three standard errors


def test_the_class_list_beside_the_data_is_the_one_that_is_drawn():
    path = Path(__file__).resolve().parents[1] / "data" / "stick_figures" / "classes.txt"
    assert path.read_text().split() == CLASSES
