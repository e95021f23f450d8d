"""Drawing on planes looks like drawing on the RGB picture. `overlay` is the oracle."""

from fractions import Fraction

import av
import av.filter
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from auss.inference.media.picture.frame_planes import FrameColours, planes
from auss.inference.media.picture.mask_layer import MaskLayer
from auss.processing.drawing import SECOND_TONE, class_colour, mark_layer, overlay, overlay_labels

# swscale and the filter `overlay` compute in coarse integers and truncate, so they miss the formula by some steps.
STEPS = 2
SYSTEMS = {
    "709": FrameColours(1, 1, 1, False),
    "601": FrameColours(6, 6, 6, False),
    "601 of 625 lines": FrameColours(5, 5, 6, False),
    "full 709": FrameColours(1, 1, 1, True),
    "full 601": FrameColours(6, 6, 6, True),
}


# The weights of red and blue in brightness, by the number of the matrix. Green has the rest.
BRIGHTNESS_WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114)}


def plane_values(colour, colours):
    """Converts red, green and blue, 0 to 255, to Y, U and V, 0 to 255. ITU-R BT.709 and BT.601."""
    of_red, of_blue = BRIGHTNESS_WEIGHTS[colours.matrix]
    red, green, blue = (value / 255 for value in colour)
    brightness = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    blueness, redness = (blue - brightness) / (2 - 2 * of_blue), (red - brightness) / (2 - 2 * of_red)
    darkest, brightness_steps, colour_steps = (0, 255, 255) if colours.full_range else (16, 219, 224)
    values = darkest + brightness_steps * brightness, 128 + colour_steps * blueness, 128 + colour_steps * redness
    y, u, v = (min(255, round(value)) for value in values)  # full range ends half a step early
    return y, u, v


def draw(labels, colours, frame, alpha=0.5):
    return MaskLayer(mark_layer(labels, alpha), colours).draw(frame)


def to_frame(picture: np.ndarray, colours: FrameColours) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709 if colours.matrix == 1 else Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG if colours.full_range else ColorRange.MPEG,
    )


def to_picture(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="rgb24").astype(int)


def smooth_picture(height=48, width=64) -> np.ndarray:
    """A picture whose colours change slowly and stay well within RGB, so that colour at half size loses little."""
    rows, columns = np.mgrid[:height, :width]
    channels = 40 + 3 * rows, 60 + 2 * columns, 220 - 2 * rows - columns
    return np.stack(channels, axis=-1).astype(np.uint8)


def mask_of(height=48, width=64, rows=slice(8, 30), columns=slice(10, 40), label=1) -> np.ndarray:
    labels = np.zeros((height, width), np.uint8)
    labels[rows, columns] = label
    return labels


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("colour", [(255, 40, 70), (0, 0, 255), (255, 255, 255), (0, 0, 0), (12, 200, 99)])
def test_plane_values_are_those_of_the_scaler(name, colour):
    frame = to_frame(np.full((16, 16, 3), colour, np.uint8), SYSTEMS[name])
    found = [int(plane[4, 4]) for plane in planes(frame)]
    assert np.abs(np.array(found) - plane_values(colour, SYSTEMS[name])).max() <= STEPS


