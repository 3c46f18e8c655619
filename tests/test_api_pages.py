"""The API pages: made without a complaint from the docstrings, and they fetch nothing from anywhere."""

import html
import importlib.util
import re
from pathlib import Path

from tests.browser import browser
from tests.conftest import ROOT


def test_every_room_has_its_page_and_nothing_is_fetched(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("build_api", ROOT / "docs" / "build_api.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.build(tmp_path / "api")
    for module in ("models/besnet", "models/dilation", "evaluation/evaluate", "predict/model", "training/run"):
        assert (tmp_path / "api" / "besnet" / f"{module}.html").is_file()
    layer = html.unescape(re.sub("<[^>]+>", "", (tmp_path / "api" / "besnet" / "models" / "network.html").read_text()))
    assert "Logits (B, num_classes) of clips (B, 3, T, H, W)." in layer
    assert 'id="load"' in (tmp_path / "api" / "besnet.html").read_text()
    with browser(tmp_path / "profile") as chromium:
        chromium.open(tmp_path / "api" / "besnet" / "models" / "besnet.html", 1400)
        assert chromium.complaints() == []
        assert all(address.startswith("file://") for address in chromium.requests())
        chromium.picture(tmp_path / "api.png")
