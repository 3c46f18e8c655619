"""The container as far as it can be looked at without building it; `make smoke-container` builds and uses it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from besnet import __version__, version
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    copied = {
        name
        for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M)
        for name in words.split()[:-1]
    }  # fmt: skip
    assert {"besnet", "configs", "constraints.txt", "pyproject.toml"} <= copied
    ignored, *kept = (ROOT / ".dockerignore").read_text().split()
    assert ignored == "*"
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in kept


def test_packages_are_pinned_and_the_user_has_no_rights() -> None:
    assert re.search(r"^ARG BASE_IMAGE=python:3\.11\.\d+-", DOCKERFILE, re.M), "a base by its full version"
    assert "--constraint constraints.txt" in DOCKERFILE
    assert re.search(r"^USER 1000$", DOCKERFILE, re.M)
    assert 'ENTRYPOINT ["besnet"]' in DOCKERFILE


def test_the_compose_file_gives_what_a_training_needs() -> None:
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["besnet"]
    assert service["gpus"] == "all"
    assert service["read_only"] is True
    assert service["shm_size"].endswith("g")
    assert {"memlock", "stack", "nofile"} <= set(service["ulimits"])
    assert (ROOT / "docker" / service["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
    verb, option, config = service["command"]
    assert (verb, option) == ("train", "--config")
    assert (ROOT / config).is_file()


def test_the_proof_says_what_it_needs(tmp_path: Path) -> None:
    for program in ("bash", "dirname", "git"):
        (tmp_path / program).symlink_to(shutil.which(program) or program)
    environment = {"PATH": str(tmp_path)}
    result = subprocess.run(["bash", ROOT / "docker" / "smoke.sh"], env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert "needs docker or podman" in result.stderr


def test_outside_a_checkout_the_revision_is_the_one_that_the_image_was_built_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "__file__", str(tmp_path / "besnet" / "version.py"))
    monkeypatch.setenv("BESNET_REVISION", "0123456789ab")
    assert version.revision() == "0123456789ab"
    monkeypatch.setenv("BESNET_REVISION", "")
    assert version.revision() == __version__