def test_plane_values_of_white_and_red():
    """The expected values are examples in BT.709 and BT.601."""
    assert plane_values((255, 255, 255), SYSTEMS["709"]) == (235, 128, 128)
    assert plane_values((255, 255, 255), SYSTEMS["full 601"]) == (255, 128, 128)
    assert plane_values((255, 0, 0), SYSTEMS["709"]) == (63, 102, 240)
    assert plane_values((255, 0, 0), SYSTEMS["601"]) == (81, 90, 240)
    assert plane_values((255, 0, 0), SYSTEMS["full 601"]) == (76, 85, 255)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize(
    "area",
    [
        (slice(8, 30), slice(10, 40)),
        (slice(0, 20), slice(0, 64)),  # at the picture's edges, where no outline is drawn
        (slice(29, 48), slice(41, 64)),
        (slice(0, 48), slice(0, 64)),
    ],
)
def test_marked_pixels_have_the_colours_of_the_rgb_overlay(name, area):
    """Edges lie at even pixels, or two pixels beside them are left out, because colour has half the resolution."""
    labels, colours = mask_of(rows=area[0], columns=area[1]), SYSTEMS[name]
    frame = to_frame(smooth_picture(), colours)
    before = to_picture(frame)
    expected = overlay(before.astype(np.uint8), labels > 0).astype(int)
    untouched = [plane.copy() for plane in planes(frame)]
    frame = draw(labels > 0, colours, frame)
    found = to_picture(frame)
    same_around = np.ones_like(labels, bool)  # pixels whose whole surroundings are treated as they are
    changed = np.abs(expected - before).max(-1) > 0
    kinds = changed.astype(int) + (expected == class_colour(1)).all(-1) + 2 * (expected == SECOND_TONE).all(-1)
    padded = np.pad(kinds, 2, mode="edge")
    for row in range(5):
        for column in range(5):
            same_around &= padded[row : row + 48, column : column + 64] == kinds
    assert (same_around & (labels > 0)).sum() > 100
    assert np.abs(found - expected)[same_around].max() <= 4
    assert np.abs(found - expected).mean() < 3
    for plane, old, step in zip(planes(frame), untouched, (1, 2, 2), strict=True):
        height, width = old.shape
        outside = labels.reshape(height, step, width, step).max((1, 3)) == 0
        np.testing.assert_array_equal(plane[outside], old[outside])


def test_brightness_changes_in_the_very_pixels_of_the_mask():
    """This also holds at odd edges, because only colour has half the resolution."""
    colours = SYSTEMS["709"]
    labels = mask_of(rows=slice(7, 30), columns=slice(11, 39))
    frame = to_frame(np.full((48, 64, 3), 90, np.uint8), colours)
    brightness, blueness, _ = planes(frame)
    before, blue_before = int(brightness[0, 0]), int(blueness[0, 0])
    frame = draw(labels, colours, frame)
    y, u, _ = plane_values(class_colour(1), colours)
    brightness, blueness, _ = (plane.astype(int) for plane in planes(frame))
    assert (brightness[labels == 0] == before).all()
    assert (abs(brightness[9:28, 13:37] - (before + y) / 2) <= STEPS).all()
    within = np.pad(np.ones((21, 26), bool), ((8, 19), (12, 26)))  # without the bright line
    assert (abs(brightness[(labels > 0) & ~within] - y) <= STEPS).all()
    dark_line = within & ~np.pad(np.ones((19, 24), bool), ((9, 20), (13, 27)))
    assert (abs(brightness[dark_line] - plane_values(SECOND_TONE, colours)[0]) <= STEPS).all()
    # In the block at rows 6 and 7, columns 10 and 11, one of four pixels belongs to the outline.
    assert abs(blueness[3, 5] - (0.75 * blue_before + 0.25 * u)) <= STEPS
    assert abs(blueness[3, 10] - (0.5 * blue_before + 0.5 * u)) <= STEPS


def test_classes_have_the_colours_of_the_rgb_overlay():
    labels, colours = mask_of(label=3), SYSTEMS["601"]
    labels[30:44, 40:60] = 7
    frame = to_frame(smooth_picture(), colours)
    expected = overlay_labels(to_picture(frame).astype(np.uint8), labels).astype(int)
    frame = draw(labels, colours, frame)
    found = to_picture(frame)
    for inside in (np.s_[13:25, 15:35], np.s_[35:39, 45:55]):
        assert np.abs(found[inside] - expected[inside]).max() <= 4
    assert np.abs(found - expected).mean() < 5  # two objects with outlines on a small picture


