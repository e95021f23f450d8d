"""A written video has the frames, times and sound that were read. Sound is copied if the container takes it."""

from dataclasses import replace

import av
import numpy as np
import pytest

from auss.inference.media.picture.frame_planes import planes
from auss.inference.media.sound.audio_track import AudioTrack
from auss.inference.media.video_reader import VideoReader
from auss.inference.media.video_writer import VideoWriter, check_video_output


def rewrite(source, target, overwrite=False):
    reader = VideoReader(source)
    with VideoWriter(target, reader.info, overwrite) as writer:
        for frame in reader.frames():
            writer.write(frame.time, frame.picture)
    return writer, VideoReader(target)


def assert_same_sound(source, target, media, seconds):
    """Asserts that the sound has the same place relative to the first frame, to within 2 ms."""
    rates = [AudioTrack(path).sampling_rate for path in (source, target)]
    assert rates[0] == rates[1]
    expected, found = (AudioTrack(path, VideoReader(path).info.origin).window(0, seconds) for path in (source, target))
    assert abs(expected.shape[1] - found.shape[1]) < 0.05 * rates[0]
    lag, match = media.lag_and_match(expected[0], found[0], rates[0])
    assert abs(lag) < 0.002 and match > 0.99


@pytest.mark.parametrize(
    ("source", "target", "copied"),
    [
        ("in.mp4", "out.mp4", True),
        ("in.mp4", "out.mkv", True),
        ("in.mp4", "out.webm", False),
        ("in.webm", "out.mp4", True),
        ("in.webm", "out.webm", True),
        ("in.mkv", "out.mp4", True),
        ("in.mkv", "out.webm", False),
    ],
)
def test_round_trip(make_video, media, tmp_path, source, target, copied):
    path = make_video(source, seconds=3.0, channels=2)
    writer, result = rewrite(path, tmp_path / target)
    assert writer.sound_copied == copied
    frames = list(result.frames())
    assert [media.number_of(frame.picture) for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / 10, atol=0.0011)
    error = np.abs(frames[9].picture.astype(int) - next(VideoReader(path).frames()).picture)
    assert error[30:].mean() < 8  # the lower half is the same in all frames: colours survive
    result.check()
    assert_same_sound(path, tmp_path / target, media, 3.0)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_copied_packets_are_the_same_bytes(make_video, tmp_path):
    path = make_video("in.mp4")
    rewrite(path, tmp_path / "out.mp4")
    packets = []
    for name in (path, tmp_path / "out.mp4"):
        with av.open(str(name)) as container:
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    assert packets[0] == packets[1] and len(packets[0]) > 100


def test_uncommon_sound_is_encoded_anew(make_video, media, tmp_path):
    path = make_video("in.mkv", codecs=("libx264", "pcm_s16le"), rate=22_050)
    writer, _ = rewrite(path, tmp_path / "out.mp4")
    assert not writer.sound_copied
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    assert_same_sound(path, tmp_path / "out.mp4", media, 3.0)


@pytest.mark.parametrize("target", ["out.mp4", "out.webm"])
def test_picture_that_starts_late_keeps_its_sound(make_video, media, tmp_path, target):
    path = make_video("late.mp4", seconds=4.0, times=[1.5 + index / 10 for index in range(20)])
    _, result = rewrite(path, tmp_path / target)
    assert result.info.origin == pytest.approx(1.5, abs=0.002)  # the sound before the first frame is there too
    assert_same_sound(path, tmp_path / target, media, 2.0)


def test_sound_after_the_picture_is_kept(make_video, media, tmp_path):
    path = make_video("in.mkv", seconds=2.0, audio_seconds=5.0)
    rewrite(path, tmp_path / "out.mp4")
    assert AudioTrack(tmp_path / "out.mp4").window(0, 9).shape[1] == pytest.approx(5 * 48_000, abs=1200)


COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128), (250, 250, 250), (180, 140, 90)]


def colour_bars(path, matrix, full_range, codec="libx264"):
    """Writes a video of bars in `COLOURS`, 16 pixels each, that declares its colours."""
    picture = np.repeat(np.array(COLOURS, np.uint8), 16, axis=0)[None].repeat(32, axis=0)
    colorspace, color_range = (1 if matrix == 1 else 5), (2 if full_range else 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"crf": "5", "b": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 32, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, color_range
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=colorspace, dst_color_range=color_range)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("route", ["planes", "picture"])
@pytest.mark.parametrize(
    ("source", "target", "matrix", "full_range"),
    [
        ("in.mp4", "out.mp4", 1, False),
        ("in.mp4", "out.webm", 1, False),
        ("in.mp4", "out.mp4", 6, False),
        ("in.mp4", "out.mkv", 5, False),
        ("in.mp4", "out.mp4", 6, True),
        ("in.mp4", "out.webm", 1, True),
        ("in.webm", "out.mp4", 6, False),
    ],
)
def test_colours_stay_and_are_named_as_before(tmp_path, source, target, matrix, full_range, route):
    path = tmp_path / source
    colour_bars(path, matrix, full_range, "libvpx-vp9" if source.endswith("webm") else "libx264")
    reader = VideoReader(path)
    assert (reader.info.colours.matrix, reader.info.colours.full_range) == (matrix, full_range)
    frames = list(reader.frames())
    with VideoWriter(tmp_path / target, reader.info) as writer:
        for frame in frames:
            writer.write(frame.time, frame.planar_copy() if route == "planes" else frame.picture)
    result = VideoReader(tmp_path / target)
    assert result.info.colours == reader.info.colours
    for frame, original in zip(result.frames(), frames, strict=True):
        if route == "planes":
            for found, expected in zip(planes(frame.planar_copy()), planes(original.planar_copy()), strict=True):
                assert np.abs(found.astype(int) - expected).mean() < 0.5
        centres = frame.picture[16, 8::16].astype(int)
        assert np.abs(centres - original.picture[16, 8::16]).max() <= (2 if route == "planes" else 4)
        assert np.abs(centres - COLOURS).max() <= 6


