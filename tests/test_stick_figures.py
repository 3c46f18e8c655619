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

from besnet.lab.speeds import at_speed
from besnet.stick_figures import CLASSES, DURATION_PAIRS, MIRROR_PAIRS, REVERSALS, draw_dataset
from besnet.stick_figures.actions import Pose, pose_curve
from besnet.stick_figures.body import skeleton
from besnet.stick_figures.dataset import Job, plan, write_video
from besnet.stick_figures.scene import render
from besnet.video.sampling import ClipShape, is_short, span


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
    with pytest.raises(ValueError, match="choose easy, hard, pairs, durations"):
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


SPEEDS = (0.5, 0.71, 1.0, 1.41, 2.0)


def cycles_a_frame(pose: Pose) -> float:
    """The frequency of a march's knees, by Fourier's transform."""
    lift = pose.feet[:, 0, 2] - pose.feet[:, 1, 2]
    return float(np.abs(np.fft.rfft(lift - lift.mean(), 8192)).argmax() / 8192)


def test_a_video_at_half_speed_has_a_frame_more_between_every_two():
    for number in (0, 6, 8):
        (scene, person), (slow, same) = (Job(Path(), 3, "hard", "test", number, speed).draw() for speed in (1.0, 0.5))
        assert (slow.fps, slow.frames) == (scene.fps, 2 * scene.frames - 1)
        assert same == person
        np.testing.assert_allclose(slow.boxes[::2], scene.boxes, atol=1e-9)
        label = CLASSES[number]
        picked = [0, scene.frames // 2, scene.frames - 1]
        for there, here in zip(render(slow, same, label, [2 * frame for frame in picked]),
                               render(scene, person, label, picked), strict=True):  # fmt: skip
            assert np.abs(np.asarray(there).astype(int) - np.asarray(here)).mean() < 0.01


def test_the_rhythm_in_frames_follows_the_speed():
    for number in range(4):
        found = []
        for speed in SPEEDS:
            scene, _ = Job(Path(), 3, "hard", "test", number, speed).draw()
            found.append(cycles_a_frame(pose_curve("march", scene.actor.timing, scene.times_sec)))
        np.testing.assert_allclose(np.divide(found, found[2]), SPEEDS, rtol=0.03)


def test_at_every_speed_a_clip_covers_the_same_share_and_nothing_loops():
    clip = ClipShape(num_frames=8, frame_interval=5)
    assert [at_speed(clip, speed).num_frames for speed in SPEEDS] == [16, 11, 8, 6, 4]
    for number in range(6):
        shares = []
        for speed in SPEEDS:
            scene, _ = Job(Path(), 3, "hard", "test", number, speed).draw()
            times_sec, shape = np.arange(scene.frames) / float(scene.fps), at_speed(clip, speed)
            assert not is_short(times_sec, shape)
            shares.append(shape.num_frames * shape.frame_interval / 30 / span(times_sec, shape)[0])
        # whole frames: 11 in place of 11.3, 6 in place of 5.7
        np.testing.assert_allclose(shares, shares[2], rtol=0.1)


def test_other_speeds_are_data_sets_of_the_test_videos_alone(tmp_path: Path):
    draw_dataset(tmp_path, "easy", 7, None, 1, 1, speeds=[1, 2])
    usual = plan(tmp_path / "usual", "easy", 7, 1, 1)[-1]
    (tmp_path / "usual" / usual.path).parent.mkdir(parents=True)
    write_video(usual)
    for name in ("1", "2"):
        (row,) = table(tmp_path / name)
        assert (row["path"], row["split"], row["label"]) == (usual.path, "test", usual.label)
    assert (tmp_path / "1" / usual.path).read_bytes() == (tmp_path / "usual" / usual.path).read_bytes()
    once, twice = (frames_of(tmp_path / name / usual.path) for name in ("1", "2"))
    assert abs(len(twice) - len(once) / 2) <= 1
    for arguments in ({"train_videos": 3}, {"variant": "durations"}):
        with pytest.raises(ValueError, match="of test videos alone"):
            draw_dataset(tmp_path / "no", **arguments, speeds=[1, 2])  # type: ignore[arg-type]


def test_duration_alone_tells_the_two_classes_of_a_pair_apart():
    jobs = [Job(Path(), 3, "durations", "test", number) for number in range(8)]
    assert [job.label for job in jobs] == [label for pair in DURATION_PAIRS for label in pair]
    assert len({job.person_name for job in jobs}) == 1
    rhythms, bows = [], []
    for job in jobs:
        scene, _ = job.draw()
        timing, times_sec = scene.actor.timing, scene.times_sec
        slow, fast = (pose_curve(label, timing, times_sec) for label in ("march_slow", "march_fast"))
        rhythms.append((cycles_a_frame(slow) * float(scene.fps), cycles_a_frame(fast) * float(scene.fps)))
        once, twice = (pose_curve(label, timing, times_sec).pitch for label in ("bow_once", "bow_twice"))
        bent = [pitch > 0.6 for pitch in (once, twice)]
        bows.append(tuple(int((np.diff(down.astype(int)) == 1).sum()) for down in bent))
        # the single bow is one of the two
        np.testing.assert_array_equal(once[bent[0]], twice[bent[0]])
    assert bows == [(1, 2)] * len(jobs)
    slow_hz, fast_hz = np.array(rhythms).T
    np.testing.assert_allclose(fast_hz / slow_hz, 2, rtol=0.1)
    assert slow_hz.max() < fast_hz.min()
