import pytest

from auss.files.errors import InputError
from auss.inference.importing.labels import Moment
from auss.inference.importing.video_names import Numbering, VideoNames, clip_name, moment_of_name, path_parts

VIDEOS = VideoNames(["dog.mp4", "dog_2.mp4", "My Cat (1).MOV", "a/walk.mp4", "b/walk.mp4", "1.webm"])


@pytest.mark.parametrize(
    ("text", "video", "rest"),
    [
        ("dog_000012.png", "dog.mp4", "_000012.png"),
        ("dog/000012.png", "dog.mp4", "000012.png"),
        ("masks/dog.mp4/frame_12.png", "dog.mp4", "frame_12.png"),
        ("dog.mp4_3.png", "dog.mp4", "_3.png"),
        ("dog_2_12.png", "dog_2.mp4", "_12.png"),
        ("/data/upload/3/1a2b3c4d-dog_12.jpg", "dog.mp4", "_12.jpg"),
        ("1a2b3c4d-My_Cat_1_-12.png", None, None),
        ("My_Cat__1__12.png", "My Cat (1).MOV", "_12.png"),
        ("/data/local-files/?d=frames%2Fdog%2F0012.jpg", "dog.mp4", "0012.jpg"),
        ("s3://bucket/dog/0012.jpg?token=3", "dog.mp4", "0012.jpg"),
        ("C:\\labels\\dog\\0012.jpg", "dog.mp4", "0012.jpg"),
        ("dog_mp4-0012_jpg.rf.0a1b2c3d.jpg", "dog.mp4", "-0012_jpg.rf.0a1b2c3d.jpg"),
        ("a/walk/5.png", "a/walk.mp4", "5.png"),
        ("b/walk_5.png", "b/walk.mp4", "_5.png"),
        ("1/12.png", "1.webm", "12.png"),
        ("walk_5.png", None, None),
        ("doggy_5.png", None, None),
        ("../../dog_5.png", "dog.mp4", "_5.png"),
        ("http://[", None, None),
        ("", None, None),
    ],
)
def test_a_name_finds_its_video(text, video, rest):
    if video is None:
        with pytest.raises(InputError):
            VIDEOS.find([text])
    else:
        assert VIDEOS.find([text]) == (video, rest)


def test_the_first_text_that_names_a_video_counts_and_a_single_video_needs_no_name():
    assert VIDEOS.find(["frame_000012", "dog.mp4/frame_000012"]) == ("dog.mp4", "frame_000012")
    assert VideoNames(["x/only.mp4"]).find(["frame_3.png"]) == ("x/only.mp4", "frame_3.png")
    with pytest.raises(InputError, match="could mean each of the videos a/walk.mp4, b/walk.mp4"):
        VIDEOS.find(["walk_5.png"])
    with pytest.raises(InputError, match="names none of the 6 videos"):
        VIDEOS.find(["nothing.png", "else"])


def test_two_videos_with_one_stem_are_told_apart_by_their_ending():
    videos = VideoNames(["dog.mov", "dog.mp4"])
    assert videos.find(["dog.mp4_12.png"]) == ("dog.mp4", "_12.png")
    with pytest.raises(InputError, match="could mean each"):
        videos.find(["dog_12.png"])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("_000012.png", Moment(frame=12)),
        ("frame_12.png", Moment(frame=12)),
        ("seg2_v1_007.tif", Moment(frame=7)),
        ("_12_jpg.rf.0a1b2c3d4.jpg", Moment(frame=12)),
        ("mask_12_1.5s.png", Moment(time=1.5)),  # as `auss segment --masks` writes it
        ("mask_3s.png", Moment(time=3.0)),
        ("_1500ms.png", Moment(time=1.5)),
        ("_01m02.25s.png", Moment(time=62.25)),
        ("1h00m05s.png", Moment(time=3605.0)),
        ("#t=4.25.png", Moment(time=4.25)),
        ("2.5.png", Moment(time=2.5)),
    ],
)
def test_numbers_are_frames_and_units_are_times(text, moment):
    assert moment_of_name(text, Numbering()) == moment


def test_numbers_may_count_pictures_taken_at_a_rate():
    """`ffmpeg -i dog.mp4 -vf fps=2 dog_%04d.png` numbers its pictures from 1."""
    taken = Numbering(rate=2.0, first=1)
    assert [moment_of_name(f"_{number:04d}.png", taken) for number in (1, 2, 5)] == [
        Moment(time=0.0),
        Moment(time=0.5),
        Moment(time=2.0),
    ]
    with pytest.raises(InputError, match="first one, 1"):
        moment_of_name("_0000.png", taken)
    assert moment_of_name("_3s.png", taken) == Moment(time=3.0)


@pytest.mark.parametrize("text", ["mask.png", "", "_" + "9" * 40 + ".png"])
def test_a_name_without_a_number_is_refused(text):
    with pytest.raises(InputError, match="no frame number"):
        moment_of_name(text, Numbering())


def test_parts_of_addresses():
    assert path_parts("https://host/a%20b/c.png?x=1") == ["a b", "c.png"]
    assert path_parts("/data/local-files/?d=x/y.png")[-2:] == ["x", "y.png"]


@pytest.mark.parametrize(
    ("video", "name"),
    [("a b/ü.mp4", "a_b_ü_0003"), ("../x.mp4", "x_0003"), ("(?).mp4", "video_0003"), ("dog.v2.mov", "dog.v2_0003")],
)
def test_names_of_clips_are_plain(video, name):
    assert clip_name(video, 3) == name
