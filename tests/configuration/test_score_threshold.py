import numpy as np
import pytest

from auss.configuration.score_threshold import DEFAULT_THRESHOLD, check_threshold


def test_numbers_from_0_to_1_are_accepted():
    for threshold in (0, DEFAULT_THRESHOLD, 1, np.float32(0.25)):
        check_threshold(threshold)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), True, "0.5", None])
def test_everything_else_is_refused(wrong):
    with pytest.raises(ValueError, match="threshold must be a number from 0 to 1, got"):
        check_threshold(wrong)
