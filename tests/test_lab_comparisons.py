"""What a lab may say about its comparisons, and what a pilot says about the lab to come."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from besnet import cli
from besnet.cli.commands import arguments
from besnet.cli.parsing import parse
from besnet.cli.training import train_parser
from besnet.evaluation.statistics import FEWEST_SEEDS, estimate
from besnet.formats import upgraded
from besnet.lab.arguments import check_variants, find_controls
from besnet.lab.comparisons import Comparisons, compare
from besnet.lab.controls import find_control
from besnet.lab.inference_variants import inference_variants
from besnet.lab.outcomes import Outcomes
from besnet.lab.results import Videos
from besnet.lab.speeds import AtSpeeds
from besnet.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]
CONTROLS = ["none", "fixed_2", "random_12"]


def right(rng: np.random.Generator, seeds: int, **chances: float) -> Any:
    """Drawn answers of controls by name: right in such a share of 400 videos; at dilation 2 five points less."""
    drawn = {name: rng.random((seeds, 400)) for name in chances}

    def of(control: str, variant: str, wanted: list[int]) -> np.ndarray:
        return (drawn[control][wanted] < chances[control] - 0.05 * (variant == "dilation_2")).astype(float)

    return of


def found(seeds: int, primary: list[str] | None, secondary: list[list[str]], **chances: float) -> dict[str, Any]:
    """The comparisons of such a lab by name."""
    comparisons = Comparisons.read(primary, secondary, list(chances))
    networks = {name: dict.fromkeys(range(seeds)) for name in chances}
    rows = compare(comparisons, networks, right(np.random.default_rng(0), seeds, **chances), lambda _: None)
    return {row["name"]: row for row in rows}


def test_only_named_comparisons_have_a_verdict() -> None:
    rows = found(5, ["random_12", "none"], [["none", "fixed_2"]], none=0.5, fixed_2=0.5, random_12=0.8)
    assert list(rows) == ["random_12 - none", "none - fixed_2", "random_12 - fixed_2"]
    assert [row["verdict"] for row in rows.values()] == ["better", "none shown", None]
    assert rows["random_12 - none"]["interval"][0] > 0


def test_fewer_than_three_seeds_have_no_verdict() -> None:
    rows = found(2, ["random_12", "none"], [], none=0.2, random_12=0.9)
    assert rows["random_12 - none"]["verdict"] is None


def test_of_two_controls_the_second_minus_the_first_is_primary() -> None:
    assert found(3, None, [], none=0.9, random_12=0.3)["random_12 - none"]["verdict"] == "worse"
    assert found(3, None, [], none=0.9, fixed_2=0.9, random_12=0.3)["random_12 - none"]["role"] == "other"


def test_a_secondary_interval_says_what_its_verdict_says() -> None:
    """A difference that is significant alone, and not among five comparisons."""
    chances = {f"c{number}": 0.5 for number in range(6)} | {"c1": 0.57}
    secondary = [[f"c{number}", "c0"] for number in range(1, 6)]
    alone = found(6, None, secondary[:1], **chances)["c1 - c0"]
    among = found(6, None, secondary, **chances)["c1 - c0"]
    assert alone["p"] == among["p"]
    assert among["level"] == pytest.approx(0.99)
    assert among["interval"][0] < alone["interval"][0]
    assert among["minimum_detectable"] > alone["minimum_detectable"]
    for row in (alone, among):
        assert (row["verdict"] == "better") == (row["interval"][0] > 0)


def test_a_difference_of_differences_is_compared() -> None:
    terms = ["random_12@dilation_2", "random_12", "none@dilation_2", "none"]
    rows = found(4, terms, [], none=0.5, random_12=0.7)
    row = rows["(random_12@dilation_2 - random_12) - (none@dilation_2 - none)"]
    assert row["role"] == "primary"
    of = right(np.random.default_rng(0), 4, none=0.5, random_12=0.7)
    seeds = [0, 1, 2, 3]
    values = [of(*term, seeds) for term in (("random_12", "dilation_2"), ("random_12", "averaged"),
                                            ("none", "dilation_2"), ("none", "averaged"))]  # fmt: skip
    assert row["mean"] == pytest.approx(estimate(values[0] - values[1] - values[2] + values[3]).mean)


@pytest.mark.parametrize(
    ("primary", "secondary", "why"),
    [(["none", "all"], [], "all is not one of"), (["none"], [], "is expected"),
     (["none", "none"], [], "compared with itself"),
     (["none", "fixed_2"], [["none", "fixed_2"]], "named twice")],
)  # fmt: skip
def test_a_comparison_that_cannot_be_is_refused(primary: list[str], secondary: list[list[str]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Comparisons.read(primary, secondary, CONTROLS)


@pytest.mark.parametrize("plan", sorted((ROOT / "configs" / "evidence").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_plan_names_what_exists(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its config, its controls and its comparisons, down to the inference variants."""
    monkeypatch.chdir(ROOT)
    if plan.stem.endswith("_training"):
        parse(train_parser("train"), [f"--config={plan}"], "train")
        return
    settings = arguments("lab", [f"--plan={plan}"])
    _, config = read_settings(ROOT / settings["config"])
    controls = find_controls(settings["controls"], config)
    found = Comparisons.read(settings["primary"], settings["secondary"], [control.name for control in controls])
    assert found.primary is not None
    assert settings["seeds"] >= FEWEST_SEEDS
    assert settings["question"]
    assert settings["stopping_rule"]
    assert (ROOT / settings["config"]).exists()
    model = {"dilations": [1, 2], "mixture": "uniform", "temporal_padding": "replicate"}
    about = {"besnet": {"model": model}, "state_dict": {"network.bn.running_var": None}}
    variants = inference_variants(about, [1, 2], settings["frame_interval_scales"], settings["variants"])
    drawn = {f"speed_{speed}" for speed in ("0.5", "1", "2")} if settings["speed_data"] else set()
    check_variants(found, settings["variants"], settings["frame_interval_scales"], drawn)
    assert {term.variant for term in found.terms} <= variants.keys() | drawn


