"""The flags of the command line: old names for one release, booleans without a value, a short and a whole help."""

from pathlib import Path
from typing import Any

import pytest

from besnet import cli
from besnet.cli.flags import booleans, with_new_names, with_values
from besnet.cli.parsing import new_parser, parse
from besnet.cli.training import train_parser
from besnet.cli.verbs import VERBS, Verb
from besnet.formats.config_keys import DROPPED, RENAMED

OLD = [(verb, old, new) for verb, declared in VERBS.items() for old, new in declared.renamed.items()]
# what each verb needs, and a value for each renamed flag that is not its default
NEEDED = {"prepare": ["x", "y"], "verify": ["x"], "evaluate": ["--ckpt_path=x"], "bench model": [],
          "launch": [], "lab": ["--config=CONFIG", "--out=x"]}  # fmt: skip
VALUES: dict[str, tuple[str, Any]] = {
    "timeout_sec": ("7", 7.0), "launcher": ("slurm", "slurm"), "nproc_per_node": ("3", 3), "nnodes": ("3", 3),
    "node_rank": ("2", 2), "rdzv_endpoint": ("a:1", "a:1"), "max_restarts": ("9", 9), "job_file": ("f", Path("f")),
    "max_parallel": ("2", 2), "frame_interval_scales": ("[1, 2]", [1.0, 2.0]), "baseline": ("b", Path("b")),
    "no_ema": ("true", True), "compile": ("false", False), "recipe.ohem": ("2", 2),
}  # fmt: skip


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a verb's function is called with, which then does nothing."""
    import functools

    given: dict[str, Any] = {}
    real = Verb.load

    def load(declared: Verb) -> Any:
        @functools.wraps(real(declared))
        def record(*_: Any, **arguments: Any) -> int:
            given.update(arguments)
            return 0

        return record

    monkeypatch.setattr(Verb, "load", load)
    return given


def test_every_flag_of_the_glossary_is_in_the_tables() -> None:
    assert {old for _, old, _ in OLD} >= {
        "against", "raw_weights", "at_once", "factors", "on", "ranks", "nodes", "node", "master", "retries", "file",
        "deadline_sec", "compiled", "recipe.hardest",
    }  # fmt: skip
    assert "channels_last" in VERBS["train"].dropped


@pytest.mark.parametrize("as_one_word", [True, False])
@pytest.mark.parametrize(("verb", "old", "new"), [entry for entry in OLD if entry[0] not in ("train", "doctor")])
def test_an_old_flag_prints_its_line_and_works(
    called: dict[str, Any], squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, old: str,
    new: str, as_one_word: bool,
) -> None:  # fmt: skip
    config = tmp_path / "c.yaml"
    config.write_text(f"data: {{folder: {squares}}}\n")
    text, value = VALUES[new]
    flag = [f"--{old}={text}"] if as_one_word else [f"--{old}", text]
    more = ["--nnodes=3"] if new == "node_rank" else []
    words = [word.replace("CONFIG", str(config)) for word in NEEDED[verb]]
    assert cli.run(verb, [*words, *more, *flag, *(["train"] if verb == "launch" else [])]) == 0
    assert called[new] == value
    assert capsys.readouterr().err == f"besnet: --{old} is now --{new} (the old name goes in 0.3)\n"


@pytest.mark.parametrize("verb", ["train", "doctor"])
def test_old_flags_and_keys_of_a_config_print_their_lines_and_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    needed = ["--out=x", "--data.folder=y"]
    for old, new in RENAMED.items():
        text, _ = VALUES[new]
        value = "true" if new == "compile" else text
        parsed = parse(train_parser(verb), [*needed, f"--{old}={value}"], verb)
        assert str(parsed[new]).lower() == value
        assert f"besnet: --{old} is now --{new} (" in capsys.readouterr().err
    for old in DROPPED:
        for flag in ([f"--{old}"], [f"--{old}=true"], [f"--{old}", "false"]):
            parsed = parse(train_parser(verb), [*needed, *flag], verb)
            assert old not in parsed
            assert f"besnet: --{old} has no effect: " in capsys.readouterr().err
    config = tmp_path / "old.yaml"
    config.write_text("compiled: true\nchannels_last: true\nrecipe: {hardest: 2}\n")
    parsed = parse(train_parser(verb), [*needed, f"--config={config}"], verb)
    assert (parsed.compile, parsed.recipe.ohem) == (True, 2)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert f"besnet: {config}: compiled is now compile (the old name goes in 0.3)" in said


