"""The command line: finds the verb, runs it, and turns errors into one line and an exit code."""

import difflib
import errno
import os
import sys
from typing import NoReturn

from besnet import __version__
from besnet.cli.parsing import one_line
from besnet.cli.process import WRONG_USE, complain, leave, set_up
from besnet.cli.verbs import VERBS, usage
from besnet.version import revision

AWAY = (errno.ESTALE, errno.ETIMEDOUT)  # a file server's, which may come back


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `besnet VERB ...` and exit: 0, 2 for wrong use, 75 for stopped and saved (besnet.training.exit_codes)."""
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
        complain(
            f"no verb {verb!r}" + (f": did you mean {near[0]!r}?" if near else f": the verbs are {', '.join(VERBS)}")
        )
    return run(verb, rest)


def run(verb: str, words: list[str]) -> int:
    """Run one verb; an error that the user can fix becomes one line and exit code 2."""
    from besnet.supervision import end_with_launcher

    try:
        end_with_launcher()
        return VERBS[verb].read(verb, words)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print("besnet: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        return explained(error)


def explained(error: Exception) -> int:
    """The exit code of an error that one line explains; any other is raised again."""
    if isinstance(error, OSError) and (getattr(error, "passing", False) or error.errno in AWAY):
        from besnet.watchdog import HUNG

        print(f"besnet: {error}", file=sys.stderr, flush=True)
        return HUNG
    if "torch" in sys.modules:  # errors of its loaders and devices
        from besnet.training.exit_codes import RunExit, explain

        reason = explain(error, "these settings: use fewer or smaller clips, a narrower network or fewer workers")
        if isinstance(reason, RunExit):
            print(f"besnet: {reason}", file=sys.stderr, flush=True)
            return reason.code
        if isinstance(reason, ValueError):
            complain(one_line(reason))
    if isinstance(error, ValueError | OSError):
        complain(one_line(error))
    raise error
