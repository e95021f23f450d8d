"""Frames with their numbers and times, their sound, and every kind of awkward file."""

import gc
import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest

from auss.inference.media.containers.decoding import DamagedVideoError
from auss.inference.media.video_reader import SILENCE_SAMPLING_RATE, VideoReader, probe


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.mkv"])
def test_frames_and_times(make_video, media, name):
    reader = VideoReader(make_video(name, seconds=3.0, fps=10))
    assert (reader.info.width, reader.info.height, reader.info.fps) == (64, 48, 10)
    assert reader.info.has_audio and reader.info.sampling_rate == 48_000
    assert reader.length == pytest.approx(3.0, abs=0.002)
    frames = list(reader.frames())
    assert [frame.index for frame in frames] == [media.number_of(frame.picture) for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / 10, atol=0.001)
    assert frames[0].picture.shape == (48, 64, 3) and frames[0].picture.dtype == np.uint8
    error = np.abs(frames[7].picture.astype(int) - media.picture(7, 48, 64))
    assert error.mean() < 8  # lossy, but the colours are right
    reader.check()


@pytest.mark.parametrize(("fps", "expected"), [(1, [0, 10, 20]), (5, list(range(0, 30, 2))), (25, list(range(30)))])
def test_due_frames(make_video, fps, expected):
    assert [frame.index for frame in VideoReader(make_video("clip.mkv")).frames(fps)] == expected


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_frame_a_second_is_the_one_of_that_second(make_video, suffix):
    frames = VideoReader(make_video(f"clip.{suffix}", seconds=3.2, fps=25)).frames(1)
    assert [(frame.index, round(frame.time, 3)) for frame in frames] == [(0, 0.0), (25, 1.0), (50, 2.0), (75, 3.0)]


def test_fps_of_the_video_takes_every_frame(make_video):
    reader = VideoReader(make_video("clip.mkv", fps=30))  # mkv keeps 0.033 s for 1/30 s
    assert len(list(reader.frames(30))) == 90 and len(list(reader.frames(15))) == 45


def sound_beside(reader, *spans):
    """The waveforms of the spans (start, end), read after the first frame."""
    frames = reader.frames()
    next(frames)
    waveforms = [reader.waveform(start, end) for start, end in spans]
    for _ in frames:
        pass
    return waveforms


def test_sound_beside_the_frames(make_video, media):
    reader = VideoReader(make_video("clip.mp4", seconds=7.0, channels=2))
    for (start, end), (waveform, rate) in zip(
        [(0, 5), (2, 7)], sound_beside(reader, (0.0, 5.0), (2.0, 7.0)), strict=True
    ):
        expected = media.tone(7.0, 48_000)[0, start * 48_000 : end * 48_000]
        assert waveform.shape == expected.shape and waveform.dtype == np.float32 and rate == 48_000
        assert media.lag_and_match(expected, waveform, 48_000)[1] > 0.99
    assert reader._track is None  # closed with the frames
    reader.check()


def test_no_sound_track_is_silence(make_video):
    reader = VideoReader(make_video("mute.mp4", seconds=6.0, sound=False))
    assert not reader.info.has_audio
    for (waveform, rate), seconds in zip(sound_beside(reader, (0.0, 5.0), (5.0, 6.0)), (5, 1), strict=True):
        assert rate == SILENCE_SAMPLING_RATE and waveform.shape == (seconds * rate,) and not waveform.any()


def test_sound_shorter_and_longer_than_the_picture(make_video):
    shorter = VideoReader(make_video("shorter.mkv", seconds=7.0, audio_seconds=4.0))
    (first, _), (second, _) = sound_beside(shorter, (0.0, 5.0), (5.0, 7.0))
    assert first.shape == (240_000,) and first[:190_000].any() and not first[195_000:].any()
    assert second.shape == (96_000,) and not second.any()
    shorter.check()
    longer = VideoReader(make_video("longer.mkv", seconds=2.0, audio_seconds=8.0))
    assert longer.length == pytest.approx(2.0, abs=0.002)
    sound_beside(longer, (0.0, 2.0))
    longer.check()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("rotation", "turns"), [(0, 0), (90, 1), (-90, 3), (180, 2)])
