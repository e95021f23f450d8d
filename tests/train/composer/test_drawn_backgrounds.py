import numpy as np
import pytest

from auss.train.composer.drawn_backgrounds import PATTERNS, clouds, draw_background, slope


@pytest.mark.parametrize("make", [clouds, slope, *PATTERNS.values()])
def test_fields_stay_between_zero_and_one_and_vary(make):
    for seed in range(5):
        field = make(np.random.default_rng(seed), 40, 56)
        assert field.shape == (40, 56)
        assert field.min() >= -1e-6 and field.max() <= 1 + 1e-6
        assert np.ptp(field) > 0.2


def test_backgrounds_vary_but_repeat_for_a_seed():
    drawn = [draw_background(np.random.default_rng(seed), 48, 64) for seed in range(40)]
    names = {name.removesuffix(" and horizon") for name, _ in drawn}
    assert names == set(PATTERNS)
    assert 5 < sum(name.endswith("horizon") for name, _ in drawn) < 30
    assert all(image.shape == (48, 64, 3) and image.dtype == np.uint8 for _, image in drawn)
    assert np.std([image.mean() for _, image in drawn]) > 20
    again = draw_background(np.random.default_rng(7), 48, 64)
    assert again[0] == drawn[7][0] and np.array_equal(again[1], drawn[7][1])
