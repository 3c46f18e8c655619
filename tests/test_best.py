"""The best checkpoints of a run, and the end of one that gets no better: the same whatever kills and resumes it."""

import csv
import math
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from besnet import cli
from besnet.checkpoints import best as best_folders
from besnet.checkpoints import store
from besnet.checkpoints.header import Validation
from besnet.formats import stamp
from besnet.learn.runs import state_of
from besnet.reading import parse_json
from besnet.training import best
from besnet.training.best import ranked, without_gain
from tests import command

FIGURE = st.sampled_from([None, 10.0, 20.0, 30.0])
HISTORY = st.lists(st.tuples(FIGURE, FIGURE), max_size=12)
CHOICE = [
    "--data.val_videos=9", "--data.val_split=test", "--trainer.max_epochs=4", "--saving.every_steps=2",
    "--saving.keep=2", "--saving.keep_best=2", "--saving.metric=Val/Loss", "--recipe.lr=0.02",
    "--recipe.final_lr=1", "--seed=1",
]  # fmt: skip


def history(pairs: list[tuple[float | None, float | None]]) -> list[Validation]:
    return [
        {"step": 6 * (number + 1), "figures": {"Val/Prec@1": figure, "Val/Loss": loss}}
        for number, (figure, loss) in enumerate(pairs)
    ]


@settings(deadline=None)
@given(HISTORY)
def test_no_validation_is_better_than_the_first(pairs: list[tuple[float | None, float | None]]) -> None:
    steps = ranked(history(pairs), "Val/Prec@1")
    assert sorted(steps) == [6 * (n + 1) for n, (figure, _) in enumerate(pairs) if figure is not None]
    for first, second in pairwise(steps):
        (one, one_loss), (two, two_loss) = pairs[first // 6 - 1], pairs[second // 6 - 1]
        assert one is not None
        assert two is not None
        losses = [math.inf if loss is None else loss for loss in (one_loss, two_loss)]
        assert one > two or (one == two and (losses[0] < losses[1] or (losses[0] == losses[1] and first > second)))


@settings(deadline=None)
@given(HISTORY)
def test_patience_counts_what_is_not_better_than_all_before(pairs: list[tuple[float | None, float | None]]) -> None:
    figures = [figure for figure, _ in pairs]
    better = [
        number
        for number, figure in enumerate(figures)
        if figure is not None and all(other is None or other < figure for other in figures[:number])
    ]
    assert without_gain(history(pairs), "Val/Prec@1") == len(pairs) - 1 - (better[-1] if better else -1)
    losses = [(None if loss is None else -loss, None) for _, loss in pairs]
    assert without_gain(history(pairs), "Val/Loss") == without_gain(history(losses), "Val/Prec@1")


@pytest.mark.parametrize("links", [True, False])
@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(1, 6)), kill=st.integers(0, 8))
def test_folders_are_right_after_every_step_and_after_a_kill(
    tmp_path_factory: pytest.TempPathFactory, links: bool, order: list[int], kill: int
) -> None:
    """Validations come in the order of their ranks; one call is cut off at an instant and the next one mends it."""
    run, keep = tmp_path_factory.mktemp("run"), 3
    (run / "checkpoints").mkdir()
    left = kill

    def moment() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise InterruptedError

    def linked(source: Path, target: Path) -> None:
        moment()
        if not links:
            raise OSError(95, "no links here")
        real_link(source, target)
        moment()

    real_link = os.link
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_folders.os, "link", linked)
        for step, _ in enumerate(order, start=1):
            store.save({"besnet": stamp("checkpoint") | {"step": step}}, run / "checkpoints", step)
            seen = sorted(range(1, step + 1), key=lambda at: order[at - 1])
            try:
                best_folders.arrange(run, seen, keep)
            except InterruptedError:
                newest = store.by_age(best_folders.folder_of(run, 1))
                assert step == 1 or newest, "there is a best checkpoint at every instant"
                best_folders.arrange(run, seen, keep)
            store.prune(run / "checkpoints", 1)
            for rank in range(1, keep + 1):
                held = store.by_age(best_folders.folder_of(run, rank))
                assert [store.step_of(path) for path in held] == seen[rank - 1 : rank]
                assert all(map(store.verifies, held))


def best_steps(run: Path) -> list[int]:
    """The steps of the best checkpoints."""
    return [store.step_of(path) for name in ("best", "best_2") for path in store.by_age(run / name)]


