"""Words → arguments. A mistake becomes one line that names the argument and the nearest name."""

import difflib
import io
import re
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from besnet.cli.flags import with_new_names, with_values
from besnet.cli.help import help_text
from besnet.cli.verbs import VERBS

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

UNKNOWN = re.compile(
    r"(?:unrecognized arguments: (?:--)?|Option ')(?P<option>[\w.]+)|"
    r"(?:Group '(?P<group>[\w.]+)' does not accept option|[Kk]ey) '(?P<key>[\w.]+)'(?! *:|.*required)"
)


KINDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "NoneType": "null"}


def new_parser(verb: str) -> "ArgumentParser":
    """An argument parser that neither guesses abbreviations nor reads the environment."""
    import yaml
    from jsonargparse import ArgumentParser, set_loader

    set_loader("yaml", load_bounded, (yaml.YAMLError,))
    description = VERBS[verb].description
    return ArgumentParser(prog=f"besnet {verb}", description=description, allow_abbrev=False, exit_on_error=False)


def load_bounded(text: str) -> Any:
    """The YAML of a config or of one argument, if its size and depth are bounded."""
    from jsonargparse._loaders_dumpers import yaml_load

    from besnet.settings import check_yaml

    if len(text) > 100 or "\n" in text:
        check_yaml(text)
    return yaml_load(text)


def parse(parser: "ArgumentParser", words: list[str], verb: str) -> "Namespace":
    """Parse a verb's command line. ValueError with one line that names the argument, and the nearest name."""
    from argparse import ArgumentError

    for word, shown in (("--help_all", ()), ("--help", VERBS[verb].shown), ("-h", VERBS[verb].shown)):
        if word in words:
            print(help_text(parser, shown, VERBS[verb].after))
            raise SystemExit(0)
    words = with_values(parser, with_new_names(words, VERBS[verb].renamed, VERBS[verb].dropped))
    configs, others = separated(parser, words)
    files = [file for _, file in configs]
    for file in files:
        if Path(file).exists() and not Path(file).is_file():
            raise ValueError(f"{file}: not a file that can be read as a config")
    names, texts = [name for name, _ in configs], [config_text(file) for file in files]
    try:
        # an argument of the command line overrides a config's, wherever it stands
        with redirect_stderr(io.StringIO()) as said:
            return parser.parse_args([f"{name}={text}" for name, text in zip(names, texts, strict=True)] + others)
    except ArgumentError as error:
        message = one_line(error)
    except SystemExit as end:  # a parser of jsonargparse's own, of --trainer.accelerator.help
        if not end.code:
            raise
        message = one_line(ValueError(said.getvalue().rpartition("error:")[2]))
    if message.startswith("Problems parsing config"):
        raise ValueError(f"{' '.join(files)}: not readable as YAML: {message.partition(':')[2].strip()}")
    if message.startswith("Unexpected config"):
        raise ValueError(f"{' '.join(files)}: no settings in this file: write lines such as 'seed: 1'")
    if " arguments are required: " in message:
        raise ValueError(lacking(parser, message.rpartition(": ")[2].split(", ")))
    absent = re.fullmatch(r"Parser key \"config\": File does not exist: '(.*)'", message)
    if absent:
        raise ValueError(f"{absent[1]}: no such config file")
    value = re.match(r"Parser key \"(?P<key>[\w.]+)\": (?P<why>.*)", message)
    if value and "NestedArg" in value["why"]:  # how jsonargparse reads --data.crop.kind where --data is a path
        words = [word.partition("=")[0] for word in others if word.startswith(f"--{value['key']}.")]
        raise ValueError(
            f"unknown argument {words[0].removeprefix('--')!r}: {verb} takes --{value['key']} alone; settings of a "
            "training belong in its config"
        )
    if value:
        raise ValueError(f"{value['key']}: {expected(value['why'])}")
    unknown = UNKNOWN.search(message)
    if unknown:
        word = unknown["option"] or f"{unknown['group'] or ''}{'.' if unknown['group'] else ''}{unknown['key']}"
        near = difflib.get_close_matches(word, known_keys(parser), n=1)
        raise ValueError(f"unknown argument {word!r}" + (f": did you mean {near[0]!r}?" if near else "; see --help"))
    raise ValueError(re.sub(r"<class '([\w.]+)'>", r"\1", message))