@pytest.mark.parametrize(
    ("variant", "there"),
    [("averaged", True), ("dilation_2", True), ("averaged_all_recalibrated", True), ("recalibrated", True),
     ("interval_2", True), ("interval_3", False), ("padding_zeros", False), ("interval_2_recalibrated", False),
     ("dilation", False)],
)  # fmt: skip
def test_a_variant_that_the_lab_will_not_have_is_refused_before_it_trains(variant: str, there: bool) -> None:
    comparisons = Comparisons.read([f"none@{variant}", "fixed_2"], [], CONTROLS)
    if there:
        check_variants(comparisons, ["dilations", "recalibrated"], [1.0, 2.0])
        return
    with pytest.raises(ValueError, match=f"none@{variant}: no such inference variant"):
        check_variants(comparisons, ["dilations", "recalibrated"], [1.0, 2.0])


def test_a_comparison_of_speeds_is_of_the_videos_of_the_speeds_alone() -> None:
    speeds = ["speed_1", "speed_2"]
    terms = ["random_12@speed_2", "random_12@speed_1", "none@speed_2", "none@speed_1"]
    check_variants(Comparisons.read(terms, [], CONTROLS), [], [1.0], speeds)
    with pytest.raises(ValueError, match="write CONTROL@speed_1"):
        check_variants(Comparisons.read(["random_12@speed_2", "random_12"], [], CONTROLS), [], [1.0], speeds)
    with pytest.raises(ValueError, match="random_12@speed_3: no such"):
        check_variants(Comparisons.read(["random_12@speed_3", "none@speed_3"], [], CONTROLS), [], [1.0], speeds)


def at_speeds(rng: np.random.Generator, **chances: tuple[float, float]) -> AtSpeeds:
    """Five seeds of controls that are right in such shares of 4,000 videos, at speed 1 and at 2."""
    labels = np.zeros(4000, dtype=np.int64)
    found = {}
    for name, shares in chances.items():
        for seed in range(5):
            right = {f"speed_{speed}": rng.random(4000) < share for speed, share in zip((1, 2), shares, strict=True)}
            found[f"{name}-{seed}"] = Outcomes(right, labels > 0, np.zeros((0, 4000), dtype=bool), {}, {})
    return AtSpeeds(found, Videos(labels, np.arange(4000), [], {}), {1.0: 8, 2.0: 4}, {1.0: 0.0, 2.0: 0.0})