def figures(run: Path) -> list[tuple[int, float]]:
    """(step, loss) of every validation in metrics.csv."""
    with open(run / "metrics.csv", newline="") as file:
        return [(int(row["step"]), float(row["Val/Loss"])) for row in csv.DictReader(file) if row["Val/Loss"]]


def facts(run: Path) -> tuple[object, ...]:
    """All that must be the same after kills."""
    hashes = [command.weights_hash(run / name) for name in (".", "best", "best_2")]
    return hashes, best_steps(run), (run / "metrics.csv").read_text()


@pytest.fixture(scope="module")
def undisturbed(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("best") / "undisturbed"
    assert command.train(squares, run, *CHOICE) == 0
    return run


def test_the_best_two_are_kept_by_the_named_figure(undisturbed: Path, squares: Path, tmp_path: Path) -> None:
    found = figures(undisturbed)
    assert len(found) == 4
    assert best_steps(undisturbed) != [24, 18], "or nothing is shown"
    assert best_steps(undisturbed) == [step for step, _ in sorted(found, key=lambda one: (one[1], -one[0]))[:2]]
    words = ["--data", str(squares), "--split=test", "--workers=0", "--out", str(tmp_path / "results")]
    assert cli.run("evaluate", ["--ckpt_path", str(undisturbed / "best"), *words]) == 0
    file = store.resolve(undisturbed / "best")
    assert parse_json(tmp_path / "results" / "results.json")["checkpoint"]["file"] == file.name
    # the decision is in the checkpoint that it led to
    assert store.load(file)["besnet"]["validations"][-1]["step"] == store.step_of(file)


@pytest.mark.parametrize(
    ("moment", "validation", "words"),
    [
        ("before the decision", 2, []),
        ("before its checkpoint", 2, []),
        ("before its folders", 2, []),
        ("before the decision", 4, []),
        ("before the decision", 4, ["--trainer.max_steps=24"]),
    ],
)
def test_killed_around_a_decision_it_is_the_undisturbed_run(
    squares: Path,
    tmp_path: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    validation: int,
    words: list[str],
) -> None:
    run = tmp_path / "run"
    place, name = {
        "before the decision": (best.Best, "on_validation_end"),
        "before its checkpoint": (store, "save"),
        "before its folders": (best, "arrange"),
    }[moment]
    real, calls = getattr(place, name), 0

    def killed(*arguments: object) -> object:
        nonlocal calls
        table = run / "metrics.csv"
        if table.exists() and len(figures(run)) == validation:
            calls += 1
            if calls == 1:
                raise RuntimeError("killed")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, killed)
        with pytest.raises(RuntimeError, match="killed"):
            command.train(squares, run, *CHOICE, *words)
    assert command.train(squares, run, *CHOICE, *words) == 0
    assert facts(run) == facts(undisturbed)


@pytest.mark.parametrize("cut", [8, 12])
def test_patience_ends_a_run_at_the_same_step_whatever_resumes_it(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cut: int
) -> None:
    """With a learning rate of next to nothing the top-1 of 9 videos never moves: three validations in all."""
    run = tmp_path / "run"
    words = ["--data.val_videos=9", "--data.val_split=test", "--trainer.max_epochs=9", "--saving.patience=2",
             "--saving.every_steps=2", "--saving.keep=100", "--recipe.lr=1e-12"]  # fmt: skip
    assert command.train(squares, run, *words) == 0
    assert store.load(run)["global_step"] == 18
    assert "no better Val/Prec@1 in 2 validations" in capsys.readouterr().out
    whole = (run / "metrics.csv").read_text()
    assert command.train(squares, run, *words) == 0
    assert store.load(run)["global_step"] == 18, "a run that has ended so stays ended"
    for path in store.by_age(run / "checkpoints"):
        if store.step_of(path) > cut:
            path.unlink()
    assert command.train(squares, run, *words) == 0
    assert store.load(run)["global_step"] == 18
    assert (run / "metrics.csv").read_text() == whole
    assert state_of(run, tmp_path).state == "finished"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--saving.metric=Val/Prec@2"], "no validation has a figure 'Val/Prec@2': did you mean 'Val/Prec@"),
        (["--saving.metric=x"], "there are Val/Prec@1, Val/Prec@5, Val/Loss"),
        (["--data.val_videos=0"], "saving.keep_best needs validations: set data.val_videos"),
        (["--trainer.check_val_every_n_epoch=7"], "leaves none in 4 epochs"),
        (["--recipe.precise_bn=8"], "use only one of them"),
    ],
)
def test_what_cannot_choose_is_refused_before_the_training(
    squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        command.train(squares, tmp_path / "run", *CHOICE, *words)
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()
