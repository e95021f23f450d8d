import io

import numpy as np
import pytest
from PIL import Image

from auss.inference.importing.clip_cutter import ClipCutter, ClipShape
from auss.inference.importing.labels import FrameLabels, Moment, Notes, Region
from auss.inference.media.video_reader import VideoReader

from .conftest import SIZE, square


def label(frame: int | None = None, time: float | None = None, left: int = 5) -> FrameLabels:
    mask = square(left)
    origin = f"mask {frame if frame is not None else f'{time} s'}"
    return FrameLabels(origin, ("dog",), Moment(frame, time), (Region("dog", SIZE, lambda _: mask),))


def cut(path, labels, **shape):
    notes = Notes()
    cutter = ClipCutter(VideoReader(path), labels, ClipShape(**shape), notes)
    return list(cutter.clips()), notes, cutter


def numbers(clip, media) -> list[int]:
    """The numbers that the frames of a clip carry."""
    return [media.number_of(np.asarray(Image.open(io.BytesIO(frame)))) for frame in clip.frames]


def test_labelled_frames_are_taken_and_others_come_every_second(one_video, media):
    """The video has six seconds of ten frames: a clip of five seconds, and one of the second that is left."""
    (first, last), notes, _ = cut(one_video, [label(frame=13), label(time=3.49), label(frame=55)])
    assert numbers(first, media) == [0, 13, 20, 34, 40] and sorted(first.masks) == [1, 3]
    assert numbers(last, media) == [55] and sorted(last.masks) == [0] and (last.start, last.seconds) == (5.0, 1.0)
    assert all((mask == square(5)).all() for clip in (first, last) for mask in clip.masks.values())
    assert first.label_names == ["dog"] and not first.silent and notes.problems == notes.warnings == []


def test_the_sound_of_a_clip_is_that_of_its_seconds(one_video):
    (first, last), _, _ = cut(one_video, [label(frame=13), label(frame=55)])
    reader = VideoReader(one_video)
    frames = reader.frames()
    next(frames)
    whole, rate = reader.waveform(0.0, 6.0)
    frames.close()
    for clip in (first, last):
        assert clip.sampling_rate == rate and len(clip.waveform) == round(clip.seconds * rate)
        start = round(clip.start * rate)
        assert np.abs(clip.waveform - whole[start : start + len(clip.waveform)]).max() < 1e-6


def test_a_slot_has_its_first_labelled_frame_and_more_slots_take_more(one_video, media):
    every = [label(frame=index) for index in range(60)]
    (first, _), notes, cutter = cut(one_video, every)
    assert numbers(first, media) == [0, 10, 20, 30, 40] and len(first.masks) == 5 and cutter.crowded == 54
    (first, _), _, cutter = cut(one_video, every, fps=2.0)
    assert numbers(first, media) == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45] and cutter.crowded == 48
    assert not notes.problems


def test_clips_without_labels_are_left_out(one_video, media):
    (clip,), _, _ = cut(one_video, [label(frame=42)], seconds=2.0)
    assert (clip.number, clip.start) == (2, 4.0) and numbers(clip, media) == [42, 50]


def test_labels_of_one_frame_are_joined(one_video):
    (clip,), _, _ = cut(one_video, [label(frame=20), label(time=2.0, left=40)])
    assert (clip.masks[2] == square(5) | square(40)).all()


def test_a_label_beyond_the_end_is_a_problem(one_video):
    clips, notes, _ = cut(one_video, [label(frame=3), label(frame=60), label(time=6.5)])
    assert len(clips) == 1 and len(notes.problems) == 2
    assert all(f"the video {one_video} ends at 6.00 s, before" in text for text in notes.problems)
    assert "frame 60" in notes.problems[0] and "6.5 s" in notes.problems[1]


def test_a_rest_that_is_too_short_is_told(make_video):
    path = make_video("a.mp4", seconds=5.6, size=SIZE)
    clips, notes, _ = cut(path, [label(frame=3), label(frame=54)])
    assert len(clips) == 1 and "the last 0.60 s" in notes.warnings[0] and not notes.problems
    short, notes, _ = cut(make_video("b.mp4", seconds=2.4, size=SIZE), [label(frame=3)])
    assert short[0].seconds == pytest.approx(2.4, abs=0.01) and len(short[0].frames) == 3


def test_a_mask_that_cannot_be_drawn_is_a_problem_and_the_others_stay(one_video):
    wrong = FrameLabels("mask wrong", (), Moment(frame=11), (Region("", (64, 48), lambda size: np.ones(size, bool)),))
    (clip,), notes, _ = cut(one_video, [label(frame=3), wrong])
    assert sorted(clip.masks) == [0] and "mask wrong: a mask of 48 x 64 pixels does not fit" in notes.problems[0]


def test_one_frame_that_is_shown_for_long_has_the_label_of_every_second(make_video):
    path = make_video("slow.mkv", seconds=6.0, fps=10, size=SIZE, times=[0.0, 0.1, 5.9])
    (clip,), notes, _ = cut(path, [label(time=1.2), label(time=3.2, left=40)])
    assert sorted(clip.masks) == [1, 3] and (clip.masks[3] == square(40)).all() and len(clip.frames) == 5
    assert not notes.problems


def test_large_frames_are_scaled_down_with_their_masks(one_video):
    (clip,), _, _ = cut(one_video, [label(frame=3)], size=24)
    assert {Image.open(io.BytesIO(frame)).size for frame in clip.frames} == {(32, 24)}
    assert clip.masks[0].shape == (24, 32) and clip.masks[0].mean() == pytest.approx(square(5).mean(), rel=0.15)
    assert ClipShape(size=24).frame_size(20, 90) == (20, 90)  # smaller ones stay
