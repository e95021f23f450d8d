import numpy as np
import pytest

from auss.train.composer.drawn_objects import DRAWINGS, draw_object


def picture(category, instance, side=64):
    return draw_object(category, np.random.default_rng([5, instance]), side)


def look(image):
    """Returns the frequencies of 6 x 6 x 6 colours in the object, and its shape on a grid of 8 x 8."""
    pixels = np.asarray(image)
    inside = pixels[pixels[..., 3] > 127][:, :3] // 43
    colours = np.bincount(inside @ np.array([36, 6, 1]), minlength=216) / len(inside)
    shape = np.asarray(image.getchannel("A").resize((8, 8)), float).ravel() / 255
    return np.concatenate([np.sqrt(colours), shape / 4])


@pytest.mark.parametrize("category", DRAWINGS)
def test_a_picture_is_a_tight_anti_aliased_cut_out(category):
    image = picture(category, 0)
    alpha = np.asarray(image.getchannel("A"))
    assert image.mode == "RGBA" and max(image.size) == 64 and min(image.size) >= 20
    assert min(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) > 0
    assert 0.2 < (alpha > 127).mean() < 0.95
    assert 0.01 < ((alpha > 0) & (alpha < 255)).mean() < 0.4


@pytest.mark.parametrize("category", DRAWINGS)
def test_the_generator_alone_decides_the_instance(category):
    same, again, other = picture(category, 1), picture(category, 1), picture(category, 2)
    assert same.tobytes() == again.tobytes()
    assert same.size != other.size or same.tobytes() != other.tobytes()


def test_unseen_instances_look_like_their_own_category():
    known = {category: np.mean([look(picture(category, i)) for i in range(6)], axis=0) for category in DRAWINGS}
    hits = 0
    for category in DRAWINGS:
        for instance in range(100, 106):
            distances = {
                name: np.linalg.norm(look(picture(category, instance)) - mean) for name, mean in known.items()
            }
            hits += min(distances, key=distances.get) == category
    assert hits >= 0.9 * 6 * len(DRAWINGS)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="category must be one of bell, .*got 'harp'"):
        draw_object("harp", np.random.default_rng(0), 64)
    with pytest.raises(ValueError, match="side must be at least 8 pixels, got 3"):
        draw_object("bell", np.random.default_rng(0), 3)
