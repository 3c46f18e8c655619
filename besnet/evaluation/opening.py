"""What is evaluated: a checkpoint with the network in it, or a network with published weights."""

from pathlib import Path

from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.checkpoints.model_folder import LoadedModel, run_of
from besnet.checkpoints.published_model import AS_STATED, Input, chosen
from besnet.checkpoints.store import Stored


def opened(
    ckpt_path: Path | None,
    network: str | None,
    weights: str | None,
    given: Input,
    classes: str | None,
    dilations: list[int] | None,
    no_ema: bool,
) -> tuple[LoadedModel, Stored | None]:
    """The network that a command line names, and the checkpoint that it was in; None for published weights.

    The arguments are those of besnet.evaluation.evaluate. ValueError for those that do not go together.
    """
    if ckpt_path is None or weights is not None or given != AS_STATED or classes is not None:
        if dilations is not None or no_ema:
            raise ValueError("--dilations and --no_ema go with --ckpt_path: published weights are taken as they are")
        return chosen(ckpt_path, network, weights, given, classes), None
    stored = store.read(ckpt_path)
    changed = {} if dilations is None else {"dilations": dilations}
    trained = rebuild(stored.content, no_ema, str(stored.path), changed, network)
    return LoadedModel(trained, stored.hash, run_of(stored.path), str(stored.path)), stored