def config_text(file: str) -> str:
    """A config for the parser: the file, or its text with today's keys where it has older ones."""
    import yaml

    from besnet.settings import UnreadableYaml, check_yaml, current

    try:
        text = Path(file).read_text()
        check_yaml(text)
        settings = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, UnreadableYaml):
        return file  # the parser reports what is wrong with it
    if not isinstance(settings, dict):
        return file
    found = current(settings, file)
    return file if found == settings else yaml.safe_dump(found, sort_keys=False)


def separated(parser: "ArgumentParser", words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """A command line's configs as (--config, file) in their order, and the other words."""
    from jsonargparse import ActionConfigFile

    names = {
        name for action in parser._actions if isinstance(action, ActionConfigFile) for name in action.option_strings
    }
    configs, others, rest = [], [], iter(words)
    for word in rest:
        name, equals, file = word.partition("=")
        if name not in names:
            others.append(word)
            continue
        file = file if equals else next(rest, "")
        if not file:
            raise ValueError(f"{name}: give it the name of a file")
        configs.append((name, file))
    return configs, others


def lacking(parser: "ArgumentParser", names: list[str]) -> str:
    """The message for missing arguments, each as it is written on the command line."""
    from jsonargparse import ActionConfigFile

    by_position = {action.dest for action in parser._actions if not action.option_strings}
    shown = [name.upper() if name in by_position else f"--{name}" for name in names]
    files = [action.option_strings[0] for action in parser._actions if isinstance(action, ActionConfigFile)]
    config = f", on the command line or in {files[0]} FILE" if files else ""
    return f"{parser.prog.removeprefix('besnet ')}: needs {' and '.join(shown)}{config}; see {parser.prog} --help"


def expected(why: str) -> str:
    """jsonargparse's message about a wrong value, in plain English."""
    why = re.sub(r"<class '([\w.]+)'>", r"\1", why)
    choices = re.search(r"typing\.Literal\[(?P<choices>[^]]*)\]\.? Got value: (?P<value>.*)", why)
    if choices:
        return f"must be one of {choices['choices']}, not {choices['value']}"
    union = re.search(r"Subtypes: \[(?P<types>.*?)\] Errors: .* Given value: (?P<value>.*)", why)
    if union:
        types = re.sub(r"typing\.Literal\[([^]]*)\]", r"\1", union["types"])
        kinds = [KINDS.get(kind, kind) for kind in types.split(", ")]
        return f"must be {' or '.join(kinds)}, not {union['value']}"
    single = re.fullmatch(r"Expected an? (?P<type>\w+)\. Got value: (?P<value>.*)", why)
    if single:
        return f"must be {KINDS.get(single['type'], single['type'])}, not {single['value']}"
    return why


def known_keys(parser: "ArgumentParser") -> list[str]:
    """Every argument of a parser, by its dotted name."""
    return [action.dest for action in parser._actions if action.dest not in ("help", "print_config")]


def plain(parser: "ArgumentParser", parsed: "Namespace") -> dict[str, Any]:
    """The resolved config as plain values, for checkpoints and config.yaml."""
    import yaml

    config: dict[str, Any] = yaml.safe_load(parser.dump(parsed, skip_unset=False))
    return config


def defaults_of(parser: "ArgumentParser") -> dict[str, Any]:
    """The default of every argument."""
    import yaml

    defaults: dict[str, Any] = yaml.safe_load(
        parser.dump(parser.get_defaults(), skip_validation=True, skip_unset=False)
    )
    return defaults


def one_line(error: BaseException) -> str:
    """A message without its line breaks."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return " ".join(str(error).split()) or type(error).__name__
