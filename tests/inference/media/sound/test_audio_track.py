"""Sound lies where its time stamps put it, in any container. It is read forwards in windows."""

import av
import numpy as np
import pytest

from auss.inference.media.containers.decoding import Damage, open_media
from auss.inference.media.sound import audio_track
from auss.inference.media.sound.audio_track import AudioTrack, warn_of_sound


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.mkv"])
def test_windows_join_to_the_whole(make_video, media, name):
    path = make_video(name, seconds=4.0, channels=2)
    whole = AudioTrack(path).window(0, 4)
    track = AudioTrack(path)
    pieces = [track.window(start, start + 0.7) for start in np.arange(0, 4.2, 0.7)]
    joined = np.concatenate(pieces, axis=1)
    assert whole.shape == (2, 4 * 48_000) and whole.dtype == np.float32
    np.testing.assert_array_equal(joined[:, : whole.shape[1]], whole)
    lag, match = media.lag_and_match(media.tone(4.0, 48_000)[0], whole[0], 48_000)
    assert abs(lag) < 0.0015 and match > 0.99


def test_window_ends_with_the_sound(make_video):
    track = AudioTrack(make_video("short.mkv", seconds=3.0, codecs=("libx264", "pcm_s16le"), rate=16_000))
    assert track.window(2.5, 7.5).shape == (1, 8000)
    assert track.finished and track.window(7.5, 12.5).shape == (1, 0)


def test_windows_may_leave_sound_out(make_video):
    path = make_video("long.mkv", seconds=6.0, codecs=("libx264", "pcm_s16le"), rate=16_000)
    track = AudioTrack(path)
    track.window(0, 1)
    np.testing.assert_array_equal(track.window(4, 5), AudioTrack(path).window(0, 6)[:, 64_000:80_000])


def test_origin_moves_the_time_line(make_video):
    path = make_video("clip.mkv", codecs=("libx264", "pcm_s16le"), rate=16_000)
    np.testing.assert_array_equal(AudioTrack(path, origin=1.0).window(0, 1), AudioTrack(path).window(1, 2))


