"""The migrations: pure functions from what a file of one format holds to what one of the next format holds."""

from typing import Any


def unchanged(old: dict[str, Any]) -> dict[str, Any]:
    """Format 0 to 1 of most files: they say their format and nothing else changes."""
    return dict(old)


def dataset_2(old: dict[str, Any]) -> dict[str, Any]:
    """A row of the manifest may name its group; those of format 1 have none, which is the default."""
    return dict(old)


def lab_1(old: dict[str, Any]) -> dict[str, Any]:
    """results.json of a lab: the minimum detectable difference was called the smallest."""
    renamed = {
        "smallest": "minimum_detectable",
        "smallest_by_videos": "minimum_detectable_by_videos",
        "against_averaged": "difference_to_averaged",
    }

    def new(value: Any) -> Any:
        if isinstance(value, dict):
            return {renamed.get(name, name): new(inner) for name, inner in value.items()}
        return [new(inner) for inner in value] if isinstance(value, list) else value

    found: dict[str, Any] = new(old)
    return found


def evaluation_1(old: dict[str, Any]) -> dict[str, Any]:
    """results.json of an evaluation: the comparison is called `baseline`."""
    return {"baseline" if name == "against" else name: value for name, value in old.items()}