def test_only_a_verbs_own_old_flags_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--factors=1", "--x", "true"]
    assert with_new_names(words, {}, {}) == words
    assert capsys.readouterr().err == ""


def every_boolean() -> list[tuple[str, str]]:
    found = [("train", name) for name in sorted(booleans(train_parser("train")))]
    for verb, declared in VERBS.items():
        if declared.reader.endswith("training:train"):
            continue
        parser = new_parser(verb)
        parser.add_function_arguments(declared.load(), skip={"videos", "command", "train"})
        found += [(verb, name) for name in sorted(booleans(parser))]
    return found


@pytest.mark.parametrize(("verb", "flag"), every_boolean())
def test_a_boolean_works_without_a_value_and_with_one(verb: str, flag: str) -> None:
    if verb == "train":
        parser, needed = train_parser(verb), ["--out=x", "--data.folder=y"]
    else:
        parser, needed = new_parser(verb), []
        parser.add_function_arguments(VERBS[verb].load(), skip={"videos", "command", "train"}, as_positional=False)
        needed = [f"--{action.dest}=x" for action in parser._actions if action.required]
    name = flag.removeprefix("--").removesuffix("+")
    for words, value in (
        ([flag], True), ([f"{flag}=true"], True), ([flag, "true"], True), ([f"{flag}=false"], False),
        ([flag, "false"], False),
    ):  # fmt: skip
        if flag.endswith("+"):
            continue
        for arranged in ([*words, *needed], [*needed, *words]):
            assert parse(parser, arranged, verb)[name] is value, arranged


def test_the_booleans_are_those_of_the_schema() -> None:
    names = {name for _, name in every_boolean()}
    assert names >= {"--submit", "--no_ema", "--accept_changes", "--index_only", "--copy", "--compare", "--compile",
                     "--allow_training_videos", "--sizes_only", "--model.frozen_bn",
                     "--trainer.sync_batchnorm"}  # fmt: skip


def test_a_boolean_leaves_the_next_word_alone() -> None:
    parser = new_parser("prepare")
    parser.add_function_arguments(VERBS["prepare"].load(), as_positional=True)
    assert with_values(parser, ["--copy", "source", "out"]) == ["--copy=true", "source", "out"]
    parsed = parse(parser, ["--copy", "source", "--index_only", "no", "out"], "prepare")
    assert (parsed.copy, parsed.index_only, str(parsed.source), str(parsed.out)) == (True, False, "source", "out")


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_help_shows_what_people_use_and_help_all_everything(capsys: pytest.CaptureFixture[str]) -> None:
    short, everything = helped(capsys, "train", "--help"), helped(capsys, "train", "--help_all")
    flags = [line.split()[0] for line in short.splitlines() if line.startswith("  --")]
    assert 15 <= len(flags) <= 25
    assert flags[:2] == ["--out", "--data.folder"], "those that are required come first"
    assert "besnet train --help_all shows all" in short
    for action in train_parser("train")._actions:
        if action.dest.startswith(("recipe.", "trainer.")) and not action.dest.endswith(".help"):
            assert f"--{action.dest}" in everything
    assert "--help_all" not in everything


@pytest.mark.parametrize("verb", list(VERBS))
def test_the_help_of_a_verb_names_arguments_that_exist(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    everything, short = helped(capsys, *verb.split(), "--help_all"), helped(capsys, *verb.split(), "-h")
    assert everything.startswith(f"usage: besnet {verb} ")
    for name in VERBS[verb].shown:
        assert f"  --{name}" in short or f"  {name.upper()}" in short
    assert all(line in everything for line in short.splitlines() if line.startswith("usage:"))


def test_usage_has_every_verb_once_below_its_group() -> None:
    listed = cli.usage()
    for verb, declared in VERBS.items():
        assert listed.count(f"\n  {verb} ") == 1
        assert listed.index(f"\n{declared.group}:") < listed.index(f"\n  {verb} ")