def test_classes_side_by_side_mix_in_their_common_colour_pixels():
    colours = SYSTEMS["601"]
    labels = mask_of(rows=slice(8, 30), columns=slice(8, 21), label=1) + mask_of(columns=slice(21, 40), label=2)
    frame = to_frame(np.full((48, 64, 3), 90, np.uint8), colours)
    frame = draw(labels, colours, frame)
    values = [plane_values(class_colour(label), colours)[1] for label in (1, 2)]
    assert abs(planes(frame)[1][10, 10] - sum(values) / 2) <= STEPS  # both outlines are opaque


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_extreme_values_do_not_overflow(value, alpha):
    colours = FrameColours(1, 1, 1, True)
    frame = av.VideoFrame(64, 48, "yuv420p")
    for plane in planes(frame):
        plane[:] = value
    labels = mask_of(rows=slice(5, 31))
    frame = draw(labels, colours, frame, alpha)
    both = plane_values(class_colour(1), colours), plane_values(SECOND_TONE, colours)
    for plane, colour, dark, size in zip(planes(frame), *both, (1, 2, 2), strict=True):
        inside = plane[16 // size, 24 // size]
        assert abs(int(inside) - ((1 - alpha) * value + alpha * colour)) <= STEPS
        low, _, high = sorted((value, colour, dark))
        assert plane.min() >= low - STEPS and plane.max() <= high + STEPS


def test_frame_after_frame_is_drawn_on_and_the_frame_itself_stays():
    labels, colours = mask_of(), SYSTEMS["709"]
    layer = MaskLayer(mark_layer(labels), colours)
    for level in (30, 90, 200):
        frame = to_frame(np.full((48, 64, 3), level, np.uint8), colours)
        frame.colorspace, before = 1, frame.to_ndarray()
        drawn = layer.draw(frame)
        assert drawn.colorspace == 1 and not np.array_equal(drawn.to_ndarray(), before)
        np.testing.assert_array_equal(planes(drawn)[0][labels == 0], planes(frame)[0][labels == 0])
        np.testing.assert_array_equal(frame.to_ndarray(), before)


def test_an_empty_mask_leaves_the_frame_as_it_is():
    frame = to_frame(smooth_picture(), SYSTEMS["709"])
    before = frame.to_ndarray()
    frame = draw(np.zeros((48, 64), bool), SYSTEMS["709"], frame)
    np.testing.assert_array_equal(frame.to_ndarray(), before)


def whole_overlay(marks, colours, frame):
    """Lays the whole layer over the whole frame with FFmpeg's filter: what `MaskLayer` must equal in every value."""
    layer = av.VideoFrame.from_ndarray(marks, format="rgba").reformat(
        format="yuva420p",
        dst_colorspace=Colorspace.ITU709 if colours.matrix == 1 else Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG if colours.full_range else ColorRange.MPEG,
    )
    graph, second = av.filter.Graph(), Fraction(1)
    sources = [
        graph.add_buffer(format=one.format, width=one.width, height=one.height, time_base=second)
        for one in (frame, layer)
    ]
    filter_, sink = graph.add("overlay", format="yuv420", eof_action="repeat"), graph.add("buffersink")
    for place, source in enumerate(sources):
        source.link_to(filter_, 0, place)
    filter_.link_to(sink)
    graph.configure()
    for one, source in zip((layer, frame), reversed(sources), strict=True):
        one.pts, one.time_base = 0, second
        source.push(one)
    sources[1].push(None)
    return sink.pull()


@pytest.mark.parametrize("name", SYSTEMS)
def test_only_the_marked_part_is_drawn_and_nothing_else_changes(name):
    """Small, large, several, odd and touching parts of a noisy picture, so that a shift by one pixel is seen."""
    generator, colours = np.random.default_rng(0), SYSTEMS[name]
    for trial in range(40):
        height, width = 2 * generator.integers(20, 70, 2)
        picture = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        labels = np.zeros((height, width), np.uint8)
        for label in range(1, generator.integers(1, 4) + 1):
            top, left = generator.integers(0, height), generator.integers(0, width)
            labels[top : top + generator.integers(1, 50), left : left + generator.integers(1, 50)] = label
        marks = mark_layer(labels, contour=int(generator.integers(0, 4)))
        expected = planes(whole_overlay(marks, colours, to_frame(picture, colours)))
        drawing = MaskLayer(marks, colours)
        for _ in range(2):  # the filter is used again
            found = planes(drawing.draw(to_frame(picture, colours)))
            for plane, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(plane, other, err_msg=f"trial {trial}")


def test_a_frame_without_marks_stays_as_it_is():
    frame = to_frame(smooth_picture(), SYSTEMS["709"])
    assert draw(np.zeros((48, 64), bool), SYSTEMS["709"], frame) is frame
