"""The migrations: pure functions from what a file of one format holds to what one of the next format holds."""

from typing import Any


def unchanged(old: dict[str, Any]) -> dict[str, Any]:
    """Format 0 to 1 of most files: they say their format and nothing else changes."""
    return dict(old)


def evaluation_1(old: dict[str, Any]) -> dict[str, Any]:
    """results.json of an evaluation: the comparison is called `baseline`."""
    return {"baseline" if name == "against" else name: value for name, value in old.items()}
