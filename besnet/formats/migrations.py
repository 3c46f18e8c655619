"""The migrations: pure functions from what a file of one format holds to what one of the next format holds."""

from typing import Any


def unchanged(old: dict[str, Any]) -> dict[str, Any]:
    """Format 0 to 1 of most files: they say their format and nothing else changes."""
    return dict(old)


def multi_label(old: dict[str, Any]) -> dict[str, Any]:
    """A video may have several labels, with sigmoids for probabilities and thresholds; before it had one."""
    return dict(old)


def trained_on(old: dict[str, Any]) -> dict[str, Any]:
    """A model folder records the videos that its network was trained on; before it did not, and they are unknown."""
    return dict(old)


def dataset_2(old: dict[str, Any]) -> dict[str, Any]:
    """A row of the manifest may name its group; those of format 1 have none, which is the default."""
    return dict(old)


def dataset_3(old: dict[str, Any]) -> dict[str, Any]:
    """A row of the manifest may have a set of labels; those of format 2 have one label, which is the default."""
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


def lab_2(old: dict[str, Any]) -> dict[str, Any]:
    """results.json of a lab: `uses` and `asked` have the field's names; a comparison has a name, and no verdict by
    today's rule."""
    found = {"arguments" if name == "asked" else name: value for name, value in old.items()}
    if isinstance(found.get("arguments"), dict):
        found["arguments"] = {"question": "", "stopping_rule": ""} | found["arguments"]
        asked = found["arguments"]
        if isinstance(asked.get("controls"), list):  # each had as many seeds
            asked["seeds_of"] = {str(name): asked.get("seeds") for name in asked["controls"]}
    if isinstance(found.get("controls"), list):
        found["controls"] = [
            {"variants" if name == "uses" else name: value for name, value in control.items()}
            for control in found["controls"]
        ]
    if isinstance(found.get("differences"), list):
        videos = (found.get("coverage") or {}).get("evaluated")
        found["differences"] = [lab_2_comparison(row, videos) for row in found["differences"]]
    return found


def lab_2_comparison(old: dict[str, Any], videos: int | None) -> dict[str, Any]:
    """One comparison of a lab's results.json."""
    found = dict(old)
    if "first" in old and "second" in old:
        found |= {"name": f"{old['second']} - {old['first']}", "role": "other", "verdict": None, "groups": videos}
        found |= {"terms": [old["second"], old["first"]], "level": 0.95, "p": None}
    if isinstance(old.get("seeds"), list) and isinstance(old.get("error_by_seeds"), float):
        found["seeds_deviation"] = old["error_by_seeds"] * len(old["seeds"]) ** 0.5
    return found


def evaluation_1(old: dict[str, Any]) -> dict[str, Any]:
    """results.json of an evaluation: the comparison is called `baseline`."""
    return {"baseline" if name == "against" else name: value for name, value in old.items()}
