"""Videos of one film, person or recording: a column of a table, kept in the manifest, its passport and its shards."""

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from besnet import cli
from besnet.data.coverage import summary
from besnet.data.manifest import Manifest, Row
from besnet.data.manifest_writing import load_checked, write_manifest
from besnet.data.prepare import prepare
from besnet.formats import stamp
from tests.moving_squares import DIRECTIONS, draw

LINES = ["left,a.mp4,train,mia,1", "right,b.mp4,train,noah,1", "left,c.mp4,test,mia,2", "right,d.mp4,test,,2"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number, line in enumerate(LINES):
        label, path, *_ = line.split(",")
        draw(folder / path, DIRECTIONS[label], number, frames=4)
    return folder


def table(folder: Path, videos: Path, header: str, lines: list[str] = LINES) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "table.csv"
    path.write_text("\n".join([header, *(line.replace(",", f",{videos}/", 1) for line in lines)]) + "\n")
    return path


def groups(manifest: Manifest) -> list[str]:
    return [manifest[row].group for row in range(len(manifest))]


def test_a_column_group_is_taken_and_any_other_when_named(videos: Path, tmp_path: Path) -> None:
    source = table(tmp_path, videos, "label,path,split,Group,take")
    manifest = prepare(source, tmp_path / "own", index_only=True, workers=1)
    assert groups(manifest) == ["mia", "noah", "mia", ""]
    assert manifest.groups(np.arange(4)) == ["mia", "noah", "mia", manifest[3].id]
    assert groups(prepare(source, tmp_path / "own", group="take", index_only=True, workers=1)) == ["1", "1", "2", "2"]
    person = table(tmp_path / "other", videos, "label,path,split,person,take")
    assert groups(prepare(person, tmp_path / "none", index_only=True, workers=1)) == [""] * 4
    with pytest.raises(ValueError, match="no column 'film'; it has: label, path, split, person, take"):
        prepare(person, tmp_path / "none", group="film")
    with pytest.raises(ValueError, match=r"--group: .* no columns of its own"):
        prepare(videos, tmp_path / "none", group="film")


def test_groups_are_in_the_passport_the_shards_and_the_summary(videos: Path, tmp_path: Path) -> None:
    source, out = table(tmp_path, videos, "label,path,split,group,take"), tmp_path / "out"
    manifest = prepare(source, out, workers=1)
    assert "2 groups, 1 of them in several splits, such as 'mia' in train and test" in summary(manifest)
    notes = {}
    for shard in (out / "shards").glob("*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    about = json.load(tar.extractfile(member))  # type: ignore[arg-type]
                    notes[about["id"]] = about.get("group", "")
    assert [notes[manifest[row].id] for row in range(4)] == ["mia", "noah", "mia", ""]
    tars = prepare(out / "shards", tmp_path / "tars", index_only=True, workers=1)
    assert sorted(groups(tars)) == ["", "mia", "mia", "noah"]
    again = table(tmp_path, videos, "label,path,split,group,take", [LINES[0].replace("mia", "olga"), *LINES[1:]])
    changed = prepare(again, out, workers=1)
    assert groups(changed)[0] == "olga"
    assert changed.passport.source != manifest.passport.source
    assert "3 groups, each in one split" in summary(changed)
    text = (out / "manifest.jsonl").read_text()
    (out / "manifest.jsonl").write_text(text.replace("olga", "vera"))
    assert cli.run("verify", [str(out)]) == 1


def test_without_groups_the_passport_is_that_of_earlier_releases(tmp_path: Path) -> None:
    rows = [Row("a", 0, "train", "ready", source_hash="1"), Row("b", 0, "test", "missing")]
    manifest = write_manifest(tmp_path, "x", ["run"], ".", rows)
    facts = b'["run"]' + b'["a", 0, "train", "ready", "1"]' + b'["b", 0, "test", "missing", ""]'
    assert manifest.passport.source == hashlib.blake2b(facts, digest_size=16).hexdigest()
    assert "group" not in (tmp_path / "manifest.jsonl").read_text()
    assert " groups" not in summary(manifest)
    about = json.loads((tmp_path / "dataset.json").read_text())
    assert about["format"] == stamp("dataset")["format"]
    (tmp_path / "dataset.json").write_text(json.dumps(about | {"format": 1}))
    assert groups(load_checked(tmp_path)) == ["", ""]
