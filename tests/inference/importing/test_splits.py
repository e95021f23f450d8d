import pytest

from auss.files.errors import InputError
from auss.inference.importing.labels import Notes
from auss.inference.importing.splits import folder_split, same_videos, split_videos


def counted(splits):
    return [list(splits.values()).count(name) for name in ("train", "val", "test")]


def test_the_shares_are_kept_and_every_video_has_one_split():
    videos = [f"{number}.mp4" for number in range(40)]
    categories = {video: "dog" if int(video[:-4]) < 20 else "cat" for video in videos}
    splits = split_videos([[video] for video in videos], categories, (80, 10, 10), 0)
    assert set(splits) == set(videos) and counted(splits) == [32, 4, 4]
    for split in ("val", "test"):  # both categories are in both
        assert {categories[video] for video, found in splits.items() if found == split} == {"dog", "cat"}
    assert split_videos([[video] for video in videos], categories, (80, 10, 10), 0) == splits
    assert split_videos([[video] for video in videos], categories, (80, 10, 10), 1) != splits


@pytest.mark.parametrize("count", [3, 4, 5, 7, 12])
def test_a_split_with_a_share_gets_a_video(count):
    videos = [f"{number}.mp4" for number in range(count)]
    splits = split_videos([[video] for video in videos], dict.fromkeys(videos, ""), (80, 10, 10), 0)
    assert min(counted(splits)) >= 1 and sum(counted(splits)) == count
    assert counted(splits)[0] >= max(counted(splits)[1:])


def test_too_few_videos_are_refused_unless_all_go_into_train():
    with pytest.raises(InputError, match="at least 3 different videos .*got 2: `--split 100 0 0`"):
        split_videos([["a"], ["b"]], {"a": "", "b": ""}, (80, 10, 10), 0)
    assert counted(split_videos([["a"], ["b"]], {"a": "", "b": ""}, (100, 0, 0), 0)) == [2, 0, 0]
    assert counted(split_videos([["a"], ["b"]], {"a": "", "b": ""}, (50, 50, 0), 0)) == [1, 1, 0]


def test_folders_named_like_splits_come_first():
    videos = ["train/a.mp4", "test/b.mp4", "val/x/c.mp4", "other/test/d.mp4"]
    assert folder_split(videos) == {"train/a.mp4": "train", "test/b.mp4": "test", "val/x/c.mp4": "val"}
    splits = split_videos([[one] for one in videos], dict.fromkeys(videos, ""), (100, 0, 0), 0)
    assert splits["other/test/d.mp4"] == "train" and splits["test/b.mp4"] == "test"


def test_copies_of_a_video_stay_in_one_split(tmp_path):
    for name, content in (("a", b"one"), ("b", b"two"), ("a copy", b"one"), ("c", b"other size")):
        (tmp_path / f"{name}.mp4").write_bytes(content)
    notes = Notes()
    videos = sorted(path.name for path in tmp_path.iterdir())
    groups = same_videos(tmp_path, videos, notes)
    assert groups == [["a copy.mp4", "a.mp4"], ["b.mp4"], ["c.mp4"]]
    assert len(notes.warnings) == 1 and "a copy.mp4 and a.mp4 are the same video" in notes.warnings[0]
    splits = split_videos(groups, dict.fromkeys(videos, ""), (34, 33, 33), 0)
    assert splits["a.mp4"] == splits["a copy.mp4"]
    with pytest.raises(InputError, match="folders of two splits"):
        split_videos([["train/a.mp4", "test/a.mp4"]], {}, (80, 10, 10), 0)
