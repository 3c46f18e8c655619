"""The command line: text → objects, one verb a job. The only room that prints usage."""

import difflib
import os
import sys
from pathlib import Path
from typing import NoReturn

from besnet import __version__
from besnet.cli.parsing import new_parser, one_line, parse
from besnet.cli.process import WRONG_USE, complain, leave, set_up
from besnet.cli.verbs import POSITIONAL, VERBS, verb_function
from besnet.ranges import check_arguments
from besnet.version import revision


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `besnet VERB ...` and leave with its exit code: 0, 2 for wrong use, 75 for stopped and saved."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        set_up(os.environ)
    except ValueError as error:
        complain(str(error))
    leave(lambda: choose(words))


def choose(words: list[str]) -> int:
    """Find the verb and run it; returns the exit code."""
    if words in (["help"], ["-h"], ["--help"]):
        print(usage())
        return 0
    if words == ["--version"]:
        print(f"besnet {__version__}" + (f" (revision {found})" if (found := revision()) != __version__ else ""))
        return 0
    if not words:
        print(usage(), file=sys.stderr)
        return WRONG_USE
    verb, rest = words[0], words[1:]
    if rest and f"{verb} {rest[0]}" in VERBS:  # verbs of two words
        verb, rest = f"{verb} {rest[0]}", rest[1:]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f": did you mean {near[0]!r}?" if near else f": the verbs are {', '.join(VERBS)}"
        complain(f"there is no verb {verb!r}{hint}")
    return run(verb, rest)


def usage() -> str:
    """The verbs, a line each."""
    lines = [f"  {verb:13} {what}" for verb, what in VERBS.items()]
    return "besnet: train and evaluate action-recognition networks on video\n\n" + "\n".join(
        ["usage: besnet VERB [ARGUMENTS]", "", *lines, "", "besnet VERB --help explains a verb's arguments."]
    )


def run(verb: str, words: list[str]) -> int:
    """Run one verb; what the user can fix becomes one line and exit code 2."""
    from besnet.supervision import end_with_launcher

    try:
        end_with_launcher()
        if verb in ("train", "doctor"):
            from besnet.cli.training import train

            return train(verb, words)
        return launch(verb, words) if verb == "launch" else call(verb, words)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print("besnet: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        return explained(error)


def explained(error: Exception) -> int:
    """The exit code of an error that one line explains; any other is raised again."""
    if "torch" in sys.modules:  # what its loaders and devices raise
        from besnet.training.exit_codes import RunExit, explain

        reason = explain(
            error, "these settings: lower the number or the size of clips, the network's width, or workers"
        )
        if isinstance(reason, RunExit):
            print(f"besnet: {reason}", file=sys.stderr, flush=True)
            return reason.code
        if isinstance(reason, ValueError):
            complain(one_line(reason))
    if isinstance(error, ValueError | OSError):
        complain(one_line(error))
    raise error


def call(verb: str, words: list[str]) -> int:
    """A verb that is one function: its arguments are the command line."""
    if verb == "evaluate" and "--ensemble" in words:
        return combine(words)
    function = verb_function(verb)
    parser = new_parser(verb)
    listed: set[str | int] = {"videos"} if verb in ("predict", "features") else set()
    for name in listed:
        parser.add_argument(str(name), nargs="+", type=Path, help="files, or folders whose videos are all taken")
    names = parser.add_function_arguments(function, as_positional=verb in POSITIONAL, fail_untyped=True, skip=listed)
    settings = parser.instantiate(parse(parser, words))
    check_arguments(verb, vars(settings))
    if verb == "lab":
        from besnet.cli.training import train_parser

        parse(train_parser("train"), ["--config", str(settings["config"]), "--out", str(settings["out"])])
    result = function(**{str(name): settings[str(name)] for name in [*listed, *names]})
    if verb == "prepare":
        result = verb_function("coverage")(settings["out"])
    if isinstance(result, Path):
        print(f"page: {result}")
    return result if isinstance(result, int) else 0


def combine(words: list[str]) -> int:
    """`besnet evaluate --ensemble A B --out C`: evaluations that are finished, as one answer."""
    from besnet.evaluation.ensemble import ensemble

    parser = new_parser("evaluate")
    parser.add_argument("--ensemble", nargs="+", type=Path, required=True, help="folders of finished evaluations")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    asked = parse(parser, words)
    ensemble(asked.ensemble, asked.out)
    return 0


def launch(verb: str, words: list[str]) -> int:
    """Start many ranks: what stands before `train` or `evaluate` is for the launcher, the rest for them."""
    from besnet.jobs.launch import launch as launch_job

    cut = next((number for number, word in enumerate(words) if word in ("train", "evaluate")), len(words))
    near = [word for word in words if difflib.get_close_matches(word, ("train", "evaluate"))]
    if cut == len(words) and near:
        raise ValueError(f"launch: {near[0]!r}: train or evaluate is expected")
    parser = new_parser(verb)
    names = parser.add_function_arguments(launch_job, skip={"command"})
    settings = parser.instantiate(parse(parser, words[:cut]))
    check_arguments(verb, vars(settings))
    return launch_job(command=words[cut:], **{name: settings[name] for name in names})
