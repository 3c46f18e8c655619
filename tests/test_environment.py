"""Where besnet runs: the working folder, the environment, open files and streams are others' and may be anything."""

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from besnet import cli
from besnet.cli import process
from besnet.environment import Rank, refuse_bare_srun, started_as, whole_number
from besnet.supervision import start_fork_server
from tests import command

TRAP = "open({mark!r}, 'a').write(__file__)\nraise SystemExit('executed')\n"
TRAPPED = ("random", "torch", "numpy", "json", "tempfile", "selectors", "besnet_trap", "struct", "av")
RANKS = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "h"}


def run_in(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """besnet as a user starts it, in a working folder."""
    return subprocess.run(
        [Path(sys.executable).with_name("besnet"), *words], cwd=folder, text=True, capture_output=True, check=False,
        env=os.environ | {"PYTHONWARNINGS": "ignore"} | environment,
    )  # fmt: skip


def test_nothing_in_the_working_folder_is_executed(squares: Path, tmp_path: Path) -> None:
    """Launcher, torchrun, ranks, the fork server and its workers; Slurm's variables of a surrounding job, too."""
    mark = tmp_path / "executed"
    folder = tmp_path / "work"
    folder.mkdir()
    for name in TRAPPED:
        (folder / f"{name}.py").write_text(TRAP.format(mark=str(mark)))
    words = [*command.train_words(squares, tmp_path / "run"), "--data.workers=1", "--trainer.max_epochs=1"]
    slurm = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "job", "SLURM_NODELIST": "here"}
    done = run_in(folder, "launch", "--max_restarts=0", "train", *words, **slurm)
    assert not mark.exists(), mark.read_text()
    assert done.returncode == 0, done.stderr
    module = subprocess.run([sys.executable, "-m", "besnet", "--version"], cwd=folder, check=False)
    assert not mark.exists(), mark.read_text()
    assert module.returncode == 0


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "0", "99999999999", "²", "1e3"])
def test_a_variable_that_is_no_number_is_named(value: str) -> None:
    with pytest.raises(ValueError, match=f"BESNET_LAUNCHER={value}"):
        whole_number("BESNET_LAUNCHER", 0, least=1, environment={"BESNET_LAUNCHER": value})


def test_a_wrong_launcher_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BESNET_LAUNCHER", "abc")
    with pytest.raises(SystemExit) as ended:
        cli.main(["coverage", "nowhere"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("besnet: BESNET_LAUNCHER=abc")


def test_ranks_are_what_torchrun_says() -> None:
    assert started_as({}) == Rank()
    assert started_as(RANKS | {"MASTER_PORT": "29500"}) == Rank(3, 4, 1, 2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"MASTER_PORT": ""}, "MASTER_PORT"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT=x"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"RANK": "4"}, "do not go together"),
        ({"RANK": ""}, "no RANK"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK=-1"),
        ({"LOCAL_WORLD_SIZE": "9"}, "do not go together"),
    ],
)
def test_ranks_that_do_not_go_together_are_refused(changes: Mapping[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        started_as({**RANKS, "MASTER_PORT": "29500", **changes})


def test_tasks_of_srun_without_torchrun_are_refused() -> None:
    refuse_bare_srun({"SLURM_NTASKS": "2"})
    refuse_bare_srun({"SLURM_STEP_NUM_TASKS": "2", "TORCHELASTIC_RUN_ID": "1"})
    with pytest.raises(ValueError, match="srun started 2 tasks"):
        refuse_bare_srun({"SLURM_STEP_NUM_TASKS": "2"})


def test_a_temporary_folder_too_long_for_sockets_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/" + "x" * 90)
    with pytest.raises(ValueError, match="TMPDIR"):
        start_fork_server()


def test_too_few_open_files_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (16, 16))
    with pytest.raises(ValueError, match="only 16 files"):
        process.set_up({})


def test_a_soft_limit_of_files_is_raised_to_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        process.set_up({})
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(("place", "code"), [("/dev/full", 2), ("pipe", 141), ("closed", 0)])
def test_output_that_nobody_can_read_ends_quietly(tmp_path: Path, place: str, code: int) -> None:
    rule = {"/dev/full": "> /dev/full", "pipe": "| true; exit ${PIPESTATUS[0]}", "closed": ">&-"}[place]
    besnet = Path(sys.executable).with_name("besnet")
    said = subprocess.run(["bash", "-c", f"sleep 0; {besnet} --version {rule}"], text=True, capture_output=True)
    assert "Traceback" not in said.stderr
    assert said.returncode == code or (place == "pipe" and said.returncode == 0), "the pipe's reader may end later"
    assert ("standard output: no space left" in said.stderr) == (place == "/dev/full")


@pytest.mark.parametrize("verb", ["train", "doctor", "lab", "bench budget"])
def test_a_config_that_is_no_file_is_refused(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    named = [str(pipe)] if verb == "bench budget" else [f"--config={pipe}", f"--out={tmp_path / 'out'}"]
    with pytest.raises(SystemExit):
        cli.main([*verb.split(), *named])
    assert "pipe.yaml: not a file" in capsys.readouterr().err


def test_the_command_line_wins_wherever_it_stands(squares: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("recipe: {lr: 0.125, momentum: 0.5}\nseed: 7\n")
    (tmp_path / "b.yaml").write_text("recipe: {momentum: 0.25}\n")
    from besnet.cli.parsing import parse
    from besnet.cli.training import train_parser

    words = command.train_words(squares, tmp_path / "run")
    words = [word for word in words if not word.startswith("--recipe")]
    configs = ["--config", str(tmp_path / "a.yaml"), f"--config={tmp_path / 'b.yaml'}"]
    for arranged in (["--recipe.lr", "0.5", *configs, *words], [*configs, *words, "--recipe.lr=0.5"]):
        parsed = parse(train_parser("train"), arranged, "train")
        assert (parsed.recipe.lr, parsed.recipe.momentum, parsed.seed) == (0.5, 0.25, 7), "the later config wins"
