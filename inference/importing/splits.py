"""Divides videos among train, val and test, so that no video is in two of them."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...files.errors import InputError
from ...train.data.meta_tables import SPLITS
from .labels import Notes

READ_AT_ONCE = 2**20


def content_digest(path: Path) -> str:
    """Returns a digest of the content of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


def same_videos(folder: Path, videos: Sequence[str], notes: Notes) -> list[list[str]]:
    """Groups videos that have the same content under several names. A warning names the copies.

    Args:
        folder: the folder of the videos.
        videos: their paths in the folder.
        notes: takes the warnings.
    """
    by_size: dict[int, list[str]] = defaultdict(list)
    for video in videos:
        by_size[(folder / video).stat().st_size].append(video)
    groups: dict[str, list[str]] = defaultdict(list)
    for size, same in by_size.items():
        for video in same:
            # Files of different sizes differ. Only the others have to be read.
            groups[content_digest(folder / video) if len(same) > 1 else f"{size}"].append(video)
    for group in groups.values():
        if len(group) > 1:
            notes.warn(f"{group[0]} and {', '.join(group[1:])} are the same video; they stay in one split")
    return sorted(groups.values())


def folder_split(videos: Sequence[str]) -> dict[str, str]:
    """Returns the split of each video that lies in a folder named train, val or test."""
    return {video: video.split("/")[0] for video in videos if "/" in video and video.split("/")[0] in SPLITS}


def split_counts(groups: int, shares: Sequence[int]) -> dict[str, int]:
    """Returns how many of the groups each split gets. A split with a share gets at least one.

    Raises:
        ValueError: there are fewer groups than splits with a share.
    """
    wanted = {split: share for split, share in zip(SPLITS, shares, strict=True) if share}
    if groups < len(wanted):
        raise InputError(
            f"split {' '.join(map(str, shares))} needs at least {len(wanted)} different videos with labels, got "
            f"{groups}: `--split 100 0 0` puts all of them into train"
        )
    counts = {split: max(1, round(groups * wanted[split] / 100)) for split in wanted if split != "train"}
    while sum(counts.values()) >= groups:  # as with two videos and 50 50 0
        counts[max(counts, key=lambda split: counts[split])] -= 1
    return {"train": groups - sum(counts.values()), **counts}


def split_videos(
    groups: Sequence[Sequence[str]], categories: Mapping[str, str], shares: Sequence[int], seed: int
) -> dict[str, str]:
    """Chooses the split of each video.

    The videos are ordered by category, and at random within a category. Those of val and test are taken from this
    order at equal distances, so that they have about the same categories as train. The same arguments give the same
    splits.

    Args:
        groups: the videos; those of one group get the same split.
        categories: the category of each video.
        shares: the percentages of train, val and test.
        seed: chooses among the orders.

    Raises:
        ValueError: there are too few videos, or copies of one video lie in the folders of two splits.
    """
    splits: dict[str, str] = {}
    free: list[Sequence[str]] = []
    for group in groups:
        given = set(folder_split(group).values())
        if len(given) > 1:
            raise InputError(f"{' and '.join(group)} are the same video, but lie in the folders of two splits")
        if given:
            splits |= dict.fromkeys(group, given.pop())
        else:
            free.append(group)
    if not free:
        return splits

    def place(group: Sequence[str]) -> tuple[str, str]:
        return categories[group[0]], hashlib.sha256(f"{seed} {group[0]}".encode(errors="surrogatepass")).hexdigest()

    counts = split_counts(len(free), shares)
    ordered = sorted(free, key=place)
    # Test and val alternate, as far as both have videos left.
    turns = sorted(
        ((number + 0.5) / counts[split], split)
        for split in counts
        if split != "train"
        for number in range(counts[split])
    )
    chosen = {int((index + 0.5) * len(ordered) / len(turns)): split for index, (_, split) in enumerate(turns)}
    for index, group in enumerate(ordered):
        splits |= dict.fromkeys(group, chosen.get(index, "train"))
    return splits


__all__ = ["folder_split", "same_videos", "split_videos"]
