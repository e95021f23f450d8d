"""Sound is copied into another file if that file takes it, else encoded again. It keeps its place in time."""

import av
import numpy as np
import pytest

from auss.inference.media import sound_copy
from auss.inference.media.containers.container_formats import CONTAINER_FORMATS, container_format
from auss.inference.media.containers.decoding import Damage
from auss.inference.media.sound.audio_track import AudioTrack
from auss.inference.media.sound_copy import SoundCopy, plan_sound, sound_is_uniform, written_layouts
from auss.inference.media.video_reader import VideoReader
from auss.inference.media.video_writer import VideoWriter


def copy_sound(source, target):
    """Writes a video with its sound into another file, and says whether the sound was copied."""
    reader = VideoReader(source)
    with VideoWriter(target, reader.info, overwrite=True) as writer:
        for frame in reader.frames(2):
            writer.write(frame.time, frame.picture)
    return writer.sound_copied


def sound_of(path):
    """The samples of the track that is heard, on the time line of the picture."""
    return AudioTrack(path, VideoReader(path).info.origin)


def test_sound_follows_the_picture(make_video, tmp_path):
    info = VideoReader(make_video("in.mp4", seconds=3.0)).info
    target = tmp_path / "out.mkv"
    with av.open(str(target), "w") as container:
        sound = SoundCopy(container, info, container_format(target), Damage())
        assert sound.copied
        sound.write(1.0)
        assert 1.0 < sound._next[0] < 1.1
        sound.write(float("inf"))
        assert sound._next is None


@pytest.mark.parametrize(
    ("codec", "suffix", "rate", "copied_to"),
    [
        ("libmp3lame", ".mkv", 8_000, {".mkv"}),  # mp4 takes mp3, but not at this rate
        ("libmp3lame", ".mkv", 44_100, {".mp4", ".mkv"}),
        ("aac", ".ts", 48_000, {".mp4", ".mkv"}),  # the codec's header is in the packets (ADTS)
        ("ac3", ".mkv", 48_000, {".mp4", ".mkv"}),
        ("eac3", ".mkv", 48_000, {".mp4", ".mkv"}),
        ("flac", ".mkv", 22_050, {".mp4", ".mkv"}),
        ("alac", ".mov", 44_100, {".mp4", ".mkv"}),
        ("libopus", ".mkv", 16_000, {".mp4", ".mkv", ".webm"}),
        ("mp2", ".mkv", 44_100, set()),
        ("pcm_f32le", ".mkv", 16_000, set()),
        ("pcm_s16le", ".mkv", 5_512, {".mkv"}),
        ("pcm_s16le", ".mov", 192_000, {".mkv"}),
    ],
)
def test_every_codec_into_every_container(make_video, media, tmp_path, codec, suffix, rate, copied_to):
    path = make_video(f"in{suffix}", seconds=2.0, rate=rate, codecs=("libx264", codec))
    heard = sound_of(path)
    expected = heard.mono(0, 2)
    for target in CONTAINER_FORMATS:
        assert copy_sound(path, tmp_path / f"out{target}") == (target in copied_to)
        track = sound_of(tmp_path / f"out{target}")
        found = track.mono(0, 2)
        times = np.arange(0, 1.9, 1 / 8000)
        one, other = (
            np.interp(times, np.arange(len(wave)) / one_rate, wave)
            for wave, one_rate in ((expected, heard.sampling_rate), (found, track.sampling_rate))
        )
        lag, match = media.lag_and_match(one, other, 8000)
        assert abs(lag) < 0.002 and match > 0.97


def test_the_trial_decides_and_not_the_name(make_video, tmp_path, monkeypatch):
    info = VideoReader(make_video("in.mp4")).info
    form = CONTAINER_FORMATS[".mkv"]
    assert plan_sound(info, form).copies
    monkeypatch.setattr(sound_copy, "LEAST_TRIAL_SHARE", 2.0)  # as if half of the sound did not come back
    assert plan_sound(info, form) == sound_copy.SoundPlan("mono", 48_000)


