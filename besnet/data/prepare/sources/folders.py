"""A folder of class folders, with train, val and test above the classes, below them, or not at all."""

from pathlib import Path, PurePosixPath

from besnet.data.prepare.listing import SPLIT_NAMES, Entry, Listing, videos_below


def list_folders(folder: Path) -> Listing:
    """Videos of `folder/train/<class>/`, of `folder/<class>/train/`, or of `folder/<class>/` (all for training)."""
    entries = []
    for path in videos_below(folder):
        parts = PurePosixPath(path).parts
        if len(parts) < 2:
            continue
        above, below = SPLIT_NAMES.get(parts[0].lower()), SPLIT_NAMES.get(parts[1].lower())
        if above and len(parts) >= 3:
            split, label = above, parts[1]
        elif below and len(parts) >= 3:
            split, label = below, parts[0]
        else:
            split, label = "train", parts[0]
        entries.append(Entry(path, label, split, path, f"{folder}/{path}"))
    if not entries:
        raise ValueError(f"{folder}: no videos in class folders below it")
    return Listing(folder.resolve().name, folder.resolve(), entries)
