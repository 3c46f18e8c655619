"""The verbs of the command line, and the function behind each that is one function."""

from collections.abc import Callable
from typing import Any

# verbs whose required arguments are given by position
POSITIONAL = {"draw", "prepare", "verify", "coverage", "calibrate", "bench budget", "export"}
VERBS = {
    "draw": "draw the stick-figure data set: real video files of ten or more actions",
    "prepare": "index a folder or a list of videos, check and decode each once",
    "verify": "check a prepared data set's bytes against its manifest",
    "coverage": "write the page that says what a prepared data set holds and lacks",
    "train": "train a network as a config says; goes on where it was",
    "evaluate": "evaluate a checkpoint on a prepared data set; --ensemble A B --out C combines finished evaluations",
    "calibrate": "fit a temperature on one split's stored predictions, for honest probabilities",
    "lab": "train and evaluate networks that differ in one thing, over seeds: one page with intervals",
    "predict": "say what happens in videos: the likeliest classes, a picture, a timeline",
    "features": "write what a network sees in videos, before it names it, as NPZ",
    "doctor": "look at this machine, this code and the run's folder before a training; takes its arguments",
    "launch": "start a training or an evaluation on many ranks, here or by Slurm, and again when it fails",
    "export": "write a checkpoint's network as a model folder, as ONNX or for torch.export",
    "bench model": "time a network here: parameters, GFLOP, memory, clips/s, share of the device's speed",
    "bench budget": "GPU hours that a config takes, from what is counted and what is assumed",
    "demo": "draw videos, prepare, train and evaluate, in a few minutes on a CPU",
}


def verb_function(verb: str) -> Callable[..., Any]:
    """The function behind a verb; imported only now, so that help and errors come at once."""
    if verb == "draw":
        from besnet.stick_figures.dataset import draw_dataset

        return draw_dataset
    if verb == "prepare":
        from besnet.data.prepare import prepare

        return prepare
    if verb == "verify":
        from besnet.data.verify import verify

        return verify
    if verb == "coverage":
        from besnet.report.coverage_page import coverage_page

        return coverage_page
    if verb == "evaluate":
        from besnet.evaluation.evaluate import evaluate

        return evaluate
    if verb in ("predict", "features"):
        from besnet.predict import verbs

        return verbs.predict if verb == "predict" else verbs.features
    if verb == "export":
        from besnet.predict.export import export

        return export
    if verb == "bench model":
        from besnet.bench.model import bench_model

        return bench_model
    if verb == "bench budget":
        from besnet.bench.budget import bench_budget

        return bench_budget
    if verb == "calibrate":
        from besnet.evaluation.calibration import calibrate

        return calibrate
    if verb == "lab":
        from besnet.lab.lab import lab

        return lab
    from besnet.demo import demo

    return demo
