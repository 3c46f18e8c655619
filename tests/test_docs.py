"""Every command in the documents runs, at a tiny size, on data that stands where the documents say."""

import csv
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml

from besnet import cli
from besnet.data.prepare import prepare
from tests import moving_squares
from tests.command import LIMIT_SEC

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^    ((?:besnet|python|torchrun|make) .*?)(?:  +#.*)?$", re.M)
KINETICS = ["abseiling", "zumba"]


def commands(document: Path) -> list[str]:
    """The commands of a document, from top to bottom, without what is said behind them."""
    return COMMAND.findall(document.read_text())


def shrunken(config: dict[str, Any]) -> dict[str, Any]:
    """A shipped config at a size that a test can afford, on a CPU."""
    config["pretrained"] = None
    if "backbone" not in config["model"]:
        config["model"] |= {"blocks": [1, 1], "width": 8}
    config["data"] |= {"crop_size": 32, "batch_size": 2, "workers": 0}
    config["data"]["clip"] |= {"num_frames": 4, "frame_interval": 2}
    config["data"].pop("val_videos", None)
    config["data"].pop("repeats", None)
    config["data"].pop("backend", None)
    config["recipe"].pop("precise_bn", None)
    config["evaluation"] = {"num_clips": 2, "num_crops": 1}
    config["trainer"] = {"accelerator": "cpu", "max_epochs": 1, "log_every_n_steps": 1}
    return config


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, squares: Path) -> Path:
    """A folder in which the documents' files are: configs, videos, tables, prepared data and a finished run."""
    for name in ("train.py", "evaluate.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    (tmp_path / "configs").mkdir()
    for config in (ROOT / "configs").glob("*.yaml"):
        small = yaml.safe_dump(shrunken(yaml.safe_load(config.read_text())))
        (tmp_path / "configs" / config.name).write_text(small)
    annotate(tmp_path)
    for place, split in enumerate(("train", "val", "test")):
        for seed, (name, direction) in enumerate(moving_squares.DIRECTIONS.items(), 10 * place):
            moving_squares.draw(tmp_path / "my_videos" / split / name / f"{split}.mp4", direction, seed)
    with open(tmp_path / "index.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "path", "person"])
        for split, person in (("train", "ida"), ("val", "eli"), ("test", "daria"), ("test", "denis")):
            for name in moving_squares.DIRECTIONS:
                link = tmp_path / "my_videos" / split / name / f"{person}.mp4"
                shutil.copy(link.with_name(f"{split}.mp4"), link)
                writer.writerow([name, link.relative_to(tmp_path), person])
    shutil.copy(tmp_path / "my_videos/test/left/test.mp4", tmp_path / "video.mp4")
    for number, names in enumerate((("left", "up"), ("up", "left")), 1):
        moving_squares.draw(tmp_path / f"film_{number}.mp4", moving_squares.DIRECTIONS[names[0]], number, frames=60)
    rows = [f"{name},film_{number}.mp4,{start},{start + 0.5},{split}" for number, split in ((1, "train"), (2, "test"))
            for start, name in ((0, "left"), (1, "up"))]  # fmt: skip
    (tmp_path / "films.csv").write_text("\n".join(["label,path,start,end,split", *rows]) + "\n")
    rows = [f"{labels},my_videos/{split}/{name}/{split}.mp4,{split}" for split in ("train", "val", "test")
            for name, labels in (("left", "left;across"), ("right", "across"), ("up", "up"), ("down", ""))]  # fmt: skip
    (tmp_path / "several.csv").write_text("\n".join(["label,path,split", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def annotate(folder: Path) -> None:
    """Kinetics annotations and videos: two of each split are there, one is missing."""
    (folder / "annotations").mkdir()
    for place, split in enumerate(("train", "val", "test")):
        with open(folder / "annotations" / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
            for number in range(9):
                name = f"{split}{number:08d}"[-11:]
                writer.writerow([KINETICS[number % 2], name, 0, 1, split])
                if number < 8:
                    path = folder / "videos" / f"{name}_000000_000001.mp4"
                    moving_squares.draw(path, [*moving_squares.DIRECTIONS.values()][number % 2], number + 10 * place)
    shutil.copy(folder / "annotations" / "val.csv", folder / "kinetics400_val.csv")


def supply(place: Path, words: list[str]) -> None:
    """Make what a command takes for granted: data that was prepared, a run that was trained, an evaluation of it."""
    text = " ".join(words)
    data = place / "data"
    if "kinetics400/prepared" not in text.partition("prepare ")[2] and not (data / "kinetics400/prepared").exists():
        prepare(place / "annotations", data / "kinetics400" / "prepared", place / "videos", index_only=True,
                classes="kinetics400", workers=1)  # fmt: skip
    if words[1] != "prepare" and not (data / "mine").exists():
        prepare(place / "my_videos", data / "mine", index_only=True, workers=1)
    hard = data / "stick_figures" / "hard" / "prepared"
    if "stick_figures_hard" in text and not hard.exists():
        prepare(place / "my_videos", hard, index_only=True, workers=1)
    if "runs/mine" in text and "--out runs/mine" not in text and not (place / "runs" / "mine").exists():
        config, out = "--config=configs/weizmann.yaml", "--out=runs/mine"
        best = ["--data.val_videos=4", "--saving.keep_best=1"]
        assert cli.run("train", [config, "--data.folder=data/mine", out, *best]) == 0
    for name in re.findall(r"runs/mine/evaluations/(\S+)", text):
        folder = place / "runs" / "mine" / "evaluations" / name
        if not folder.exists():
            split, views, dilations = re.fullmatch(r"my_videos-(\w+)-(\d+x\d+)-d([\d_]+)", name).groups()  # type: ignore[union-attr]
            num_clips, num_crops = views.split("x")
            evaluate = ["--ckpt_path=runs/mine", f"--split={split}", f"--num_clips={num_clips}", "--workers=0"]
            evaluate += [f"--num_crops={num_crops}", f"--dilations=[{dilations.replace('_', ',')}]"]
            assert cli.run("evaluate", evaluate) == 0
            assert folder.exists()


def run(command: str) -> None:
    """Run one command: in this process, or with two ranks where it asks for many."""
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:.*## ", (ROOT / "Makefile").read_text(), re.M), f"no target {words[1]}"
        return
    many = words[0] == "torchrun" or words[1] == "launch"
    if many and not {"slurm", "kubernetes"} & set(words):
        run_ranks(words)
        return
    words = ["1" if before == "--seeds" else word for before, word in zip(["", *words], words, strict=False)]
    if "KINETICS400_V1" in words:  # which is not to be had here, nor would it be quick
        words = [{"KINETICS400_V1": "weights.pth", "mvit_v2_s": "mc3_18"}.get(word, word) for word in words]
        words += ["--classes=kinetics400", "--input.num_frames=4", "--input.crop_size=32"]
        torch.save(torchvision.models.get_model("mc3_18", weights=None).state_dict(), "weights.pth")
    if words[1] == "learn":
        words += ["--start=scratch", "--minutes=0.05"]
    verb, rest = (words[1], words[2:]) if words[0] == "besnet" else (words[1].removesuffix(".py"), words[2:])
    if verb == "bench":
        verb, rest = f"bench {rest[0]}", rest[1:]
    code = cli.run(verb, rest)
    assert code == (2 if verb == "doctor" else 0) or (verb == "doctor" and code == 0), f"{command}: exit code {code}"


def run_ranks(words: list[str]) -> None:
    """Two ranks in all, whatever the document asks for: on one machine, or as two machines of one rank each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = 2 if "--nnodes" in words else 1
    swaps = {"--nproc_per_node=8": "--nproc_per_node=2", "10.0.0.1:29500": f"127.0.0.1:{port}", "8": str(2 // nodes)}
    words = [swaps.get(word, word) for word in words]
    words += [f"--trainer.devices={2 // nodes}", "--trainer.strategy=ddp"]
    start = ["torch.distributed.run"] if words[0] == "torchrun" else ["besnet"]
    jobs = []
    for node in range(nodes):
        own = list(words[1:])
        if nodes == 2:
            own[own.index("--node_rank") + 1] = str(node)
        command = [sys.executable, "-W", "ignore", "-m", *start, *own]
        jobs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for job in jobs:
        out, _ = job.communicate(timeout=LIMIT_SEC)
        assert job.returncode == 0, out[-3000:]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_a_document_runs(document: Path, place: Path) -> None:
    for command in commands(document):
        print(f"$ {command}")
        if "train" in command:  # each is given as if it were the first: a run keeps its settings
            for old in place.glob("runs/*_*"):
                shutil.rmtree(old)
        if not command.startswith("make"):
            supply(place, shlex.split(command))
        run(command)


def test_documents_do_have_commands() -> None:
    assert sum(len(commands(document)) for document in DOCUMENTS) > 30


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)\)", document.read_text().replace("\n", " ")):
        assert (document.parent / target).exists(), f"{document.name} leads to {target}"
