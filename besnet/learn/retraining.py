"""`besnet learn --all`: what was chosen learns again, from the validation videos as well."""

from pathlib import Path

from besnet.checkpoints.temperature import Fitted
from besnet.data.manifest import Manifest
from besnet.data.prepare import prepare
from besnet.evaluation.evaluate import evaluate
from besnet.learn.candidates import LOOKS, linear_probe, mirrors, write_model
from besnet.learn.candidates import trained as trained_network
from besnet.learn.split import all_for_training
from besnet.learn.timing import UNVALIDATED, Train
from besnet.reading import parse_json

SHORT_SIDE = 256
DONE = "learn.json"


def retrained(out: Path, train: Train, workers: int) -> int:
    """Train what was chosen again, on the training and the validation videos. Returns an exit code."""
    if not (out / DONE).is_file():
        raise ValueError(f"{out}: nothing was learned here yet: besnet learn without --all comes first")
    chosen, folder = parse_json(out / DONE), out / "all"
    folder.mkdir(exist_ok=True)
    all_for_training(out / "index.csv", folder / "index.csv")
    root = Path(chosen["root"])
    manifest = prepare(folder / "index.csv", folder / "data", root, chosen["name"],
                       multi_label=Manifest.load(out / "data").multi_label, short_side=SHORT_SIDE)  # fmt: skip
    if chosen["tuned"]:
        network = trained_network(folder / "run", manifest.folder, workers)
        words = [f"--data.folder={manifest.folder}", f"--out={folder / 'run'}", *UNVALIDATED]
        code = train([f"--config={out / 'config.yaml'}", *words])
        if code:
            return code
    else:
        view, strengths = LOOKS[chosen["look"]], [chosen["strength"]]
        network = linear_probe(manifest.folder, folder / "probe", view, mirrors(manifest), workers, strengths)
    fitted: Fitted = {"thresholds": chosen["thresholds"]} if "thresholds" in chosen else {}
    write_model(network.last(), folder / "model", fitted or {"temperature": chosen["temperature"]})
    if len(manifest.select("test", state=None)):
        evaluate(folder / "model", data=manifest.folder, split="test", out=folder / "results", workers=workers,
                 allow_training_videos=True)  # fmt: skip
    else:
        print(f"{folder / 'model'} has learned from every video: there is no honest figure for it, only that of {out}")
    print(f"besnet predict VIDEO --ckpt_path {folder / 'model'}")
    return 0
