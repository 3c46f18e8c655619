"""How each verb reads its command line and calls its function."""

import difflib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from besnet.cli.parsing import new_parser, parse
from besnet.cli.verbs import VERBS
from besnet.ranges import check_arguments

VIDEOS = ("videos", "+", "video files, or folders of them")
# arguments by position that are more, or less, than one
BY_POSITION = {
    "predict": VIDEOS,
    "features": VIDEOS,
    "export": ("ckpt_path", "?", "run folder (its newest good checkpoint is taken), checkpoint file or model folder"),
}


def call(verb: str, words: list[str]) -> int:
    """A verb that is one function; returns the exit code."""
    return finish(VERBS[verb].load()(**arguments(verb, words)))


PART = (
    "do only this share of the work, such as 3/64, beside others on other machines: shard k belongs to part k mod 64, "
    "counted from 0. auto/64 takes the number from SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX. The same command "
    "without --part ends the work"
)
LAB_PART = (
    "do only this run's training or evaluation, such as train:3/12 or evaluate:3/12, beside others on other machines: "
    "run k of 12, counted from 0. train:auto/12 takes the number from SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX. "
    "The same command without --part ends the work"
)


def arguments(
    verb: str, words: list[str], texts: Mapping[str, str] = MappingProxyType({}), skip: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The arguments of a verb's function, parsed and in range.

    texts: further arguments that are texts, with their descriptions; None where they are not given. skip: arguments
    that no command line gives.
    """
    parser = new_parser(verb)
    for option, described in texts.items():
        parser.add_argument(f"--{option}", type=str, help=described)
    listed: set[str | int] = set()
    if verb in BY_POSITION:
        name, count, help_text = BY_POSITION[verb]
        parser.add_argument(name, nargs=count, type=Path, help=help_text)
        listed = {name}
    if VERBS[verb].arguments_file:
        parser.add_argument(f"--{VERBS[verb].arguments_file}", action="config",
                            help="YAML file of these arguments; the command line overrides it")  # fmt: skip
    names = parser.add_function_arguments(
        VERBS[verb].load(), as_positional=VERBS[verb].positional, fail_untyped=True, skip=listed | skip
    )
    settings = parser.instantiate(parse(parser, words, verb))
    check_arguments(verb, vars(settings))
    return {str(name): settings[str(name)] for name in [*listed, *names, *texts]}


def finish(result: object) -> int:
    """The exit code of a function's result: a number itself; the path of a page is printed."""
    if isinstance(result, Path):
        print(f"page: {result}")
    return result if isinstance(result, int) else 0


def prepare(verb: str, words: list[str]) -> int:
    """Prepare, then write the page of what the data has and lacks; or do one part: `besnet prepare ... --part 3/64`."""
    settings = arguments(verb, words, {"part": PART})
    part = settings.pop("part")
    if part is not None:
        from besnet.data.prepare import prepare_part

        prepare_part(part, **settings)
        return 0
    VERBS[verb].load()(**settings)
    from besnet.data.prepare.bucket import folder_of

    return finish(VERBS["coverage"].load()(folder_of(settings["out"])))


def maps(verb: str, words: list[str]) -> int:
    """Check the config as a training would, then keep the maps of its frozen layers."""
    from besnet.cli.training import train_parser

    settings = arguments(verb, words)
    parse(train_parser("train"), ["--config", str(settings["config"]), "--out", str(settings["out"])], "train")
    return finish(VERBS[verb].load()(**settings))


def lab(verb: str, words: list[str]) -> int:
    """Check the config as a training would, then start the lab; or say what a lab can find:
    `besnet lab --power PILOT --effect 4`."""
    from besnet.cli.training import train_parser

    if any(word.partition("=")[0] == "--power" for word in words):
        return lab_power(verb, words)
    settings = arguments(verb, words, {"part": LAB_PART})
    part = settings.pop("part")
    parse(train_parser("train"), ["--config", str(settings["config"]), "--out", str(settings["out"])], "train")
    if part is not None:
        from besnet.lab.parts import lab_part

        return lab_part(part, **settings)
    return finish(VERBS[verb].load()(**settings))


def lab_power(verb: str, words: list[str]) -> int:
    """The smallest effects that plans of a lab find, from the spread of a pilot."""
    from besnet.lab.power import power

    parser = new_parser(verb)
    parser.add_function_arguments(power, fail_untyped=True, skip={"pilot"})
    parser.add_argument(
        "--power", type=Path, required=True, help="folder of a finished lab, or its results.json: the pilot"
    )
    settings = parser.instantiate(parse(parser, words, verb))
    check_arguments(f"{verb} --power", vars(settings))
    return finish(power(settings.power, settings.effect, settings.comparison, settings.videos))


def evaluate(verb: str, words: list[str]) -> int:
    """Evaluate a checkpoint, combine finished evaluations: `besnet evaluate --ensemble A B --out C`; or evaluate the
    spans of long videos: `besnet evaluate --spans TABLE --ckpt_path RUN --out C`."""
    if any(word.partition("=")[0] == "--spans" for word in words):
        from besnet.predict.span_evaluation import evaluate_spans

        parser = new_parser(verb)
        names = parser.add_function_arguments(evaluate_spans, fail_untyped=True)
        given = parser.instantiate(parse(parser, words, verb))
        check_arguments(f"{verb} --spans", vars(given))
        return finish(evaluate_spans(**{name: given[name] for name in names}))
    if "--ensemble" not in words:
        return call(verb, words)
    from besnet.evaluation.ensemble import ensemble

    parser = new_parser(verb)
    parser.add_argument("--ensemble", nargs="+", type=Path, required=True, help="folders of finished evaluations")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    settings = parse(parser, words, verb)
    ensemble(settings.ensemble, settings.out)
    return 0


def doubts(verb: str, words: list[str]) -> int:
    """List doubtful labels; its trainings are those of `besnet train`."""
    from besnet.cli.training import train

    settings = arguments(verb, words, skip=frozenset({"train"}))
    return finish(VERBS[verb].load()(train=partial(train, "train"), **settings))


LAUNCHED = ("train", "evaluate", "prepare", "lab")


def learn(verb: str, words: list[str]) -> int:
    """Learn one's own videos; its trainings are those of `besnet train`."""
    from besnet.cli.training import train

    function = VERBS[verb].load()
    parser = new_parser(verb)
    parser.add_argument("source", type=Path, help="class folders, with or without train, val, test; or a table "
                        "label,path[,split][,group]")  # fmt: skip
    names = ["source", *parser.add_function_arguments(function, fail_untyped=True, skip={"train", "source"})]
    settings = parser.instantiate(parse(parser, words, verb))
    check_arguments(verb, vars(settings))
    return finish(function(train=partial(train, "train"), **{name: settings[name] for name in names}))


def launch(verb: str, words: list[str]) -> int:
    """Start many processes: the words before `train`, `evaluate`, `prepare` or `lab` are the launcher's."""
    cut = next((number for number, word in enumerate(words) if word in LAUNCHED), len(words))
    near = [word for word in words if difflib.get_close_matches(word, LAUNCHED)]
    if cut == len(words) and near:
        raise ValueError(f"launch: {near[0]!r}: must be train, evaluate, prepare or lab")
    function = VERBS[verb].load()
    parser = new_parser(verb)
    names = parser.add_function_arguments(function, skip={"command"})
    settings = parser.instantiate(parse(parser, words[:cut], verb))
    check_arguments(verb, vars(settings))
    given = {name: settings[name] for name in names}
    if words[cut : cut + 1] in (["lab"], ["prepare"]):
        own = arguments(words[cut], words[cut + 1 :], {"part": PART})
        if own["part"] is not None:
            raise ValueError(f"launch: --part {own['part']}: each task has its own; leave it out")
        runs = given["parts"]
        if words[cut] == "lab":
            from besnet.lab.setup import Setup

            runs = Setup.of(own).count
        if given["parts"] not in (None, runs):
            raise ValueError(f"launch: --parts {given['parts']}: this lab has {runs} runs, and a part for each")
        given["parts"] = runs
    return finish(function(command=words[cut:], **given))