def test_a_loss_at_a_speed_is_compared_with_the_reference_in_points_and_in_logits() -> None:
    """Two networks whose odds a speed halves: the weak one loses fewer points, and as much in logits."""
    chances = {"none": (0.8, 2 / 3), "weak": (0.2, 1 / 9), "same": (0.8, 0.8), "sure": (1.0, 0.5)}
    at = at_speeds(np.random.default_rng(0), **chances)
    controls = [find_control(f"{name}: --model.dilations=[1]") for name in chances]
    rows = {
        row["name"]: row["speeds"]["2"] for row in at.figures(controls, dict.fromkeys(chances, 5), "none")["controls"]
    }
    assert "logits" not in rows["none"]
    for name, points, odds in (("weak", (1 / 9 - 0.2) - (2 / 3 - 0.8), 0.0), ("same", 0.8 - 2 / 3, np.log(2))):
        for figure, truth in ((rows[name]["against_reference"], points), (rows[name]["logits"], odds)):
            low, high = figure["interval"]
            assert low < truth < high
            assert high - low < (0.3 if truth == odds else 0.06)
    assert rows["sure"]["logits"] is None, "the logit of 100 % is infinite"


def pilot(folder: Path, deviation: float, error: float, seeds: int = 3) -> Path:
    """A finished lab's results.json with such spreads, as format 2 has it."""
    row = {"name": "random_12 - none", "role": "primary", "seeds": list(range(seeds)), "groups": 1000,
           "error_by_videos": error, "seeds_deviation": deviation}  # fmt: skip
    folder.mkdir()
    report = {"format": 2, "besnet": "0.2.0", "differences": [row], "coverage": {"evaluated": 1000}}
    (folder / "results.json").write_text(json.dumps(report))
    return folder


def test_a_pilot_says_how_many_seeds_an_effect_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run("lab", [f"--power={pilot(tmp_path / 'pilot', 0.03, 0.01)}", "--effect=4"]) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("4 points, with the pilot's spread"))
    count = int(line.split(": ")[1].split()[0])
    # by the normal approximation (1.96 + 0.84)^2 (0.03^2 / S + 0.01^2) = 0.04^2 at S = 8.7
    assert 8 <= count <= 14
    assert "1000 videos in 1000 groups" in said


def test_what_the_videos_cannot_show_no_seed_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pilot(tmp_path / "pilot", 0.03, 0.03)
    assert cli.run("lab", [f"--power={folder}", "--effect=4"]) == 0
    assert "not with these videos" in capsys.readouterr().out
    assert cli.run("lab", [f"--power={folder}", "--effect=4", "--videos=20000"]) == 0
    assert "not with these videos" not in capsys.readouterr().out


def test_a_pilot_of_one_seed_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.run("lab", [f"--power={pilot(tmp_path / 'pilot', 0.0, 0.01, seeds=1)}", "--effect=4"])
    assert "a pilot needs two or more" in capsys.readouterr().err


def test_labs_of_the_format_before_are_pilots_too(tmp_path: Path) -> None:
    old = {"differences": [{"first": "none", "second": "random_12", "seeds": [0, 1, 2], "error_by_seeds": 0.02,
                            "error_by_videos": 0.01, "mean": 0.1}],
           "coverage": {"evaluated": 180}, "controls": [{"name": "none", "uses": {}}], "asked": {}}  # fmt: skip
    new = upgraded(old, "lab", "results.json")
    (row,) = new["differences"]
    assert (row["name"], row["groups"]) == ("random_12 - none", 180)
    assert row["seeds_deviation"] == pytest.approx(0.02 * np.sqrt(3))
    assert new["controls"] == [{"name": "none", "variants": {}}]
    assert "arguments" in new