def test_rotation_and_mirroring(make_video, media, rotation, turns, mirrored):
    reader = VideoReader(make_video("turned.mp4", seconds=1.0, rotation=rotation, mirrored=mirrored))
    assert reader.info.rotation == rotation % 360
    upright = next(reader.frames()).picture
    assert upright.shape[:2] == (reader.info.height, reader.info.width)
    expected = np.rot90(media.picture(0, 48, 64), turns)
    expected = np.fliplr(expected) if mirrored else expected
    assert np.abs(upright.astype(int) - expected).mean() < 8
    planes = next(reader.frames()).planar_copy().to_ndarray(format="rgb24")
    assert np.abs(planes.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv", "vfr.webm"])
def test_variable_frame_rate(make_video, media, name):
    times = [0.0, 0.1, 0.5, 0.55, 2.0, 2.9, 5.2, 5.3]
    reader = VideoReader(make_video(name, seconds=6.0, times=times))
    frames = list(reader.frames())
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=0.001)
    assert [media.number_of(frame.picture) for frame in frames] == list(range(8))
    # At 2.5 s the frame before is still shown; from 0.55 s on, and from 2.9 s on, a frame is held.
    due = [(frame.index, round(frame.time, 3)) for frame in reader.frames(fps=2)]
    held = [(5, time) for time in (3.0, 3.5, 4.0, 4.5, 5.0)]
    assert due == [(0, 0.0), (2, 0.5), (3, 1.0), (3, 1.5), (4, 2.0), (4, 2.5), *held]
    assert reader.length >= 5.3
    reader.check()


def test_picture_that_starts_late(make_video, media):
    """Time 0 is the first frame, and the sound is read from there."""
    reader = VideoReader(make_video("late.mp4", seconds=4.0, times=[1.5 + index / 10 for index in range(20)]))
    assert reader.info.origin == pytest.approx(1.5)
    assert [frame.time for frame in reader.frames()] == pytest.approx([index / 10 for index in range(20)])
    ((waveform, _),) = sound_beside(reader, (0.0, 2.0))
    expected = media.tone(4.0, 48_000)[0, 72_000:][: len(waveform)]
    assert media.lag_and_match(expected, waveform, 48_000)[1] > 0.99
    loudest = np.abs(waveform[:4800]).max()
    assert loudest == pytest.approx(0.1 + 0.02 * 1.6, abs=0.008)  # as loud as the tone is after 1.5 s


