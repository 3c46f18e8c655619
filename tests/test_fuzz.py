"""Every file format and the command line under a generator: no traceback, no hang, no more than 2 GiB, one line each.

`make fuzz` runs 2,000 cases, the quick tests 200.
"""

import inspect
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from besnet.checkpoints import model_folder, store
from besnet.cli.parsing import known_keys
from besnet.cli.training import train_parser
from besnet.cli.verbs import VERBS
from tests import evaluated, moving_squares, untrained
from tests import fuzz_formats as spoil
from tests.fuzz_worker import Case, Worker

CODES = {0, 1, 2, 71}  # of the verbs that are run here; 71: out of memory
CASES = int(os.environ.get("FUZZ_CASES", "200"))
FORMATS = ("checkpoint", "model", "results", "predictions", "dataset", "manifest", "calibration", "config", "list",
           "command line")  # fmt: skip
CLASSES = ["down", "left", "right", "up"]
CONFIG = Path(__file__).resolve().parents[1] / "configs" / "stick_figures.yaml"


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each format, whole: run, model, evaluation, data."""
    folder = tmp_path_factory.mktemp("templates")
    run = folder / "run"
    path = untrained.checkpoint(run, CLASSES, clip=untrained.CLIP | {"frame_interval": 2})
    path.rename(run / "x.ckpt")
    facts = {"split": "val", "passport": evaluated.PASSPORT, "videos": 3}
    known = {"temperature": 1.5, "checkpoint": store.file_hash(run / "x.ckpt"), "fitted_on": facts}
    (run / "calibration.json").write_text(json.dumps(known))
    model_folder.write(folder / "model", model_folder.given(run / "x.ckpt"), {}, {})
    shares = np.random.default_rng(0).dirichlet(np.ones(4), (5, 2))
    evaluated.write(folder / "evaluation", shares, [0, 1, 2, 3, 0], CLASSES, split="val")
    moving_squares.make(folder / "squares", train=4, test=2)
    data = folder / "data"
    data.mkdir()
    for name in ("dataset.json", "manifest.jsonl", "manifest.npy"):
        (data / name).write_bytes((folder / "squares" / "prepared" / name).read_bytes())
    (folder / "list").mkdir()
    return folder


@pytest.fixture(scope="module")
def worker(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """The process that runs the commands."""
    worker = Worker(templates, tmp_path_factory.mktemp("case") / "place")
    yield worker
    worker.stop()


def cases(kind: str, templates: Path) -> some.SearchStrategy[Case]:
    """Commands on a spoilt file of a format."""
    run, model, evaluation, data = (templates / name for name in ("run", "model", "evaluation", "data"))
    video, out = str(next((templates / "squares" / "test").iterdir())), "--out=PLACE/out"
    ckpt, few = "--ckpt_path=PLACE/x.ckpt", ("--workers=0", "--num_clips=1", out)
    predict, on_model = [("predict", video, ckpt)], [("predict", video, "--ckpt_path=PLACE")]
    on_run = [*predict, ("features", video, ckpt, "--out=PLACE/f.npz"), ("export", "PLACE/x.ckpt", out),
              ("evaluate", ckpt, f"--data={data}", *few)]  # fmt: skip
    on_evaluation = [("calibrate", "PLACE", "--run_folder=PLACE"),
                     ("evaluate", "--ensemble", "PLACE", str(evaluation), out)]  # fmt: skip
    on_data = [("coverage", "PLACE"), ("verify", "PLACE", "--sizes_only=true", "--workers=1"),
               ("evaluate", f"--ckpt_path={run / 'x.ckpt'}", "--data=PLACE", *few)]  # fmt: skip
    on_config = [("doctor", "--config=PLACE/c.yaml", out), ("bench", "budget", "PLACE/c.yaml")]
    table = ("prepare", "PLACE/x.csv", "PLACE/out", "--index_only=true", "--workers=1")

    def on(commands: Sequence[tuple[str, ...]], name: str, file: str, made: some.SearchStrategy[bytes]) -> Any:
        chosen = some.sampled_from(commands)
        return some.builds(lambda words, content: Case(words, name, ((file, content),)), chosen, made)

    if kind == "manifest":
        chosen = some.sampled_from(on_data)
        return some.builds(lambda words, files: Case(words, "data", files), chosen, spoil.manifests(data))
    if kind == "command line":
        return spoil.command_lines({verb: argument_names(verb) for verb in VERBS})
    found: dict[str, Any] = {
        "checkpoint": on(on_run, "run", "x.ckpt", spoil.checkpoints(run / "x.ckpt")),
        "model": on(on_model, "model", "model.json", spoil.of_json(model / "model.json")),
        "results": on(on_evaluation, "evaluation", "results.json", spoil.of_json(evaluation / "results.json")),
        "predictions": on(on_evaluation, "evaluation", "predictions.npz", spoil.predictions(evaluation)),
        "dataset": on(on_data, "data", "dataset.json", spoil.of_json(data / "dataset.json")),
        "calibration": on(predict, "run", "calibration.json", spoil.of_json(run / "calibration.json")),
        "config": on(on_config, "list", "c.yaml", spoil.configs(CONFIG, data)),
        "list": on([table], "list", "x.csv", spoil.tables),
    }
    strategy: some.SearchStrategy[Case] = found[kind]
    return strategy


def argument_names(verb: str) -> list[str]:
    """The arguments of a verb."""
    if verb in ("train", "doctor"):
        return known_keys(train_parser(verb))
    return [*inspect.signature(VERBS[verb].load()).parameters]


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_spoilt_is_refused_in_one_line(kind: str, templates: Path, worker: Worker) -> None:
    @settings(max_examples=max(1, CASES // len(FORMATS)), deadline=None, database=None, derandomize=CASES <= 200,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(cases(kind, templates))
    def every_case(case: Case) -> None:
        ended = worker.run(case)
        assert not ended.fault, ended.fault
        assert ended.code in CODES, (ended.code, ended.said[-1000:])
        complaints = [line for line in ended.said.splitlines() if line.startswith("besnet: ")]
        assert "Traceback" not in ended.said, ended.said[-3000:]
        found = case.words[0] == "doctor" and not complaints  # what it finds is in lines of their own, and code 2
        assert len(complaints) == (1 if ended.code in (2, 71) and not found else 0), ended.said[-3000:]
        assert "\x1b" not in ended.said

    every_case()
