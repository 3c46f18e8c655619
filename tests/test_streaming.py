"""Training from remote shards with a small cache: each shard once per epoch, in the order of local data."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from besnet import cli
from besnet.data.cache import fetched
from besnet.data.crop import RandomCrop
from besnet.data.dataset import read_dataset
from besnet.data.prepare import prepare
from besnet.training import machine_checks
from besnet.training.data import VideoData
from besnet.training.preflight import remote_shards
from besnet.video.sampling import ClipShape
from tests import command
from tests.shard_server import Server, served
from tests.test_draws import EPOCHS, three_epochs


@pytest.fixture(scope="module")
def shards(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training videos in 12 shards."""
    out = tmp_path_factory.mktemp("shards")
    prepare(squares.parent / "index.csv", out, copy=True, videos_per_shard=2, workers=1)
    return out


@pytest.fixture
def server(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("BESNET_CACHE", str(tmp_path / "cache"))
    serving = Server(shards)
    yield serving
    serving.close()


def test_each_shard_is_fetched_once_an_epoch_and_the_order_is_that_of_local_shards(
    shards: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = sorted((path.stat().st_size for path in (shards / "shards").glob("train*.tar")), reverse=True)
    monkeypatch.setenv("BESNET_CACHE_GB", str((sum(sizes[:7]) + 100) / 1e9))
    away = served(shards, server, tmp_path / "away")
    seen = three_epochs(away, tmp_path, 1, 0, None, 2)
    assert server.sent <= 1.1 * EPOCHS * sum(sizes)
    assert fetched().bytes == server.sent
    assert capsys.readouterr().out.count("this machine fetched ") == EPOCHS
    assert seen == three_epochs(shards, tmp_path, 3, 0, "shards", 2)
    assert seen != three_epochs(shards, tmp_path, 1, 0, None, 2), "local data is drawn from all videos"


def test_a_cache_below_the_open_window_is_refused_before_the_start(
    shards: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BESNET_CACHE_GB", "0.00003")
    with pytest.raises(SystemExit, match="2"):
        command.train(served(shards, server, tmp_path / "away"), tmp_path / "run", "--data.shuffle_window=4")
    said = capsys.readouterr().err
    assert "data.shuffle_window 4" in said
    assert "BESNET_CACHE_GB allows 3e-05" in said
    assert not server.asked


def test_videos_in_no_shard_cannot_be_mixed_by_shards(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.train(squares, tmp_path / "run", "--data.shuffle=shards")
    assert "data.shuffle shards" in capsys.readouterr().err


def test_a_run_of_before_there_was_a_choice_is_not_mixed_by_shards_in_silence(
    shards: Path, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, away = tmp_path / "run", served(shards, server, tmp_path / "away")
    assert command.train(away, run, "--trainer.max_epochs=1", "--data.shuffle=videos") == 0
    with pytest.raises(SystemExit, match="2"):
        command.train(away, run, "--trainer.max_epochs=1")
    assert "data.shuffle: videos → shards" in capsys.readouterr().err


def test_the_doctor_says_what_an_epoch_fetches_and_whether_the_cache_holds_it(
    shards: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, folder = [shard for shard in read_dataset(shards).shards if "train" in shard.path], str(tmp_path / "run")
    words = command.train_words(served(shards, server, tmp_path / "away"), Path(folder), "--data.shuffle_window=2")
    assert cli.run("doctor", words) in (0, 2)
    assert "ok    cache: 50.0 GB for 0.0 GB of shards, fetches nothing after the first epoch; 4 shards" in (
        capsys.readouterr().out
    )
    half = sum(shard.size for shard in train) / 2
    monkeypatch.setenv("BESNET_CACHE_GB", str(half / 1e9))
    data = VideoData(tmp_path / "away", ClipShape(4, 2), RandomCrop(), batch_size=4, shuffle="videos")
    asked = remote_shards(data, local_ranks=1, nodes=1)
    found, _ = machine_checks.cache(asked)
    assert found.fix.endswith("or --data.shuffle=shards"), "every second video misses its shard"
    assert f"about {machine_checks.gigabytes(12 * int(half / 6))} an epoch" in found.found
    few = replace(asked, mixed=True, bytes_open=int(half) + 1)
    assert "lower --data.shuffle_window" in machine_checks.cache(few)[0].fix


@pytest.mark.slow
def test_the_proof_small() -> None:
    import subprocess
    import sys

    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.prove_stream", "--videos=288", "--quick"]
    proof = subprocess.run(words, cwd=Path(__file__).resolve().parents[1], text=True, capture_output=True)
    assert proof.returncode == 0, proof.stdout + proof.stderr
