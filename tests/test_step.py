"""The choices of a training step that a config can make, and what a step must not do."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from besnet.checkpoints import store
from besnet.checkpoints.header import rebuild
from besnet.models.besnet import BesNet
from tests import command

# Each of these makes the host wait until a GPU has done all that it was given.
ASKING = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2"}


class Questions(TorchDispatchMode):
    """Counts the operations that ask a device for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.overloadpacket.__name__
        masked = name == "index" and any(place is not None and place.dtype == torch.bool for place in args[1])
        self.count += masked or name in ASKING
        return func(*args, **(kwargs or {}))


def test_questions_are_counted() -> None:
    with Questions() as asked:
        x = torch.arange(3.0)
        _ = x.sum() * x.mean()
        assert asked.count == 0
        _ = x.sum().item(), bool(x[0]), x[x > 1]
    assert asked.count == 3


def test_a_step_asks_the_device_nothing(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve steps with nothing to log or save ask no more than six."""
    counts = []
    fit = pl.Trainer.fit

    def counted(*arguments: object, **keywords: object) -> None:
        with Questions() as asked:
            fit(*arguments, **keywords)  # type: ignore[arg-type]
        counts.append(asked.count)

    monkeypatch.setattr(pl.Trainer, "fit", counted)
    for steps in (6, 12):
        words = ["--trainer.max_epochs=1", "--data.batch_size=2", f"--trainer.limit_train_batches={steps}"]
        assert command.train(squares, tmp_path / str(steps), *words, "--trainer.log_every_n_steps=1000") == 0
    assert counts[0] == counts[1]


def test_activation_checkpointing_by_stage_gives_the_same_bits(squares: Path, tmp_path: Path) -> None:
    """Dropout, BatchNorm and the drawn dilations included."""
    for name, words in {"kept": [], "recomputed": ["--model.activation_checkpointing=[2]"]}.items():
        assert command.train(squares, tmp_path / name, "--trainer.max_epochs=1", *words) == 0
    assert command.weights_hash(tmp_path / "kept") == command.weights_hash(tmp_path / "recomputed")


def test_frozen_batchnorm_stays_as_it_was(squares: Path, tmp_path: Path) -> None:
    assert command.train(squares, tmp_path, "--trainer.max_epochs=1", "--model.frozen_bn=true") == 0
    network = rebuild(store.load(tmp_path)).network
    fresh = BesNet(network.num_classes, blocks=(1, 1), width=8).state_dict()
    norms = {name: value for name, value in network.state_dict().items() if "bn" in name}
    assert norms
    assert all(torch.equal(value, fresh[name]) for name, value in norms.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # the inductor's own use of it
def test_compiled_it_learns_the_same(squares: Path, tmp_path: Path) -> None:
    losses = []
    for name, words in {"eager": [], "compiled": ["--compile"], "by_block": ["--compile", "blocks"]}.items():
        words = [*words, "--trainer.max_epochs=1", "--recipe.lr=0.0001", "--model.dropout=0"]
        assert command.train(squares, tmp_path / name, *words) == 0
        lines = (tmp_path / name / "metrics.csv").read_text().splitlines()
        column = lines[0].split(",").index("Train/Loss")
        losses.append([float(line.split(",")[column]) for line in lines[1:]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)
