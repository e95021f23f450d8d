import pytest

from auss.files.errors import InputError
from auss.web.settings import Limits, PageSettings

LIMITS = Limits(bytes=1000, seconds=30, pixels=640 * 480)


def test_sizes_at_the_limit_pass_and_larger_ones_are_refused_with_both_numbers(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(bytes(1000))
    LIMITS.check_size(path)
    path.write_bytes(bytes(200_000))
    with pytest.raises(InputError, match=r"0\.2 MB.*at most 0\.000954 MB"):
        LIMITS.check_size(path)


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match="empty"):
        LIMITS.check_size(tmp_path / "empty.mp4")


def test_length_and_picture_have_limits():
    LIMITS.check_length(30)
    LIMITS.check_picture(480, 640)  # a turned phone has the same number of pixels
    with pytest.raises(InputError, match=r"30\.1 s.*at most 30 s"):
        LIMITS.check_length(30.1)
    with pytest.raises(InputError, match="641 x 480"):
        LIMITS.check_picture(641, 480)


@pytest.mark.parametrize(("seconds", "words"), [(30, "30 seconds"), (600, "10 minutes")])
def test_the_page_says_its_limits(seconds, words):
    assert Limits(seconds=seconds).in_words() == f"At most {words} and 500 MB."


def test_settings_do_not_share_their_options():
    assert PageSettings().options is not PageSettings().options
