"""What a lab keeps of an evaluated run comes back as it was, and is refused where it is damaged."""

import json
from pathlib import Path

import numpy as np
import pytest

from besnet.lab.outcomes import EvaluatedRun, EvaluatedRuns, Outcomes


def outcomes(rng: np.random.Generator, videos: int) -> Outcomes:
    """Of three inference variants, two of which are one."""
    one, other, top5 = (rng.random(videos) < 0.5 for _ in range(3))
    return Outcomes({"averaged": one, "dilation_1": other, "averaged_all": one}, top5, rng.random((2, videos)) < 0.5,
                    {3: "torn"}, {"1": rng.random(videos) < 0.1})  # fmt: skip


def a_run(rng: np.random.Generator, videos: int) -> EvaluatedRun:
    sets = {"plan": outcomes(rng, videos), "speed_2": outcomes(rng, videos)}
    return EvaluatedRun("fold1/none-0", ["--seed=0"], "ab" * 8, {"model": {}, "config": {}}, 5, 0, [(0, 1.5, 60.0)],
                        {"plan": {"num_clips": 2}}, sets)  # fmt: skip


@pytest.mark.parametrize("videos", [4, 8, 9, 4000])
def test_an_evaluated_run_comes_back_as_it_was(videos: int, tmp_path: Path) -> None:
    run = a_run(np.random.default_rng(videos), videos)
    EvaluatedRuns(tmp_path, "seed: 0", "0-of-2").add(run)
    assert EvaluatedRuns(tmp_path, "seed: 1").known == {}, "of another config"
    known = EvaluatedRuns(tmp_path, "seed: 0")
    assert known.of(run.run, ["--seed=1"]) is None
    found = known.of(run.run, ["--seed=0"])
    assert found is not None
    assert (found.entry, found.curve, found.settings) == (run.entry, run.curve, run.settings)
    for name, before in run.sets.items():
        after = found.sets[name]
        assert set(after.right) == set(before.right)
        for variant, values in before.right.items():
            np.testing.assert_array_equal(after.right[variant], values)
        assert after.right["averaged"] is after.right["averaged_all"]
        np.testing.assert_array_equal(after.top5, before.top5)
        np.testing.assert_array_equal(after.pairs, before.pairs)
        np.testing.assert_array_equal(after.looped["1"], before.looped["1"])
        assert after.unread == before.unread


def test_some_of_the_videos() -> None:
    whole = outcomes(np.random.default_rng(0), 10)
    some = whole.of(np.array([7, 2]))
    np.testing.assert_array_equal(some.right["dilation_1"], whole.right["dilation_1"][[7, 2]])
    np.testing.assert_array_equal(some.pairs, whole.pairs[:, [7, 2]])
    assert some.right["averaged"] is some.right["averaged_all"]


@pytest.mark.parametrize("change", [{"videos": 5000}, {"top5": "?"}, {"same": {"averaged_all": "none"}},
                                    {"unread": {"first": "torn"}}])  # fmt: skip
def test_a_damaged_line_is_named(change: dict[str, object], tmp_path: Path) -> None:
    EvaluatedRuns(tmp_path, "seed: 0").add(a_run(np.random.default_rng(0), 40))
    file = tmp_path / "outcomes.jsonl"
    line = json.loads(file.read_text())
    line["sets"]["speed_2"] |= change
    file.write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=r"outcomes\.jsonl: record 1: speed_2: damaged .* delete the line"):
        EvaluatedRuns(tmp_path, "seed: 0")
