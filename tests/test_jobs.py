"""Starting many ranks, starting them again, and what is looked at before."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml

from besnet import cli
from besnet.checkpoints import store
from besnet.data.crop import RandomCrop
from besnet.jobs.pipeline import measured, pipeline
from besnet.jobs.slurm import script
from besnet.jobs.torchrun import summary
from besnet.training import exit_codes, machine_checks
from besnet.training.data import VideoData
from besnet.training.preflight import needs, refuse_differences
from besnet.video.sampling import ClipShape
from tests import command

ROOT = Path(__file__).resolve().parents[1]
TWO_RANKS = ["--data.batch_size=2", "--trainer.devices=2", "--trainer.strategy=ddp"]
LEAVES_ITS_GROUP = """
import sys
import torch.distributed
from besnet import cli
code = cli.run("train", sys.argv[1:])
sys.exit("the process group is open" if torch.distributed.is_initialized() else code)
"""


def wanted(**changes: object) -> machine_checks.Needs:
    usual = {"out": Path("/nowhere/run"), "workers": 4, "batch_bytes": 10**7, "parameters": 10**6, "checkpoints": 2}
    return machine_checks.Needs(**usual | {"local_ranks": 1, "nodes": 1} | changes)  # type: ignore[arg-type]


def test_shared_memory_is_compared_with_what_the_loaders_need() -> None:
    assert not machine_checks.shared_memory(wanted()).fix
    small = machine_checks.shared_memory(wanted(batch_bytes=10**12))
    assert "--shm-size=" in small.fix
    assert not machine_checks.shared_memory(wanted(batch_bytes=10**12, workers=0)).fix, (
        "without workers nothing is shared"
    )


def test_too_many_workers_are_named_with_the_number_that_fits() -> None:
    have = machine_checks.usable_cores()
    assert not machine_checks.cores(wanted(workers=have)).fix
    assert machine_checks.cores(wanted(workers=50 * have)).fix == f"--data.workers={max(1, have - 1)}"
    assert "2 x (8 workers + 1)" in machine_checks.cores(wanted(workers=8, local_ranks=2)).found


def test_a_container_may_use_fewer_cores_than_there_are(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text("100000 100000\n")
    assert machine_checks.usable_cores(limit) == 1
    limit.write_text("max 100000\n")
    assert machine_checks.usable_cores(limit) == len(os.sched_getaffinity(0))


def test_a_disk_that_cannot_hold_the_checkpoints_is_named() -> None:
    assert not machine_checks.disk(wanted()).fix
    assert "--out" in machine_checks.disk(wanted(parameters=10**15)).fix


def test_several_machines_need_an_interface() -> None:
    assert not machine_checks.network(1, {}).fix
    missing = machine_checks.network(2, {"GLOO_SOCKET_IFNAME": "nosuch0"})
    assert "nosuch0 is not an interface" in missing.found
    assert missing.fix.startswith("export GLOO_SOCKET_IFNAME=")
    assert not machine_checks.network(2, {"GLOO_SOCKET_IFNAME": "lo"}).fix


def rank(**changes: object) -> dict[str, object]:
    usual = {
        "host": "a",
        "checkpoint": None,
        "revision": "abc",
        "versions": {"torch": "2"},
        "passport": {"source": "1"},
    }
    return usual | {"config": {"recipe": {"lr": 0.1}, "data": {"workers": 2}}} | changes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"revision": "def"}, "rank 1 on b runs revision def, rank 0 abc: git checkout abc"),
        ({"versions": {"torch": "3"}}, "torch: 2 → 3.*pip install"),
        ({"passport": {"source": "2"}}, "other data .passport.source: 1 → 2.: copy"),
        (
            {"config": {"recipe": {"lr": 0.2}, "data": {"workers": 2}}},
            r"recipe.lr: 0.1 → 0.2\): give every rank the same",
        ),
    ],
)
def test_ranks_that_differ_are_refused_with_what_mends_it(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        refuse_differences([rank(), rank(host="b", **change)])


def test_ranks_may_differ_in_what_does_not_matter() -> None:
    refuse_differences([rank(), rank(host="b", config={"recipe": {"lr": 0.1}, "data": {"workers": 7}})])


def test_a_rank_that_sees_another_checkpoint_stops_the_start() -> None:
    with pytest.raises(exit_codes.RunExit, match="sees checkpoint None, rank 0 step_1"):
        refuse_differences([rank(checkpoint="step_1"), rank(host="b")])


def test_ranks_with_other_settings_are_refused_before_the_first_step(squares: Path, tmp_path: Path) -> None:
    processes = []
    for number in range(2):
        words = command.train_words(squares, tmp_path, *TWO_RANKS, f"--recipe.lr=0.00{number + 1}")
        process_facts = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29617, "TORCHELASTIC_RUN_ID": "by hand"}
        environment = os.environ | {name: str(value) for name, value in (process_facts | meeting).items()}
        start = [sys.executable, "-W", "ignore", "-c", LEAVES_ITS_GROUP, *words]
        processes.append(subprocess.Popen(start, env=environment, text=True, stderr=subprocess.PIPE))
    for process in processes:
        _, err = process.communicate(timeout=command.LIMIT_SEC)
        assert process.returncode == 2
        assert "was started with other settings (recipe.lr: 0.001 → 0.002)" in err
    assert store.newest(tmp_path / "checkpoints")[0] is None


def test_the_doctor_says_whether_the_loaders_keep_up(squares: Path) -> None:
    """Twice the time of a clip is half the clips per second; the GPUs wait where they compute more than that."""
    data = VideoData(squares, ClipShape(4, 2), RandomCrop(flip=0.0), crop_size=32, batch_size=2, workers=1)
    asked, model = needs(squares, data, 10**6, 1, 1, 1), {"width": 8, "blocks": [1, 1]}
    loading = measured(data)
    assert loading is not None
    assert loading.core_sec > 0
    assert loading.clip_bytes >= 4 * 32 * 32 * 3 / 2
    rates = []
    for core_sec in (0.001, 0.002, 1e3):
        said, memory = pipeline(replace(loading, core_sec=core_sec), asked, model, data, on_gpu=True)
        rates.append(float(re.search(r"at most ([\d,.]+) clips/s", said.found)[1].replace(",", "")))  # type: ignore[index]
        assert memory.fix == ""
    assert rates[0] == pytest.approx(2 * rates[1])
    assert "would wait" in said.found
    (said, _) = pipeline(loading, asked, {}, data, on_gpu=False)
    assert "H100" not in said.found


def test_the_doctor_says_what_to_mend(squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.train_words(squares, tmp_path)
    assert cli.run("doctor", words) == 0
    command.train(squares, tmp_path)
    capsys.readouterr()
    assert cli.run("doctor", words) == 0
    assert cli.run("doctor", [*words, "--recipe.lr=1", "--data.workers=500"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok    checkpoint: step_000000018") for line in lines)
    assert any(line.startswith("fix   config: recipe.lr: 0.005 → 1") and "--accept_changes" in line for line in lines)
    assert any(line.startswith("fix   cores: 1 x (500 workers + 1)") and "--data.workers=" in line for line in lines)


def test_the_code_of_a_job_is_that_of_the_rank_that_began_it() -> None:
    assert summary([exit_codes.STOPPED, exit_codes.OUT_OF_MEMORY, -15]) == exit_codes.OUT_OF_MEMORY
    assert summary([exit_codes.STOPPED, -9]) == 137
    assert summary([exit_codes.HUNG, exit_codes.WRONG_USE]) == exit_codes.WRONG_USE
    assert summary([exit_codes.STOPPED, exit_codes.STOPPED]) == exit_codes.STOPPED


@pytest.mark.slow
def test_a_killed_rank_is_started_again_with_all_others(squares: Path, tmp_path: Path) -> None:
    calm, hurt = tmp_path / "calm", tmp_path / "hurt"
    words = [*TWO_RANKS, "--saving.every_steps=2", "--trainer.max_epochs=8"]
    process = command.start("launch", "--nproc_per_node=2", "train", *command.train_words(squares, hurt, *words))
    command.wait_for_step(hurt, 4)
    ranks = [
        child for child in psutil.Process(process.pid).children(recursive=True) if child.environ().get("RANK") == "1"
    ]
    next(child for child in ranks if "besnet" in child.cmdline()).kill()
    _, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == 0, err
    assert "restarting in 1 s (1 of 3)" in err
    whole = command.start("train", *command.train_words(squares, calm, *words), ranks=2)
    whole.communicate(timeout=command.LIMIT_SEC)
    assert command.weights_hash(hurt) == command.weights_hash(calm)


def test_what_cannot_succeed_is_not_started_again(squares: Path, tmp_path: Path) -> None:
    huge = ["--data.crop_size=8192", "--data.clip.num_frames=1024", "--evaluation.crop_size=32"]
    words = command.train_words(squares, tmp_path, *huge)
    process = command.start("launch", "train", *words)
    _, err = process.communicate(timeout=command.LIMIT_SEC)
    assert process.returncode == exit_codes.OUT_OF_MEMORY
    assert "out of memory with data.batch_size 4" in err
    assert "restarting in" not in err


def test_the_job_file_is_a_shell_script_that_queues_itself_again(tmp_path: Path) -> None:
    text = script(["train", "--out=a b"], 8, 2, 3, ["--time=1:00:00"], 90)
    file = tmp_path / "job"
    file.write_text(text)
    assert subprocess.run(["bash", "-n", str(file)]).returncode == 0
    for line in ("#SBATCH --nodes=2", "#SBATCH --time=1:00:00", "#SBATCH --signal=B:USR1@90", "scontrol requeue"):
        assert line in text
    assert "--nnodes=2 --nproc_per_node=8" in text
    assert "train '--out=a b'" in text


@pytest.mark.parametrize(
    ("code", "signalled", "restarts", "queued_again"),
    [
        (0, False, 0, False), (75, True, 0, True), (75, False, 0, False), (71, False, 0, False),
        (69, False, 0, True), (69, False, 3, False), (137, False, 1, True),
    ],
)  # fmt: skip
def test_a_job_is_queued_again_when_that_makes_sense(
    tmp_path: Path, code: int, signalled: bool, restarts: int, queued_again: bool
) -> None:
    """The job file under a shell whose Slurm commands are stand-ins: no Slurm is at hand in every test."""
    file = tmp_path / "job"
    file.write_text(script(["train"], 1, 1, 3, [], 90))
    commands = {
        "srun": f"#!/bin/bash\ntouch {tmp_path}/started; sleep 1; exit {code}\n",
        "scontrol": f"#!/bin/bash\n[ $1 = show ] && echo here || echo $@ >{tmp_path}/requeued\n",
        "scancel": f"#!/bin/bash\necho $@ >{tmp_path}/passed_on\n",
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    facts = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here"}
    process = subprocess.Popen(["bash", str(file)], env=os.environ | facts | {"SLURM_RESTART_COUNT": str(restarts)})
    while not (tmp_path / "started").exists():
        assert process.poll() is None
    if signalled:
        process.send_signal(10)
    process.wait(timeout=command.LIMIT_SEC)
    assert (tmp_path / "requeued").exists() == queued_again
    assert (tmp_path / "passed_on").exists() == signalled
    if not queued_again:
        assert process.returncode == code


def launched(tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `besnet launch` prints; it also writes job.yaml."""
    assert cli.run("launch", [f"--job_file={tmp_path / 'job.yaml'}", *words.split()]) == 0
    return capsys.readouterr().out