def one_picture(path, seconds, codec="libx264"):
    """Writes a video of a single frame that is shown for some seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 1000)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.duration = round(seconds * 1000)
            container.mux(packet)
    return path


def test_a_single_frame_is_held(tmp_path, caplog):
    reader = VideoReader(one_picture(tmp_path / "still.mp4", 3.0))
    frames = list(reader.frames(fps=2))
    assert [(frame.index, frame.time) for frame in frames] == [(0, k / 2) for k in range(6)]
    assert reader.length == pytest.approx(3.0) and reader.picture_end == pytest.approx(3.0)
    assert [frame.time for frame in reader.frames()] == [0.0]
    reader.check()
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["slides.mp4", "slides.mkv"])
def test_slides(make_video, name):
    """Each picture is shown for some seconds, with sound. The last one is shown until the sound ends."""
    path = make_video(name, seconds=6.0, times=[0.0, 2.5, 4.0, 5.9])
    reader = VideoReader(path)
    due = [(frame.index, round(frame.time, 3)) for frame in reader.frames(fps=2)]
    assert due[:8] == [*[(0, k / 2) for k in range(5)], *[(1, k / 2) for k in range(5, 8)]]
    assert max(np.diff([time for _, time in due])) <= 0.501


def test_rates_below_one(make_video):
    reader = VideoReader(make_video("slow.mp4", seconds=6.0, times=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))
    assert [frame.time for frame in reader.frames(fps=5)][:26] == pytest.approx([k / 5 for k in range(26)])


@pytest.mark.parametrize("name", ["b.avi", "b.ts", "b.mkv"])
def test_reordered_frames(tmp_path, media, name, caplog):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "3", "b-adapt": "0", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(media.picture(index, 48, 64), format="rgb24")))
        container.mux(stream.encode(None))
    reader = VideoReader(path)
    frames = list(reader.frames())
    assert [media.number_of(frame.picture) for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(20) / 10, atol=0.001)
    assert reader.length == pytest.approx(2.0, abs=0.002) and reader.picture_end == pytest.approx(2.0, abs=0.002)
    reader.check()
    assert caplog.text == ""


def test_the_last_frames_come_whichever_stream_the_picture_is(tmp_path, media):
    """The decoder holds frames back until the end of its stream. The empty packet there has the stream number 0."""
    path = tmp_path / "sound_first.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        stream = container.add_stream("libx264", rate=10, options={"bf": "3", "b-adapt": "0", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(media.picture(index, 48, 64), format="rgb24")))
        container.mux(stream.encode(None))
        media.encode_sound(container, sound, media.tone(2.0, 48_000), 48_000)
    assert [media.number_of(frame.picture) for frame in VideoReader(path).frames()] == list(range(20))


def test_a_matrix_that_is_not_converted_is_told(tmp_path, make_video):
    """FFmpeg refuses the matrix YCgCo. The picture is read all the same, in its own size."""
    path = tmp_path / "ycgco.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace = 8
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv444p")))
        container.mux(stream.encode(None))
    reader = VideoReader(path)
    assert "matrix 8 of H.273, which is not converted" in reader.info.warnings[0]
    assert [frame.picture.shape for frame in reader.frames()] == [(48, 64, 3)] * 2
    assert VideoReader(make_video("usual.mp4", seconds=0.5)).info.warnings == ()


def test_no_time_stamps_at_all(tmp_path, media, caplog):
    path = tmp_path / "raw.h264"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(media.picture(index, 48, 64), format="rgb24")))
        container.mux(stream.encode(None))
    reader = VideoReader(path)
    np.testing.assert_allclose([frame.time for frame in reader.frames()], np.arange(10) / 25, atol=0.001)
    assert reader.length == pytest.approx(0.4)
    reader.check()
    assert "has no time stamps: its frames are taken to be 0.04 s apart" in caplog.text
    assert "ran backwards" not in caplog.text


def test_sound_that_goes_on_is_told(make_video, caplog):
    reader = VideoReader(make_video("longer.mkv", seconds=2.0, audio_seconds=5.0))
    list(reader.frames())
    reader.check()
    assert "the sound goes on for 3.0 s after the picture" in caplog.text


def test_what_the_decoder_reports_is_damage(make_video):
    """Bytes in the pictures are flipped. The frames are yielded, and the errors of the decoder are reported."""
    path = make_video("flipped.mp4", seconds=4.0, size=(96, 128), codecs=("mpeg4", "aac"))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        pictures = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for start, size in pictures[12:30:6]:
        for position in range(start + size // 2, start + size // 2 + 8):
            content[position] ^= 0x5A
    path.write_bytes(content)
    reader = VideoReader(path)
    assert len(list(reader.frames())) > 30
    with pytest.raises(DamagedVideoError, match=r"\d+ frames were decoded with errors \(at \d+-\d+ s"):
        reader.check()


def test_missing_and_backward_time_stamps(make_video, monkeypatch, caplog):
    from auss.inference.media import video_reader

    original = video_reader.decoded_frames

    def broken_stamps(container, stream, damage):
        for index, frame in enumerate(original(container, stream, damage)):
            if index == 3:
                frame.pts = frame.dts = None
            elif index >= 20:
                frame.pts -= round(2 / frame.time_base)  # the recording starts anew
                frame.dts = frame.pts
            yield frame

    monkeypatch.setattr(video_reader, "decoded_frames", broken_stamps)
    reader = VideoReader(make_video("stamps.mp4"))
    times = [frame.time for frame in reader.frames()]
    np.testing.assert_allclose(times, np.arange(30) / 10, atol=1e-6)
    reader.check()
    assert "11 time stamps were missing or ran backwards" in caplog.text


@pytest.mark.parametrize("name", ["cut.mp4", "cut.webm", "cut.mkv"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_file(make_video, name, share):
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = make_video(name, seconds=8.0, size=(96, 128), options=options)
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    reader = VideoReader(path)
    frames = list(reader.frames())
    assert 8 < len(frames) < 75
    with pytest.raises(DamagedVideoError, match=r"is damaged: .*the picture ends at \d\.\d\d s of 8\.00 s"):
        reader.check()
    sound_beside(reader, (0.0, 8.0))
    with pytest.raises(DamagedVideoError, match="is damaged"):
        reader.check()


def test_truncated_file_without_a_declared_picture_end(make_video):
    """The streams have no duration tags, so only the duration of the whole file is known."""
    path = make_video("cut.mkv", seconds=8.0, size=(96, 128), options={"write_crc32": "0"})
    content = path.read_bytes().replace(b"DURATION", b"DURATI0N")
    path.write_bytes(content)
    whole = VideoReader(path)
    assert whole.info.duration is None and len(list(whole.frames())) == 80
    whole.check()
    path.write_bytes(content[: len(content) // 2])
    cut = VideoReader(path)
    list(cut.frames())
    with pytest.raises(DamagedVideoError, match=r"the file ends at \d\.\d\d s of 8\.\d\d s"):
        cut.check()


def test_a_long_hole_is_warned_of(make_video, caplog):
    reader = VideoReader(make_video("hole.mkv", seconds=6.0, times=[0.0, 0.1, 0.2, 5.0, 5.1]))
    list(reader.frames())
    reader.check()
    assert "no frame for 4.8 s after 0.2 s" in caplog.text


def test_refusals(make_video, tmp_path):
    with pytest.raises(ValueError, match="holds only sound"):
        VideoReader(make_video("sound.mp4", picture=False))
    with pytest.raises(FileNotFoundError, match="no such file"):
        probe(tmp_path / "nowhere.mp4")
    reader = VideoReader(make_video("clip.mp4"))
    with pytest.raises(ValueError, match="fps must be positive"):
        next(reader.frames(0))


def test_song_files_are_refused(make_video):
    for name, codec in (
        ("song.mp3", "libmp3lame"),
        ("song.m4a", "aac"),
        ("song.mp4", "aac"),
        ("song.wav", "pcm_s16le"),
    ):
        with pytest.raises(ValueError, match=f"{name} holds only sound: a file with a moving picture is needed"):
            VideoReader(make_video(name, picture=False, codecs=(None, codec)))


def test_cover_of_a_song_is_no_video(tmp_path, make_video):
    song = make_video("song.mp4", picture=False)
    cover = tmp_path / "cover.mp4"
    with av.open(str(song)) as source, av.open(str(cover), "w") as target:
        sound = target.add_stream_from_template(source.streams.audio[0])
        art = target.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 64, 64, "yuvj420p"
        art.disposition = av.stream.Disposition.attached_pic.value
        target.mux(art.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        target.mux(art.encode(None))
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = sound
                target.mux(packet)
    with av.open(str(cover)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(ValueError, match="holds only sound"):
        VideoReader(cover)


def peak_of_reading(path) -> int:
    """The most bytes that Python and NumPy held while a video and its sound were read."""
    gc.collect()
    tracemalloc.start()
    reader = VideoReader(path)
    for frame in reader.frames(fps=5):
        assert frame.picture.ndim == 3 and reader.waveform(frame.time, frame.time + 5)[0].any()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_constant_memory(make_video):
    short = peak_of_reading(make_video("short.mp4", seconds=10.0))
    long = peak_of_reading(make_video("long.mp4", seconds=300.0))
    assert long < 1.2 * short + 100_000


def test_the_sound_track_of_a_reader(make_tracks, media, monkeypatch, caplog):
    tone = media.tone(3.0, 16_000)
    path = make_tracks("two.mkv", [0 * tone, tone])
    reader = VideoReader(path)
    assert reader.info.has_audio and reader.info.sound_track.number == 2 and reader.info.sampling_rate == 16_000
    assert VideoReader(path, audio_track=1).info.sound_track.number == 1
    caplog.clear()
    again = VideoReader(path, info=reader.info)
    assert again.info is reader.info and caplog.text == ""
    for _ in again.frames(1):
        np.testing.assert_array_equal(again.waveform(0, 3)[0], tone[0])
    again.check()
    assert "silent" not in caplog.text
    silent = VideoReader(path, audio_track=1)
    for _ in silent.frames(1):
        silent.waveform(0, 3)
    silent.check()
    assert caplog.text.count("all of its sound is silent, so nothing in it sounds") == 1


def test_a_track_without_packets_is_silence(make_tracks, caplog):
    reader = VideoReader(make_tracks("empty.mkv", [None]))
    assert not reader.info.has_audio and reader.info.sound_track is None and reader.info.sampling_rate == 0
    assert caplog.text.count("has no packets, so it counts as no sound track") == 1
    assert not reader.waveform(0, 1)[0].any()
