"""Which videos are of one recording or person: what the source says, else what file names and equal bytes suggest.

Videos of one recording are alike. On both sides of a split they make every figure too high.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from besnet.data.labels import canonical
from besnet.data.paths import hash_file
from besnet.data.prepare.listing import Entry
from besnet.data.row import MAX_FILE_BYTES

SEPARATORS = re.compile(r"[-_. ()]+")
PART_OF_GROUP = re.compile(r"(?:^|[-_. ])(g\d+)[-_. ]c\d+$", re.I)
PERSON = re.compile(r"(?:^|[-_. ])((?:person|subject|subj|actor|user|participant)[-_. ]?\d+)(?=$|[-_. ])", re.I)


def groups_of(entries: Sequence[Entry], root: Path) -> tuple[list[str], str]:
    """The group of each video, and one sentence on where the groups are from."""
    if any(entry.group for entry in entries):
        found, said = [entry.group or entry.id for entry in entries], "groups: those that the table names"
    else:
        found, said = by_names(entries)
    joined, copies = with_equal_bytes(found, entries, root)
    if copies:
        said += f"; {copies} video{'s have' if copies > 1 else ' has'} the bytes of another one, and share its group"
    return joined, said


def by_names(entries: Sequence[Entry]) -> tuple[list[str], str]:
    """Groups from file names, by the first reading of them that leaves every class at least two groups."""
    for reading, means in READINGS:
        keys = [reading(entry) for entry in entries]
        groups = [key or entry.id for key, entry in zip(keys, entries, strict=True)]
        if any(count > 1 for count in Counter(groups).values()) and divides(groups, entries):
            shared = next(key for key, count in Counter(filter(None, keys)).most_common(1))
            said = f"groups: {len(set(groups))}, from the file names ({means}, such as {shared!r})"
            return groups, said
    said = (
        "groups: the file names do not tell which videos are of one recording, so each counts by itself; if some are, "
        "give a table with the columns label,path,group"
    )
    return [entry.id for entry in entries], said


def divides(groups: Sequence[str], entries: Sequence[Entry]) -> bool:
    """Whether every class of several videos has several groups."""
    of_class: dict[str | None, set[str]] = defaultdict(set)
    for group, entry in zip(groups, entries, strict=True):
        of_class[entry.label].add(group)
    count = Counter(entry.label for entry in entries)
    return all(len(of_class[label]) > 1 for label in of_class if count[label] > 1)


def stem(entry: Entry) -> str:
    """A video's file name without its extension."""
    return PurePosixPath(entry.path or entry.id).stem


def numbered_group(entry: Entry) -> str:
    """g03 of v_Archery_g03_c02."""
    found = PART_OF_GROUP.search(stem(entry))
    return found[1].lower() if found else ""


def person(entry: Entry) -> str:
    """person01 of person01_boxing_d1."""
    found = PERSON.search(stem(entry))
    return SEPARATORS.sub("", found[1]).lower() if found else ""


def beside_the_label(entry: Entry) -> str:
    """daria of daria_run1, and of run_daria_2, where the class is run."""
    words = [word for word in SEPARATORS.split(stem(entry)) if word]
    wanted = canonical(entry.label or "")
    for first in range(len(words)):
        for last in range(first + 1, len(words) + 1):
            name = "_".join(words[first:last])
            if wanted in (canonical(name), canonical(name.rstrip("0123456789"))):
                while len(words) > last and words[-1].isdecimal():  # the number of the video
                    words.pop()
                beside = words[:first] or words[last:]
                return "" if all(word.isdecimal() for word in beside) else "_".join(beside).lower()
    return ""


def before_the_numbers(entry: Entry) -> str:
    """name of name_1 and name_000010_000020."""
    return without_numbers(stem(entry)).lower()


def without_numbers(name: str) -> str:
    """A name without the numbers at its end."""
    return re.sub(r"([-_. ()]*\d+[-_. ()]*)+$", "", name)


READINGS: list[tuple[Callable[[Entry], str], str]] = [
    (numbered_group, "the number of a group before that of a clip"),
    (person, "the number of a person"),
    (beside_the_label, "what stands beside the class"),
    (before_the_numbers, "what stands before the numbers"),
]


def with_equal_bytes(groups: Sequence[str], entries: Sequence[Entry], root: Path) -> tuple[list[str], int]:
    """The groups, those joined whose videos have the same bytes; and how many videos are copies of an earlier one."""
    parent: dict[str, str] = {group: group for group in groups}

    def top(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    known: dict[str, str] = {}
    digests: dict[str, str] = {}  # of each file, of which there may be several parts
    copies = 0
    for group, entry in zip(groups, entries, strict=True):
        if entry.path is None:
            continue
        if entry.path in digests:
            parent[top(group)] = top(known[digests[entry.path]])
            continue
        digest = digests[entry.path] = hash_file(root / entry.path, MAX_FILE_BYTES)[0]
        if digest in known:
            copies += 1
            parent[top(group)] = top(known[digest])
        known.setdefault(digest, group)
    return [top(group) for group in groups], copies
