"""What is evaluated: a checkpoint with the network in it, a model folder, or a network with published weights."""

from pathlib import Path

from besnet.checkpoints import store
from besnet.checkpoints.header import LoadedCheckpoint, rebuild
from besnet.checkpoints.model_folder import LoadedModel, folder_of, run_of
from besnet.checkpoints.published_model import AS_STATED, Input, chosen
from besnet.checkpoints.store import Stored
from besnet.models.build import kind


def opened(
    ckpt_path: Path | None,
    network: str | None,
    weights: str | None,
    given: Input,
    classes: str | None,
    dilations: list[int] | None,
    no_ema: bool,
) -> tuple[LoadedModel, Stored | None]:
    """The network that a command line names, and the checkpoint that it was in; None for others.

    The arguments are those of besnet.evaluation.evaluate. ValueError for those that do not go together.
    """
    published = weights is not None or given != AS_STATED or classes is not None
    if ckpt_path is None or published or folder_of(ckpt_path) is not None:
        if dilations is not None or no_ema:
            raise ValueError(
                "--dilations and --no_ema go with a checkpoint: model folders and published weights are taken as "
                "they are"
            )
        return chosen(ckpt_path, network, weights, given, classes), None
    stored = store.read(ckpt_path)
    changed = {} if dilations is None else {"dilations": dilations}
    trained = rebuild(stored.content, no_ema, str(stored.path), changed, network)
    return LoadedModel(trained, stored.hash, run_of(stored.path), str(stored.path)), stored


def describe(trained: LoadedCheckpoint) -> str:
    """The network in one line."""
    parameters = sum(weight.numel() for weight in trained.network.parameters()) / 1e6
    taps = f"dilations {list(trained.network.dilations)}" if trained.network.dilations else "no temporal taps"
    average = "" if trained.ema is None else f", moving average of decay {trained.ema}"
    count = trained.position.get("micro_batch", 0)
    trainings = f"{count} micro-batches trained" if trained.position else "published weights"
    return f"{kind(trained.model).title}, {parameters:.2f} M parameters, {taps}, {trainings}{average}"


def weights_line(trained: LoadedCheckpoint) -> str:
    """Which of a checkpoint's two sets of weights is evaluated, in one line."""
    if trained.ema is None:
        return "weights: as the optimiser left them (their moving average is evaluated without --no_ema)"
    return f"weights: their moving average (EMA, decay {trained.ema}); --no_ema evaluates the weights as trained"
