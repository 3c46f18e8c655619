"""metrics.csv: the figures of a training, step by step, whatever kills and resumes the run."""

import csv
import io
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from besnet.files import append, replacing
from besnet.training.progress import is_logged
from besnet.training.task import ActionTraining
from besnet.training.validation_metrics import FIGURES, LOSS, MAP


class MetricsTable(pl.Callback):
    """Writes metrics.csv: the training figures of every logged step and the validation's of every epoch.

    Rows that a resume trains again are replaced, so that the table is that of an undisturbed run. Columns of another
    release stay in their places, and columns that a table lacks are added behind.
    """

    FIELDS = (
        "step",
        "epoch",
        "lr",
        "Train/Loss",
        "Train/Prec@1",
        "Train/Prec@5",
        *FIGURES,
    )

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fields = list(self.FIELDS)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the rows after the checkpoint that this run starts from."""
        assert isinstance(pl_module, ActionTraining)
        if trainer.is_global_zero:
            self.start(trainer.global_step, (MAP,) if pl_module.multi_label else ())

    def start(self, step: int, more: tuple[str, ...] = ()) -> None:
        """Write the table anew with the rows up to a step; more: further columns."""
        header, *rows = whole_rows(self.path) or [[]]
        if "step" not in header:  # no table of a training
            header, rows = [], []
        self.fields = header + [field for field in (*self.FIELDS, *more) if field not in header]
        place = self.fields.index("step")
        kept = [row for row in rows if len(row) == len(header) and row[place].isdecimal() and int(row[place]) <= step]
        blank = [""] * (len(self.fields) - len(header))
        with replacing(self.path) as file:
            file.write(line(self.fields) + b"".join(line([*row, *blank]) for row in kept))

    def validation(self, step: int) -> dict[str, float]:
        """The figures of the validation after this step, exactly; empty if they are not in the table."""
        with open(self.path, newline="") as file:
            for row in csv.DictReader(file):
                if row["step"] == str(step) and row[LOSS]:
                    return {name: float(figure) for name in (*FIGURES, MAP) if (figure := row.get(name))}
        return {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Add a row at every logged step."""
        if trainer.is_global_zero and is_logged(trainer):
            self._add(trainer, "Train/")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row for every validation."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._add(trainer, "Val/")

    def _add(self, trainer: pl.Trainer, prefix: str) -> None:
        values = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith(prefix)}
        row: dict[str, Any] = values | {"step": trainer.global_step, "epoch": trainer.current_epoch}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        append(self.path, line([row.get(field, "") for field in self.fields]), sync=False)


def whole_rows(path: Path) -> list[list[str]]:
    """The rows of a table, the header first, without a last line that a kill cut short; none where there is no file."""
    if not path.exists():
        return []
    text = path.read_bytes().decode(errors="replace")
    whole = text[: text.rfind("\n") + 1].replace("\0", "")
    return list(csv.reader(io.StringIO(whole)))


def line(cells: list[Any]) -> bytes:
    """One row as CSV."""
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()
