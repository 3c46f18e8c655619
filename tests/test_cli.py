"""What a person gets for a mistake: one plain line, exit code 2, and nothing lost."""

import shutil
from pathlib import Path

import pytest
import torch

from besnet import __version__, cli
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.version import revision
from tests import command, moving_squares


def complaint(capsys: pytest.CaptureFixture[str], verb: str, *words: object) -> str:
    """The one line that a verb complains with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main([verb, *map(str, words)])
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith("besnet: ")]
    assert len(said) == 1, lines
    assert not any("Traceback" in line for line in lines)
    return said[0]


def config(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_help_lists_the_verbs_and_every_argument_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    listed = capsys.readouterr().out
    for verb in cli.VERBS:
        assert f"\n  {verb} " in listed
        with pytest.raises(SystemExit) as stopped:
            cli.main([verb, "--help"])
        assert stopped.value.code == 0
        assert f"usage: besnet {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "needed"),
    [
        ("train", "needs --out and --data.folder, on the command line or in --config FILE"),
        ("prepare", "needs SOURCE and OUT"),
        ("draw", "needs OUT"),
        ("lab", "needs --config and --out, on the command line or in --plan FILE; see"),
        ("predict", "needs VIDEOS"),
    ],
)
def test_nothing_given_says_what_is_needed(capsys: pytest.CaptureFixture[str], verb: str, needed: str) -> None:
    said = complaint(capsys, verb)
    assert needed in said
    assert f"see besnet {verb} --help" in said


@pytest.mark.parametrize("words", [["evaluate"], ["predict", "x.mp4"], ["features", "x.mp4"], ["export"]])
def test_a_network_is_named_in_one_of_two_ways(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert "needs --ckpt_path, or --network with --weights" in complaint(capsys, *words)


def test_the_version_and_the_verbs_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    for word, start in (
        ("--version", f"besnet {__version__} (revision {revision()})"),
        ("help", "besnet: train and evaluate"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main([word])
        assert stopped.value.code == 0
        assert capsys.readouterr().out.startswith(start)
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 2
    assert "usage: besnet VERB" in capsys.readouterr().err


def test_launch_and_lab_refuse_a_slip_before_they_start_anything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "'trian': must be train, evaluate, prepare or lab" in complaint(
        capsys, "launch", "trian", "--config", "x.yaml"
    )
    slip = config(tmp_path, "out: here\ndata: {folder: there, batchsize: 4}\n")
    words = (f"--config={slip}", f"--out={tmp_path / 'lab'}")
    assert "'data.batchsize': did you mean 'data.batch_size'" in complaint(capsys, "lab", *words)
    assert not (tmp_path / "lab").exists()


def test_unknown_verbs_get_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'evaluate'" in complaint(capsys, "evaluat")


@pytest.mark.parametrize("more", [[], ["--data=prepared"]])
def test_a_setting_of_a_config_is_no_argument_of_a_verb_that_has_its_section_as_a_path(
    capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    said = complaint(capsys, "evaluate", *more, "--data.crop_size=64")
    assert "unknown argument 'data.crop_size': evaluate takes --data alone" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: {widht: 8}", "'model.widht': did you mean 'model.width'"),
        ("recipe: {label_smooting: 0.1}", "'recipe.label_smooting': did you mean 'recipe.label_smoothing'"),
        ("recipes: {lr: 0.1}", "'recipes.lr': did you mean 'recipe.lr'"),
        ("recipe: {lr: fast}", "recipe.lr: must be a number, not fast"),
        ("model: {block: bottle}", "model.block: must be one of 'bottleneck', 'basic', not bottle"),
        ("trainer: {max_epochs: two}", "trainer.max_epochs: must be a whole number or null, not two"),
        ("recipe: {lr: -1}", "recipe.lr must be above 0, not -1"),
        ("data: {clip: {num_frames: 0}}", "data.clip.num_frames must be at least 1, not 0"),
        ("model: [", "config.yaml"),
    ],
)
def test_a_wrong_config_is_named_by_its_key(
    capsys: pytest.CaptureFixture[str], squares: Path, tmp_path: Path, text: str, words: str
) -> None:
    path = config(tmp_path, text)
    said = complaint(capsys, "train", f"--data.folder={squares}", f"--out={tmp_path / 'run'}", f"--config={path}")
    assert words in said
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_wrong_flag_gets_the_nearest_name(capsys: pytest.CaptureFixture[str], squares: Path, tmp_path: Path) -> None:
    words = command.train_words(squares, tmp_path, "--recipe.momentm=0.9")
    assert "did you mean 'recipe.momentum'" in complaint(capsys, "train", *words)


def test_missing_folders_and_files_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = command.train_words(tmp_path / "nowhere", tmp_path / "run")
    assert "nowhere" in complaint(capsys, "train", *words)
    assert "nowhere.csv" in complaint(capsys, "prepare", tmp_path / "nowhere.csv", tmp_path / "out")
    assert "nowhere.ckpt" in complaint(capsys, "evaluate", f"--ckpt_path={tmp_path / 'nowhere.ckpt'}")
    for verb, rest in (("train", ""), ("lab", f"--out={tmp_path / 'lab'}")):
        words = [word for word in (f"--config={tmp_path / 'nowhere.yaml'}", rest) if word]
        assert complaint(capsys, verb, *words).endswith("nowhere.yaml: no such config file")


def test_tables_are_checked_before_any_work(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    moving_squares.draw(tmp_path / "a.mp4", (0, 1), 0, frames=4)
    table = tmp_path / "list.csv"

    def says(text: str) -> str:
        table.write_text(text)
        return complaint(capsys, "prepare", table, tmp_path / "out", "--index_only=true")

    missing = says("label,file\nup,a.mp4\n")
    assert "path" in missing
    assert "label, file" in missing or "label" in missing
    assert "down" in says("label,path,split\nup,a.mp4,train\ndown,a2.mp4,val\n")
    assert "a.mp4" in says("label,path,split\nup,a.mp4,train\nup,a.mp4,train\n")
    assert "no readable video" in says("label,path\nup,b.mp4\n")
    (tmp_path / "page.mp4").write_text("<html>")
    assert "page.mp4" in says("label,path\nup,page.mp4\n")


def test_output_that_cannot_be_written_is_said_before_the_first_step(
    capsys: pytest.CaptureFixture[str], squares: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "inside"
    assert "inside" in complaint(capsys, "train", *command.train_words(squares, inside))
    assert "inside" in complaint(capsys, "prepare", squares, inside)
    command.train(squares, tmp_path / "run", "--trainer.max_epochs=1")
    said = complaint(capsys, "evaluate", f"--ckpt_path={tmp_path / 'run'}", f"--out={inside}")
    assert "choose another folder with --out" in said


def test_a_checkpoint_of_other_classes_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], squares: Path, tmp_path: Path
) -> None:
    command.train(squares, tmp_path / "run", "--trainer.max_epochs=1")
    moving_squares.draw(tmp_path / "videos" / "test" / "sideways" / "a.mp4", (0, 1), 0)
    prepare(tmp_path / "videos", tmp_path / "other", index_only=True, workers=1)
    said = complaint(capsys, "evaluate", f"--ckpt_path={tmp_path / 'run'}", f"--data={tmp_path / 'other'}")
    assert "'sideways'" in said
    said = complaint(capsys, "train", *command.train_words(tmp_path / "other", tmp_path / "run2"))
    assert "no readable video in the train split" in said


def test_a_run_goes_on_only_with_the_settings_it_began_with(
    capsys: pytest.CaptureFixture[str], squares: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command.train(squares, run, "--trainer.max_epochs=1")
    said = complaint(capsys, "train", *command.train_words(squares, run, "--recipe.lr=0.01"))
    assert "recipe.lr: 0.005 → 0.01" in said
    assert "--accept_changes" in said
    other = tmp_path / "data"
    shutil.copytree(squares.parent, other)
    (other / "train" / "up_2.mp4").unlink()
    manifest = prepare(other / "index.csv", other / "again", index_only=True, workers=1)
    assert manifest.passport != Manifest.load(squares).passport
    assert "passport.source" in complaint(capsys, "train", *command.train_words(other / "again", run))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], squares: Path, tmp_path: Path
) -> None:
    words = command.train_words(squares, tmp_path / "run", "--trainer.accelerator=gpu")
    assert "CUDA" in complaint(capsys, "train", *words)
    command.train(squares, tmp_path / "run", "--trainer.max_epochs=1")
    assert "--device cpu" in complaint(capsys, "evaluate", f"--ckpt_path={tmp_path / 'run'}", "--device=cuda")


def test_a_slip_beside_the_help_of_a_type_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """jsonargparse reads what stands after it with a parser of its own, which prints its usage and leaves."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--trainer.accelerator.help", "--out", ""])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "besnet: unrecognized arguments:\n"
