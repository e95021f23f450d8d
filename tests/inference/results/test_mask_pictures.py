"""Tests of drawing results: on the frames that a user has, and on those of a video."""

import io

import numpy as np
import pytest
from PIL import Image

import auss
from auss.processing.drawing import class_colour, overlay

from ...small_videos import number_of
from .results_by_hand import FOUR, SIZE, frame, label_map, sounding

GREY = np.full((2, *SIZE, 3), 120, np.uint8)


def test_masks_are_drawn_as_auss_segment_draws_them():
    result = sounding(0.9, 0)
    drawn = auss.draw_masks(GREY, result)
    assert all(isinstance(picture, Image.Image) and picture.size == SIZE[::-1] for picture in drawn)
    expected = overlay(GREY[0], label_map((1, 10, 20, 10, 30)) > 0)
    np.testing.assert_array_equal(np.asarray(drawn[0]), expected)
    np.testing.assert_array_equal(np.asarray(drawn[1]), GREY[1])
    assert (GREY == 120).all()


@pytest.mark.parametrize("kind", ["array", "pictures", "channels first", "floats", "generator"])
def test_frames_of_any_kind(kind):
    frames = {
        "array": GREY,
        "pictures": [Image.fromarray(picture) for picture in GREY],
        "channels first": GREY.transpose(0, 3, 1, 2),
        "floats": GREY.astype(np.float32),
        "generator": (picture for picture in GREY),
    }[kind]
    drawn = auss.draw_masks(frames, sounding(0.9, 0.9))
    for one, other in zip(drawn, auss.draw_masks(GREY, sounding(0.9, 0.9)), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_classes_and_objects_keep_their_colours():
    labels = label_map((2, 5, 15, 5, 15), (3, 5, 15, 30, 45))
    for separate in (False, True):
        (drawn,) = auss.draw_masks(GREY[:1], [frame(0, labels, FOUR, separate=separate)])
        assert tuple(np.asarray(drawn)[5, 5]) == class_colour(2) and tuple(np.asarray(drawn)[5, 30]) == class_colour(3)


def test_the_processors_masks_of_another_size_are_resized():
    large = np.full((1, 80, 120, 3), 120, np.uint8)
    labels = label_map((1, 10, 20, 10, 30))[None].astype(np.int64)
    (drawn,) = auss.draw_masks(large, {"segmentation": labels, "scores": labels * 0.9})
    changed = (np.asarray(drawn) != 120).any(-1)
    assert changed[20:40, 20:60].all() and changed.sum() == 20 * 40


def test_the_frames_of_a_video_are_those_at_the_results_times(make_video, red_sounds, tiny_processor):
    from auss.inference.pipeline import AudioVisualSegmentationPipeline

    segmenter = AudioVisualSegmentationPipeline(model=red_sounds, processor=tiny_processor, device=-1)
    path = make_video("slides.mp4", seconds=3.0, times=[0.0, 1.2, 2.9])
    result = segmenter(path, fps=2)
    drawn = [np.asarray(picture) for picture in auss.draw_masks(path, result, alpha=0)]
    times = [segments.timestamp for segments in result]
    assert len(drawn) == len(times) == 6
    assert [number_of(picture) for picture in drawn] == [sum(start <= time for start in (1.2, 2.9)) for time in times]
    figure = auss.plot_masks(str(path), result, columns=2, most=3)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 3 and titles[0].startswith("0.0 s  sounding 0.9") and len(figure.axes) == 4
    assert Image.open(io.BytesIO(figure._repr_png_())).format == "PNG"


def test_a_result_of_another_video_is_refused(make_video):
    path = make_video("clip.mp4", seconds=1.0)
    with pytest.raises(ValueError, match="result must belong to the video .*clip.mp4: it has a frame at 9 s"):
        auss.draw_masks(path, [frame(0, label_map()), frame(9, label_map())])
    with pytest.raises(ValueError, match="must have a timestamp .* pass the frames themselves"):
        auss.draw_masks(path, {"segmentation": label_map()[None]})


def test_a_sheet_shows_frames_that_are_evenly_spread():
    frames = np.zeros((9, *SIZE, 3), np.uint8)
    figure = auss.plot_masks(iter(frames), sounding(*([0.9] * 8), 0), columns=3, most=3)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["0.0 s  sounding 0.90", "0.8 s  sounding 0.90", "1.6 s  nothing sounds"]
    clip = {"segmentation": label_map((1, 10, 20, 10, 30))[None], "scores": label_map((1, 10, 20, 10, 30))[None] * 0.8}
    assert auss.plot_masks(frames[:1], clip).axes[0].get_title() == "frame 0  sounding 0.80"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": GREY[:1]}, "frames must be as many as those of result, got 1 and 2. For a video, pass its path"),
        ({"frames": 7}, "frames must be a video's path or URL, or pictures, got int"),
        ({"alpha": 2}, "alpha must be a number from 0 to 1"),
        ({"columns": 0}, "columns must be a whole number of at least 1"),
        ({"most": 2.5}, "most must be a whole number of at least 1"),
        ({"result": [], "frames": []}, "result must have at least one frame"),
    ],
)
def test_other_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        auss.plot_masks(**{"frames": GREY, "result": sounding(0.9, 0), **arguments})
