"""Tests of animations: they show the drawn frames at the times of the result."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

import auss
from auss import VideoReader

from .results_by_hand import SIZE, frame, label_map, sounding

RAMP = np.repeat(np.arange(0, 250, 50, dtype=np.uint8), SIZE[0] * SIZE[1] * 3).reshape(5, *SIZE, 3)
TIMES = (0.0, 0.3, 0.4, 0.5, 1.0)


def at(times):
    return [frame(time, label_map((1, 10, 20, 10, 30)), index=index) for index, time in enumerate(times)]


def test_a_gif_shows_each_frame_for_its_time(tmp_path):
    path = auss.save_animation(RAMP, at(TIMES), tmp_path / "new" / "clip.gif")
    drawn = auss.draw_masks(RAMP, at(TIMES))
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0
        shown = [(one.info["duration"], np.asarray(one.convert("RGB"))) for one in ImageSequence.Iterator(gif)]
    assert [duration for duration, _ in shown] == [300, 100, 100, 500, 200]  # the last for the median of the others
    for (_, picture), expected in zip(shown, drawn, strict=True):
        assert np.abs(picture.astype(int) - np.asarray(expected)).mean() < 6  # 256 colours


def test_a_still_frame_keeps_its_time(tmp_path):
    """Pillow joins equal frames, and adds their times."""
    path = auss.save_animation(np.zeros_like(RAMP), at([0, 1, 2, 3, 4]), tmp_path / "still.gif")
    with Image.open(path) as gif:
        assert sum(one.info["duration"] for one in ImageSequence.Iterator(gif)) == 5000


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_video_shows_the_frames_at_their_times(tmp_path, suffix):
    path = auss.save_animation(RAMP, at(TIMES), tmp_path / f"clip{suffix}", height=60)
    reader = VideoReader(path)
    assert (reader.info.height, reader.info.width, reader.info.has_audio) == (60, 90, False)
    frames = [(one.time, one.picture) for one in reader.frames()]
    expected = auss.draw_masks(RAMP, at(TIMES))
    for time, drawn in zip(TIMES, expected, strict=True):
        shown = [picture for start, picture in frames if start <= time + 0.002][-1]
        resized = np.asarray(drawn.resize((90, 60), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(shown - resized).mean() < 12, time
    assert reader.length == pytest.approx(1.2, abs=0.06)


def test_without_times_there_are_five_frames_a_second(tmp_path):
    clip = {"segmentation": np.stack([label_map((1, 10, 20, 10, 30))] * 5)}
    path = auss.save_animation(RAMP, clip, tmp_path / "clip.gif")
    with Image.open(path) as gif:
        assert [one.info["duration"] for one in ImageSequence.Iterator(gif)] == [200] * 5


def test_files_are_replaced_only_on_request(tmp_path, make_video):
    for name in ("clip.gif", "clip.mp4"):
        path = tmp_path / name
        path.write_bytes(b"mine")
        with pytest.raises(FileExistsError):
            auss.save_animation(RAMP, at(TIMES), path)
        assert path.read_bytes() == b"mine"
        auss.save_animation(RAMP, at(TIMES), path, overwrite=True)
        assert path.read_bytes() != b"mine"
    video = make_video("video.mp4", seconds=1.0)
    with pytest.raises(ValueError, match="is the video itself"):
        auss.save_animation(video, sounding(0.9), video, overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "clip.avi"}, "path must end in .gif, .mp4, .mkv, .webm, got 'clip.avi'"),
        ({"height": 0}, "height must be a whole number of pixels"),
        ({"alpha": -1}, "alpha must be a number"),
        ({"frames": RAMP[:2]}, "frames must be as many as those of result, got 2 and 5"),
        ({"result": [], "frames": []}, "result must have at least one frame"),
    ],
)
def test_other_arguments_are_refused(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        auss.save_animation(**{"frames": RAMP, "result": at(TIMES), "path": "clip.gif", **arguments})
    assert list(tmp_path.iterdir()) == []