def test_planes_turned_upright(make_video, media, tmp_path):
    reader = VideoReader(make_video("turned.mp4", rotation=90))
    frames = list(reader.frames())
    with VideoWriter(tmp_path / "out.mp4", reader.info) as writer:
        for frame in frames:
            writer.write(frame.time, frame.planar_copy())
    result = VideoReader(tmp_path / "out.mp4")
    assert (result.info.width, result.info.height, result.info.rotation) == (48, 64, 0)
    for frame, original in zip(result.frames(), frames, strict=True):
        assert np.abs(frame.picture.astype(int) - original.picture).mean() < 3


def test_other_frames_are_refused(make_video, tmp_path):
    info = VideoReader(make_video("in.mp4")).info
    for frame in (av.VideoFrame(64, 32, "yuv420p"), av.VideoFrame(64, 48, "yuv444p")):
        with (
            pytest.raises(ValueError, match=r"picture must be a frame of \('yuv420p', 64, 48\), got \('yuv4"),
            VideoWriter(tmp_path / "out.mp4", info) as writer,
        ):
            writer.write(0.0, frame)


def test_odd_size_and_rotation(make_video, media, tmp_path):
    path = make_video("odd.mp4", size=(47, 63), rotation=90)
    _, result = rewrite(path, tmp_path / "out.mp4")
    assert (result.info.width, result.info.height, result.info.rotation) == (48, 64, 0)
    picture = next(result.frames()).picture
    expected = np.rot90(media.picture(0, 47, 63), 1)
    assert np.abs(picture[:63, :47].astype(int) - expected).mean() < 8
    np.testing.assert_allclose(picture[63].astype(int), picture[62], atol=25)


def test_variable_frame_rate_keeps_its_times(make_video, tmp_path):
    times = [0.0, 0.1, 0.5, 0.55, 2.0, 2.9]
    for name in ("out.mp4", "out.mkv", "out.webm"):
        _, result = rewrite(make_video("vfr.mp4", times=times), tmp_path / name)
        np.testing.assert_allclose([frame.time for frame in result.frames()], times, atol=0.0011)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm"])
@pytest.mark.parametrize(("times", "end"), [([0.0], 4.0), ([0.0, 0.1, 0.2], 3.0), ([0.0, 3.96], 4.0)])
def test_the_last_frame_lasts(make_video, tmp_path, name, times, end):
    info = VideoReader(make_video("in.mp4", sound=False)).info
    with VideoWriter(tmp_path / name, info) as writer:
        for index, time in enumerate(times):
            writer.write(time, np.full((48, 64, 3), 60 * index, np.uint8))
        writer.hold(end)
    result = VideoReader(tmp_path / name)
    frames = list(result.frames())
    assert result.length == pytest.approx(end, abs=0.07) and result.picture_end == pytest.approx(end, abs=0.07)
    np.testing.assert_allclose([frame.time for frame in frames][: len(times)], times, atol=0.0011)
    assert len(frames) - len(times) == (times[-1] + 0.15 < end)
    with av.open(str(tmp_path / name)) as container:
        assert container.duration / av.time_base == pytest.approx(end, abs=0.07)
    assert np.abs(frames[-1].picture.astype(int) - 60 * (len(times) - 1)).mean() < 4


def test_durations_of_frames_and_file_at_an_uneven_rate(make_video, tmp_path):
    """A low average rate does not tell how long a single frame is shown."""
    info = replace(VideoReader(make_video("in.mp4", sound=False)).info, fps=2 / 15)
    with VideoWriter(tmp_path / "out.mp4", info) as writer:
        for time in (0.0, 0.2, 0.4, 9.0, 9.1):
            writer.write(time, np.zeros((48, 64, 3), np.uint8))
        writer.hold(9.2)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(9.2, abs=0.002)
        shown = [float(packet.duration * packet.time_base) for packet in container.demux(video=0) if packet.size]
    np.testing.assert_allclose(shown, [0.2, 0.2, 8.6, 0.1, 0.1], atol=0.001)


def test_no_sound(make_video, tmp_path):
    _, result = rewrite(make_video("mute.webm", sound=False), tmp_path / "out.mp4")
    assert not result.info.has_audio and len(list(result.frames())) == 30


def test_refusals(make_video, tmp_path):
    path = make_video("in.mp4")
    with pytest.raises(ValueError, match=r"output must end in .mp4, .mkv, .webm, got .*out.avi"):
        check_video_output(tmp_path / "out.avi", path, False)
    with pytest.raises(ValueError, match="is the video itself"):
        check_video_output(path, path, True)
    existing = tmp_path / "mine.mp4"
    existing.write_text("precious")
    with pytest.raises(FileExistsError, match="mine.mp4 exists: .*--overwrite"):
        VideoWriter(existing, VideoReader(path).info)
    assert existing.read_text() == "precious"
    rewrite(path, existing, overwrite=True)
    assert len(list(VideoReader(existing).frames())) == 30


def test_a_failure_leaves_nothing_behind(make_video, tmp_path):
    existing = tmp_path / "out.mp4"
    existing.write_text("precious")
    info = VideoReader(make_video("in.mp4")).info
    with pytest.raises(ValueError, match="picture must be"), VideoWriter(existing, info, overwrite=True) as writer:
        writer.write(0.0, np.zeros((10, 10, 3), np.uint8))
    assert existing.read_text() == "precious" and sorted(path.name for path in tmp_path.iterdir()) == [
        "in.mp4",
        "out.mp4",
    ]