def test_the_train_job_is_one_that_kubeflow_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models")
    words = "--launcher=kubernetes --nproc_per_node=8 --nnodes=2 --image=mine:1 train --config=/app/c.yaml"
    said = launched(tmp_path, words, capsys)
    assert "kubectl apply -f" in said
    job = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    parsed = models.TrainerV1alpha1TrainJob.from_dict(job)
    assert json.loads(json.dumps(parsed.to_dict())) == job, "a key that Kubeflow does not know is dropped"
    trainer = job["spec"]["trainer"]
    assert trainer["command"][:3] == ["python", "-m", "besnet.jobs.torchrun"]
    assert trainer["args"] == ["-m", "besnet", "train", "--config=/app/c.yaml"]
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["image"]) == (2, 8, "mine:1")
    assert job["spec"]["runtimeRef"]["name"] == "torch-distributed"
    assert "PET_" not in json.dumps(job), "these variables are Kubeflow's"


@pytest.mark.parametrize("code", [0, 1, None])
def test_kubectl_is_given_the_file_and_its_code_is_the_result(
    code: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        f"--job_file={tmp_path / 'job.yaml'}",
        "--launcher=kubernetes",
        "--parts=2",
        "--submit",
        "prepare",
        "a",
        "b",
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    if code is None:
        with pytest.raises(SystemExit):
            cli.run("launch", words)
        assert "no kubectl on this machine" in capsys.readouterr().err
        return
    (tmp_path / "kubectl").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/given\nexit {code}\n')
    (tmp_path / "kubectl").chmod(0o755)
    assert cli.run("launch", words) == code
    assert (tmp_path / "given").read_text() == f"apply -f {tmp_path / 'job.yaml'}\n"


def test_a_preparation_is_an_indexed_job_and_a_last_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = pytest.importorskip("kubeflow_trainer_api.models")
    launched(tmp_path, "--launcher=kubernetes --parts=12 prepare /data/list.csv /data/out", capsys)
    parts, last = yaml.safe_load_all((tmp_path / "job.yaml").read_text())
    for job in (parts, last):
        assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
        parsed = models.IoK8sApiBatchV1JobSpec.from_dict(job["spec"])
        assert json.loads(json.dumps(parsed.to_dict())) == job["spec"], "a key that Kubernetes does not know is dropped"
    spec = parts["spec"]
    assert (spec["completionMode"], spec["completions"], spec["backoffLimitPerIndex"]) == ("Indexed", 12, 3)
    fail, ignore = spec["podFailurePolicy"]["rules"]
    assert fail["onExitCodes"]["values"] == [exit_codes.WRONG_USE]
    assert ignore["onPodConditions"][0]["type"] == "DisruptionTarget"
    (container,) = spec["template"]["spec"]["containers"]
    assert container["args"] == ["prepare", "/data/list.csv", "/data/out", "--part=auto/12"]
    assert last["spec"]["suspend"]
    assert last["spec"]["template"]["spec"]["containers"][0]["args"] == container["args"][:-1]


def test_slurm_does_a_preparation_as_an_array_and_a_last_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts in the place of Slurm's programs note what they are given."""
    calls = tmp_path / "calls"
    (tmp_path / "sbatch").write_text(f'#!/bin/sh\necho "$@" >> {calls}\necho 41\n')
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho MaxArraySize = 1001\n")
    for name in ("sbatch", "scontrol"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    launched(tmp_path, "--launcher=slurm --parts=4 --submit prepare list.csv out", capsys)
    array, last = tmp_path / "job.yaml", tmp_path / "job-last.yaml"
    assert calls.read_text().splitlines() == [f"--parsable {array}", f"--parsable --dependency=afterany:41 {last}"]
    assert "--array=0-3" in array.read_text()
    assert 'prepare list.csv out "--part=$SLURM_ARRAY_TASK_ID/4"' in array.read_text()
    assert last.read_text().rstrip().endswith("-m besnet prepare list.csv out")
    with pytest.raises(SystemExit):
        launched(tmp_path, "--launcher=slurm --parts=2000 --submit prepare list.csv out", capsys)
    assert "arrays of up to 1001 tasks" in capsys.readouterr().err
    (tmp_path / "sbatch").write_text("#!/bin/sh\nexit 1\n")
    words = [f"--job_file={array}", "--launcher=slurm", "--parts=4", "--submit", "prepare", "list.csv", "out"]
    assert cli.run("launch", words) == 1


def test_a_lab_is_an_array_of_trainings_one_of_evaluations_and_a_last_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    (tmp_path / "sbatch").write_text(f'#!/bin/sh\necho "$@" >> {calls}\nwc -l < {calls}\n')
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lab = "lab --config=c.yaml --out=o --controls=[none,random_12] --seeds=3"
    launched(tmp_path, f"--launcher=slurm --submit {lab}", capsys)
    train, evaluate, last = (tmp_path / f"job{name}.yaml" for name in ("", "-evaluate", "-last"))
    assert [line.split() for line in calls.read_text().splitlines()] == [
        ["--parsable", str(train)],
        ["--parsable", "--dependency=afterany:1", str(evaluate)],
        ["--parsable", "--dependency=afterany:2", str(last)],
    ]
    assert "#SBATCH --array=0-5" in train.read_text()
    assert '"--part=train:$SLURM_ARRAY_TASK_ID/6"' in train.read_text()
    assert '"--part=evaluate:$SLURM_ARRAY_TASK_ID/6"' in evaluate.read_text()
    assert "--part" not in last.read_text()
    for file in (train, evaluate, last):
        assert subprocess.run(["bash", "-n", str(file)]).returncode == 0

    models = pytest.importorskip("kubeflow_trainer_api.models")
    launched(tmp_path, f"--launcher=kubernetes {lab}", capsys)
    jobs = list(yaml.safe_load_all(train.read_text()))
    for job in jobs:
        parsed = models.IoK8sApiBatchV1JobSpec.from_dict(job["spec"])
        assert json.loads(json.dumps(parsed.to_dict())) == job["spec"], "a key that Kubernetes does not know is dropped"
    arguments = [job["spec"]["template"]["spec"]["containers"][0]["args"] for job in jobs]
    assert [words[-1] for words in arguments] == ["--part=train:auto/6", "--part=evaluate:auto/6", "--seeds=3"]
    assert [job["spec"].get("suspend", False) for job in jobs] == [False, True, True]


def test_parts_cannot_be_submitted_where_there_is_no_slurm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        launched(tmp_path, "--launcher=slurm --parts=4 --submit prepare list.csv out", capsys)
    assert end.value.code == 2
    assert "no sbatch on this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [("--launcher=slurm prepare a b", "--parts N goes with prepare"),
     ("--parts=3 train", "--parts N goes with prepare"),
     ("--parts=3 prepare a b", "uses all cores"),
     ("--launcher=slurm --parts=3 prepare a b --part=0/3", "each task has its own; leave it out"),
     ("--launcher=slurm --parts=3 prepare a", "needs OUT"),
     ("--launcher=slurm --parts=3 lab --config=c --out=o --controls=[none] --seeds=2", "this lab has 2 runs"),
     ("--launcher=slurm --parts=3 lab --config=c --out=o --controls=[c2d,none,fixed_2] --seeds=2 --folds=[a,b] "
      "--primary=[none,fixed_2] --primary_seeds=5", "this lab has 24 runs")],
)  # fmt: skip
def test_parts_and_prepare_go_together(words: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.run("launch", words.split())
    assert why in capsys.readouterr().err
