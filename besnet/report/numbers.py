"""Shares, differences and intervals as text."""

from typing import Any


def percent(share: float | None) -> str:
    """A share in percent; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    """A difference in points, with its sign."""
    return f"{100 * share:+.1f}"


def between(interval: list[float], how: Any = points) -> str:
    """An interval as text."""
    return f"{how(interval[0])} to {how(interval[1])}"


def estimate(values: dict[str, Any]) -> str:
    """A mean with its interval."""
    return f"{points(values['mean'])} ({between(values['interval'])})"


def excludes(interval: list[float], value: float = 0.0) -> bool:
    """Whether an interval excludes a value."""
    return interval[0] > value or interval[1] < value