def test_what_cannot_be_written_is_refused_before_anything_is_made(make_video, monkeypatch):
    info = VideoReader(make_video("in.mkv", codecs=("libx264", "pcm_s16le"))).info
    monkeypatch.setattr(sound_copy, "encoding_works", lambda *_: False)
    with pytest.raises(ValueError, match=r"in.mkv: its sound, track 1 \(pcm_s16le, .*\), cannot be written as aac"):
        plan_sound(info, CONTAINER_FORMATS[".mp4"])
    assert plan_sound(VideoReader(make_video("mute.mp4", sound=False)).info, CONTAINER_FORMATS[".mp4"]) is None


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("mono", ["mono"]),
        ("1 channels", ["mono"]),
        ("2 channels", ["stereo", "mono"]),
        ("5.1(side)", ["5.1(side)", "stereo", "mono"]),
        ("6 channels", ["5.1", "mono"]),
        ("16 channels", ["mono"]),
    ],
)
def test_layouts_to_write(layout, expected):
    assert written_layouts(av.AudioLayout(layout)) == expected


@pytest.mark.parametrize(
    ("layout", "channels"), [("5.1", 6), ("16 channels", 1), ("ambisonic 1", 1), ("4 channels", 1), ("stereo", 2)]
)
def test_as_many_channels_as_the_encoder_takes(make_tracks, media, tmp_path, layout, channels):
    tone = media.tone(2.0, 16_000)
    waveform = np.zeros((av.AudioLayout(layout).nb_channels, tone.shape[1]), np.float32)
    waveform[:2] = tone
    path = make_tracks("in.mov" if layout == "5.1" else "in.nut", [waveform], layout=layout)
    assert not copy_sound(path, tmp_path / "out.mp4")
    track = sound_of(tmp_path / "out.mp4")
    assert track.num_channels == channels
    lag, match = media.lag_and_match(tone[0], track.mono(0, 2), 16_000)
    assert abs(lag) < 0.002 and match > 0.98


def test_sound_with_nan_can_be_written(make_tracks, tmp_path):
    waveform = np.full((1, 32_000), 0.3, np.float32)
    waveform[:, ::5000] = np.nan
    for suffix in CONTAINER_FORMATS:
        copy_sound(make_tracks("nan.mkv", [waveform]), tmp_path / f"out{suffix}")
        assert np.isfinite(AudioTrack(tmp_path / f"out{suffix}").window(0, 2)).all()


@pytest.mark.parametrize("suffix", CONTAINER_FORMATS)
def test_the_chosen_track_is_kept_with_its_language(make_tracks, media, tmp_path, suffix):
    tone = media.tone(2.0, 48_000)
    path = make_tracks("two.mkv", [0 * tone, tone], codec="flac", rate=48_000, languages=("eng", "fra"))
    copy_sound(path, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert [stream.metadata["language"] for stream in container.streams.audio] == ["fra"]
    assert np.abs(AudioTrack(tmp_path / f"out{suffix}").window(0, 2)).max() > 0.1


@pytest.mark.parametrize("rates", [(48_000, 48_000), (48_000, 32_000)])
def test_sound_that_changes_on_the_way_is_not_copied(make_video, media, tmp_path, rates):
    """An mp4 stores the format of its sound only once, so the second of two joined recordings would play wrongly."""
    parts = [
        make_video(f"{number}.ts", seconds=2.0, rate=rate, codecs=("libx264", "aac"), options={"muxdelay": "0"})
        for number, rate in enumerate(rates)
    ]
    joined, target = tmp_path / "joined.ts", tmp_path / "out.mp4"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert copy_sound(joined, target) == (rates[0] == rates[1])
    heard, source = sound_of(target).mono(0.0, 4.0), sound_of(joined).mono(0.0, 4.0)
    for start in (0.2, 2.2):
        part = slice(round(start * 48_000), round((start + 1.5) * 48_000))
        lag, match = media.lag_and_match(source[part], heard[part], 48_000)
        assert abs(lag) < 0.01 and match > 0.9
    assert not sound_is_uniform(VideoReader(joined).info) or rates[0] == rates[1]
