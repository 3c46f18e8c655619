"""Which besnet this is: its release, its revision, and the packages that it runs with."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from besnet import __version__


def versions() -> dict[str, str]:
    """The versions that decide what a run computes."""
    return {
        "besnet": __version__,
        **{name: package_version(name) for name in ("torch", "torchvision", "av")},
        "python": platform.python_version(),
    }


def package_version(name: str) -> str:
    """A package's installed version, or `unknown`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def revision() -> str:
    """The source revision of besnet, with `+changes` where files differ from it.

    Outside a checkout what BESNET_REVISION says, which a container's build sets, else besnet's version.
    """
    folder = Path(__file__).resolve().parents[1]
    built = os.environ.get("BESNET_REVISION") or __version__
    if not (folder / ".git").exists():
        return built
    try:
        commit = subprocess.check_output(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, text=True, stderr=subprocess.DEVNULL
        )
        status = ["git", "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.check_output(status, cwd=folder, text=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return built
    return commit.strip() + ("+changes" if changed.strip() else "")
