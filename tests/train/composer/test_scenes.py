import numpy as np
import pytest
from PIL import Image, ImageDraw

from auss.train.composer.drawn_objects import draw_object
from auss.train.composer.scenes import (
    LONGEST,
    SHOWN,
    SHOWN_AREA,
    Motion,
    MovingObject,
    Outline,
    Pose,
    Scene,
    arrange,
    filled_pixels,
    random_motion,
)

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)


def still(x, y, area, degrees=0.0):
    pose = Pose(x, y, area, degrees)
    return Motion(pose, pose, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.0, 0.0))


def square(side=40, colour=(255, 255, 255)):
    return Image.new("RGBA", (side, side), (*colour, 255))


def flat(picture, colour):
    """Returns the same shape in one colour."""
    image = Image.new("RGBA", picture.size, (*colour, 0))
    image.putalpha(picture.getchannel("A"))
    return image


def test_a_square_lies_where_its_pose_says():
    scene = Scene([(square(), still(0.25, 0.5, 0.04))], 100, 200)
    visible, whole = scene.shapes(0.0)
    assert np.array_equal(visible, whole)
    rows, columns = np.nonzero(visible[0])
    assert visible.sum() == pytest.approx(0.04 * 100 * 200, rel=0.08)
    assert rows.mean() + 0.5 == pytest.approx(50, abs=0.6) and columns.mean() + 0.5 == pytest.approx(50, abs=0.6)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)


def test_positive_degrees_turn_clockwise():
    bar = Image.new("RGBA", (80, 10), (255, 255, 255, 255))
    shape = Scene([(bar, still(0.5, 0.5, 0.06, 30.0))], 100, 100).shapes(0.0)[0][0]
    rows, columns = np.nonzero(shape)
    slope = np.polyfit(columns, rows, 1)[0]
    assert slope == pytest.approx(np.tan(np.radians(30)), abs=0.05)


def test_an_upper_object_hides_a_lower_one():
    lower, upper = still(0.4, 0.5, 0.09), still(0.55, 0.5, 0.09)
    visible, whole = Scene([(square(), lower), (square(), upper)], 100, 100).shapes(0.0)
    assert np.array_equal(visible[1], whole[1])
    assert np.array_equal(visible[0], whole[0] & ~whole[1])
    assert 0.4 < visible[0].sum() / whole[0].sum() < 0.6


def test_shapes_are_what_the_painted_frame_shows():
    """The oracle is the painter: a shape is visible where a pixel changes when only the colour of this object
    changes."""
    rng = np.random.default_rng(1)
    pictures = [draw_object(name, rng, 70) for name in ("frog", "guitar", "kettle")]
    background = np.full((112, 112, 3), 90, np.uint8)
    scene = arrange(rng, pictures, (0.05, 0.2), 96, 96, TIMES, background=background)
    motions = [moving.motion for moving in scene.objects]
    for index in range(3):
        frames = []
        for colour in ((0, 0, 0), (255, 255, 255)):
            painted = [flat(p, colour) if i == index else p for i, p in enumerate(pictures)]
            painted = Scene(list(zip(painted, motions, strict=True)), 96, 96, background, scene.slide)
            frames.append(painted.frame(0.4).astype(int))
        share = (frames[1] - frames[0])[..., 0] / 255
        clear = np.abs(share - 0.5) > 0.02  # at these pixels rounding to eight bits cannot decide
        assert np.array_equal((share > 0.5)[clear], scene.shapes(0.4)[0][index][clear])
        assert clear.mean() > 0.95 and (share > 0.5).sum() > 300


@pytest.mark.parametrize("shape", [(90, 90), (90, 160)])
def test_a_path_stays_inside_moves_and_keeps_its_size(shape):
    picture = draw_object("bird", np.random.default_rng(0), 60)
    outline, moved = Outline(*picture.size, filled_pixels(picture)), []
    for seed in range(20):
        motion = random_motion(np.random.default_rng(seed), outline, (0.05, 0.2), *shape)
        moving = MovingObject(picture, motion, *shape)
        assert max(moving.picture.size) <= np.ceil(LONGEST * np.sqrt(shape[0] * shape[1])) * 1.1
        covered = []
        for time in TIMES:
            alpha, (rows, columns) = moving.patch(moving.alpha, time)
            assert rows.start >= 0 and columns.start >= 0 and rows.stop <= shape[0] and columns.stop <= shape[1]
            covered.append(alpha.sum() / 255 / (shape[0] * shape[1]))
        expected = [motion.pose(time).area for time in TIMES]
        assert covered == pytest.approx(expected, rel=0.06)  # nothing is cut off at the frame's edge
        assert 0.04 < min(covered) and max(covered) < 0.24
        first, last = motion.pose(0), motion.pose(1)
        moved.append(np.hypot(first.x - last.x, first.y - last.y))
    assert np.mean(moved) > 0.08


def test_arranged_objects_are_all_well_visible_and_do_overlap():
    overlaps = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        pictures = [draw_object(name, rng, 60) for name in ("drum", "car", "clock", "guitar")]
        scene = arrange(rng, pictures, (0.045, 0.15), 80, 80, TIMES)
        for time in TIMES:
            visible, whole = scene.shapes(time)
            assert (visible.sum((1, 2)) >= SHOWN * whole.sum((1, 2))).all()
            assert (visible.mean((1, 2)) >= SHOWN_AREA).all()
            overlaps += (visible != whole).any()
    assert overlaps > 10


def test_a_cut_out_too_thin_to_cover_enough_still_gets_a_scene():
    thin = Image.new("RGBA", (200, 4))
    ImageDraw.Draw(thin).rectangle((0, 0, 199, 3), fill=(255, 0, 0, 255))
    scene = arrange(np.random.default_rng(0), [thin, square()], (0.05, 0.2), 64, 64, TIMES)
    assert scene.worst_visibility(TIMES) < 1
    assert scene.shapes(0.5)[0].any(axis=(1, 2)).all()


def test_the_background_slides():
    background = np.zeros((112, 112, 3), np.uint8)
    background[..., 0] = np.arange(112)
    scene = Scene([], 100, 100, background, ((0, 0), (0, 1)))
    assert scene.frame(0.0)[0, 0, 0] == 0 and scene.frame(1.0)[0, 0, 0] == 12
