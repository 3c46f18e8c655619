"""A lab that compares networks: each control gets the arguments that mean something for its network."""

import json
from pathlib import Path

import pytest

from besnet import cli
from besnet.lab.arguments import find_controls
from tests.test_lab_arguments import write

SETTINGS = {"model": {"block": "basic", "blocks": [1], "width": 8, "frozen_bn": False, "dilations": [1, 3]}}


def words(text: str, settings: dict[str, object] = SETTINGS) -> list[str]:
    (control,) = find_controls([text], settings)
    return list(control.words)


def test_arguments_of_the_config_that_mean_nothing_for_a_network_are_left_out() -> None:
    assert words("none") == ["--model.dilations=[1]"]
    resets = {"--model.block=bottleneck", "--model.blocks=[3, 4, 6, 3]", "--model.width=64"}
    assert set(words("lite: --model.backbone=tf_efficientnet_lite0")[1:]) == resets
    assert set(words("r3d_18")) == {"--model.network=r3d_18", "--model.dilations=[1, 2]", *resets}
    assert words("own: --model.network=tests.ten_lines:TenLines", {}) == ["--model.network=tests.ten_lines:TenLines"]
    assert words("besnet: --model.network besnet", {"model": {"network": "r3d_18"}}) == ["--model.network", "besnet"]


@pytest.mark.parametrize(
    ("text", "network", "why"),
    [
        ("c2d", {"network": "r3d_18"}, "c2d: model.dilations does not apply to r3d_18"),
        ("random_12", {"network": "mvit_v2_s"}, "random_12: model.dilations does not apply to mvit_v2_s"),
        ("frames", {"network": "s3d"}, "frames: model.dilations does not apply to s3d"),
        ("wide: --model.width=16", {"backbone": "resnet18"}, "model.width does not apply to BesNet from resnet18"),
    ],
)
def test_controls_that_need_what_the_network_has_not_are_refused(text: str, network: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        find_controls([text], {"model": network})


def test_a_lab_trains_and_evaluates_a_network_of_ones_own(squares: Path, tmp_path: Path) -> None:
    config, own = write(tmp_path / "config.yaml", squares), "own: --model.network=tests.ten_lines:TenLines"
    asked = [f"--config={config}", f"--out={tmp_path / 'lab'}", f"--controls=['{own}']", "--seeds=1",
             "--num_clips=1", "--frame_interval_scales=[1.0]", "--recalibration_videos=8"]  # fmt: skip
    assert cli.run("lab", asked) == 0
    (found,) = json.loads((tmp_path / "lab" / "results.json").read_text())["controls"]
    assert set(found["variants"]) == {"averaged", "recalibrated", "interval_1"}
    assert found["parameters"] == 8 * 3 * 3 * 16 + 8 + 16 + 8 * 4 + 4