def sound_file(path, pieces: list[tuple[int | None, np.ndarray]], rate: int = 8000):
    """Writes an mkv file of PCM. The time stamps of the packets are the given numbers of their first samples."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for position, samples in pieces:
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, position
            for packet in stream.encode(frame):
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


def test_a_gap_is_silent(tmp_path):
    loud = np.full(4000, 16_000, np.int16)
    track = AudioTrack(sound_file(tmp_path / "gap.mkv", [(0, loud), (12_000, loud)]))
    waveform = track.window(0, 5)[0]
    assert len(waveform) == 16_000
    assert (waveform[:4000] > 0.4).all() and (waveform[4000:12_000] == 0).all() and (waveform[12_000:] > 0.4).all()


def test_a_rounded_stamp_is_no_gap(tmp_path):
    loud = np.full(4000, 16_000, np.int16)
    track = AudioTrack(sound_file(tmp_path / "jitter.mkv", [(0, loud), (4080, loud)]))
    waveform = track.window(0, 5)[0]
    assert len(waveform) == 8000 and (waveform > 0.4).all()


def test_stamps_that_start_anew_follow(tmp_path, monkeypatch):
    loud = np.full(8000, 16_000, np.int16)
    path = sound_file(tmp_path / "joined.mkv", [(position, loud) for position in range(0, 32_000, 8000)])
    damage = Damage()
    track = AudioTrack(path, damage=damage)
    # No muxer writes stamps that run backwards, so the test changes them after decoding.
    original = track._frames

    def restarted():
        for frame in original:
            frame.pts = frame.pts - 3000 if frame.pts >= 3000 else frame.pts
            yield frame

    track._frames = restarted()
    assert track.window(0, 5).shape == (1, 32_000) and (track._end == 32_000)
    assert damage.repaired_time_stamps == 1


def test_needs_sound(make_video):
    with pytest.raises(ValueError, match="has no sound track"):
        AudioTrack(make_video("mute.mp4", sound=False))


@pytest.mark.parametrize("layout", ["5.1", "7.1", "quad", "hexadecagonal", "4 channels"])
def test_any_channel_of_a_layout_is_heard(make_tracks, media, layout):
    tone = media.tone(2.0, 16_000)
    for channel in range(av.AudioLayout(layout).nb_channels):
        waveform = np.zeros((av.AudioLayout(layout).nb_channels, tone.shape[1]), np.float32)
        waveform[channel] = tone[0]
        track = AudioTrack(make_tracks(f"{channel}.mkv", [waveform], layout=layout, seconds=1.0))
        assert track.num_channels == len(waveform)
        np.testing.assert_allclose(track.mono(0, 2), tone[0], rtol=0, atol=1e-6)


def test_channels_that_cancel_are_heard(make_tracks, media):
    tone = media.tone(3.0, 16_000)[0]
    track = AudioTrack(make_tracks("antiphase.mkv", [np.stack([tone, -tone])], layout="stereo"))
    lag, match = media.lag_and_match(tone, track.mono(0, 3), 16_000)
    assert lag == 0 and match > 0.99


def test_stereo_is_the_mean(make_tracks):
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 32_000)).astype(np.float32)
    track = AudioTrack(make_tracks("stereo.mkv", [stereo], layout="stereo"))
    np.testing.assert_array_equal(track.mono(0, 2), stereo.mean(axis=0))


def test_unusable_samples_become_silence_and_are_counted(make_tracks, caplog):
    stereo = np.full((2, 32_000), 0.5, np.float32)
    stereo[0, 100], stereo[1, 100], stereo[1, 5000], stereo[0, 20_000] = np.nan, np.nan, np.inf, 1e20
    damage = Damage()
    track = AudioTrack(make_tracks("nan.mkv", [stereo], layout="stereo"), damage=damage)
    waveform = np.concatenate([track.window(0, 1), track.window(1, 2)], axis=1)
    assert np.isfinite(waveform).all() and (waveform == 0).sum() == 4
    assert damage.unusable_samples == 3 and damage.describe() == []
    warn_of_sound("nan.mkv", damage, 0.5)
    assert "nan.mkv: 3 samples of its sound are NaN, infinite or far beyond full scale" in caplog.text


def test_a_stretch_of_unusable_samples_is_damage(make_tracks):
    waveform = np.full((1, 48_000), 0.5, np.float32)
    waveform[:, 32_000:36_000] = np.nan
    damage = Damage()
    track = AudioTrack(make_tracks("nan.mkv", [waveform]), damage=damage)
    track.window(0, 2)
    assert damage.describe() == []
    track.window(2, 3)
    assert damage.describe() == ["4000 samples of its sound are NaN, infinite or far beyond full scale"]


def test_silence_is_said(caplog):
    warn_of_sound("quiet.mp4", Damage(), None)
    warn_of_sound("quiet.mp4", Damage(), 0.1)
    assert caplog.text == ""
    warn_of_sound("quiet.mp4", Damage(), 0.0)
    assert "quiet.mp4: all of its sound is silent, so nothing in it sounds" in caplog.text


def test_a_track_by_its_index(make_tracks, media):
    tone = media.tone(2.0, 16_000)
    path = make_tracks("two.mkv", [0 * tone, tone])
    assert not AudioTrack(path, index=1).window(0, 2).any()
    np.testing.assert_array_equal(AudioTrack(path, index=2).window(0, 2), tone)


def test_the_file_is_closed_where_its_sound_cannot_be_read(make_video, monkeypatch):
    def refuse(container, index):
        raise ValueError("no decoder is installed")

    opened = []
    monkeypatch.setattr(audio_track, "open_media", lambda path: opened.append(open_media(path)) or opened[0])
    monkeypatch.setattr(audio_track, "sound_stream", refuse)
    with pytest.raises(ValueError, match="no decoder is installed"):
        AudioTrack(make_video("clip.mkv"))
    with pytest.raises(AssertionError, match="not open"):
        opened[0].seek(0)
